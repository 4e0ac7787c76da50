package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
)

// crowd is the prefix of the names of the copied accounts.
const crowd = "a"

// ladderConnections is the number of connections that read random accounts.
const ladderConnections = 16

// ladder measures the start, the memory and the reads of a mount with more and more accounts. It uses the plugin with the
// probe, which can copy accounts in the storage.
func (f *fixture) ladder(ctx context.Context, p plan, to *report.Ladder) error {
	if err := f.mountLadder(ctx); err != nil {
		return err
	}
	if err := f.plainMemory(ctx, &to.Plain); err != nil {
		return err
	}
	have := 0
	for _, accounts := range []int{1, 1000, p.accounts} {
		began := time.Now()
		if err := f.grow(ctx, have, accounts); err != nil {
			return err
		}
		have = accounts
		progress("%d accounts are stored, in %s", accounts, time.Since(began).Round(time.Second))
		rung := report.Rung{Accounts: accounts}
		if err := f.climb(ctx, p, &rung, &to.Bare); err != nil {
			return err
		}
		to.Rungs = append(to.Rungs, rung)
	}
	return nil
}

// plainMemory measures the memory of the plugin without a probe, after its first read.
func (f *fixture) plainMemory(ctx context.Context, to *report.Memory) (err error) {
	if err := f.node.Reload(ctx, pageroMount+"/"); err != nil {
		return err
	}
	if _, err := f.vault.ReadWithContext(ctx, pageroMount+"/token/acme"); err != nil {
		return err
	}
	*to, err = f.memory(ctx, pageroPlugin)
	return err
}

// mountLadder mounts the plugin with the probe. If there is a mount already, it is removed first, because it may have accounts
// of another measurement.
func (f *fixture) mountLadder(ctx context.Context) error {
	if _, err := f.readsBySource(ctx, profiledMount); err == nil {
		if err := f.node.Disable(ctx, profiledMount); err != nil {
			return err
		}
	}
	if err := f.mount(ctx, profiledMount, profiledPlugin); err != nil {
		return err
	}
	if err := f.enrol(ctx, profiledMount, promptUser, nil, "template"); err != nil {
		return err
	}
	_, err := f.vault.ReadWithContext(ctx, "profiled/token/template")
	return err
}

// grow copies the template account until there are enough accounts. Each has an access token.
func (f *fixture) grow(ctx context.Context, from, to int) error {
	_, err := f.probe(profiledPlugin).Get(ctx, "/copy?prefix="+crowd+"&from="+strconv.Itoa(from)+"&to="+strconv.Itoa(to))
	return err
}

// climb measures one number of accounts.
func (f *fixture) climb(ctx context.Context, p plan, rung, bare *report.Rung) (err error) {
	if err := f.starts(ctx, p, rung, bare); err != nil {
		return err
	}
	if rung.Started, err = f.memory(ctx, profiledPlugin); err != nil {
		return err
	}
	if bare.Started, err = f.memory(ctx, barePlugin); err != nil {
		return err
	}
	before, err := f.processorTime(ctx, profiledPlugin)
	if err != nil {
		return err
	}
	if err := f.scan(ctx); err != nil {
		return err
	}
	after, err := f.processorTime(ctx, profiledPlugin)
	if err != nil {
		return err
	}
	rung.ScanCPU = micros(after.total()-before.total()) / float64(rung.Accounts)
	if rung.Scanned, err = f.memory(ctx, profiledPlugin); err != nil {
		return err
	}
	if err := f.randomReads(ctx, p, rung); err != nil {
		return err
	}
	rung.ReadAll, err = f.memory(ctx, profiledPlugin)
	return err
}

// starts measures a reload and the next read, for the plugin and for the bare plugin. Vault ends the process and starts
// another one, whose first request is the read.
func (f *fixture) starts(ctx context.Context, p plan, rung, bare *report.Rung) error {
	var first [2][]float64
	for range p.rounds {
		for i, mount := range []string{profiledMount, bareMount} {
			began := time.Now()
			if err := f.node.Reload(ctx, mount+"/"); err != nil {
				return err
			}
			answer, err := f.vault.ReadWithContext(ctx, mount+"/token/"+crowd+"000000")
			if err != nil {
				return err
			}
			first[i] = append(first[i], millis(time.Since(began)))
			if token, _ := answer.Data["access_token"].(string); token == "" {
				return fmt.Errorf("%s answered %v", mount, answer.Data)
			}
		}
	}
	c := compare(first[0], first[1])
	rung.First, rung.FirstRatio, bare.First = c.Ours, c.Ratio, c.Theirs
	return nil
}

// scan calls the periodic function until the plugin has seen all accounts. On a real Vault that takes hours, on purpose.
func (f *fixture) scan(ctx context.Context) error {
	plugin := f.probe(profiledPlugin)
	return patiently(ctx, "the scan", func(ctx context.Context) (bool, error) {
		for range 5 {
			if _, err := plugin.Get(ctx, "/periodic"); err != nil {
				return false, err
			}
		}
		status, err := f.vault.ReadWithContext(ctx, profiledMount+"/status")
		if err != nil {
			return false, err
		}
		complete, _ := status.Data["complete"].(bool)
		return complete, nil
	})
}

// randomReads reads all accounts once, from the storage, and then random accounts, from memory.
func (f *fixture) randomReads(ctx context.Context, p plan, rung *report.Rung) error {
	before, err := f.readsBySource(ctx, profiledMount)
	if err != nil {
		return err
	}
	all := f.reads(profiledMount+"/token/"+crowd+"{}", ladderConnections)
	all.Names, all.Requests = rung.Accounts, rung.Accounts
	r, err := f.load.Run(ctx, all)
	if err != nil {
		return err
	}
	rung.Cold = latencies([]load.Result{r})
	var warm []load.Result
	for range p.rounds {
		job := all
		job.Requests, job.Duration, job.Random = 0, 2*p.duration, true
		r, err := f.load.Run(ctx, job)
		if err != nil {
			return err
		}
		warm = append(warm, r)
	}
	rung.Warm = latencies(warm)
	after, err := f.readsBySource(ctx, profiledMount)
	if err != nil {
		return err
	}
	waited := after.waited() - before.waited()
	return must(waited == 0, "%v reads did not come from memory or storage", waited)
}

// latencies summarises the results of several jobs.
func latencies(results []load.Result) report.Latency {
	var p50, p99, rate []float64
	for _, r := range results {
		p50, p99, rate = append(p50, millis(r.Latency.P50)), append(p99, millis(r.Latency.P99)), append(rate, r.Rate())
	}
	return report.Latency{P50: summarise(p50), P99: summarise(p99), Rate: summarise(rate)}
}
