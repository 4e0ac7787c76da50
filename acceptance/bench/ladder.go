package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
)

// crowd is the prefix of the names of the many accounts.
const crowd = "a"

// ladderConnections is how many connections read accounts at random.
const ladderConnections = 16

// ladder measures a mount of the plugin with more and more accounts: its start, its memory, and its
// answers. It uses the plugin with the probe, which can copy accounts in its storage.
func (s *stage) ladder(ctx context.Context, p plan, to *report.Ladder) error {
	if err := s.mountLadder(ctx); err != nil {
		return err
	}
	if err := s.plainMemory(ctx, &to.Plain); err != nil {
		return err
	}
	have := 0
	for _, accounts := range []int{1, 1000, p.accounts} {
		began := time.Now()
		if err := s.grow(ctx, have, accounts); err != nil {
			return err
		}
		have = accounts
		progress("%d accounts are stored, in %s", accounts, time.Since(began).Round(time.Second))
		rung := report.Rung{Accounts: accounts}
		if err := s.climb(ctx, p, &rung, &to.Bare); err != nil {
			return err
		}
		to.Rungs = append(to.Rungs, rung)
	}
	return nil
}

// plainMemory measures the plugin as it is built for users, newly started, when it has answered for one
// account.
func (s *stage) plainMemory(ctx context.Context, to *report.Memory) (err error) {
	if err := s.node.Reload(ctx, pageroMount+"/"); err != nil {
		return err
	}
	if _, err := s.vault.ReadWithContext(ctx, pageroMount+"/token/acme"); err != nil {
		return err
	}
	*to, err = s.memory(ctx, pageroPlugin)
	return err
}

// mountLadder mounts the plugins in a Vault that may have them already: only this measurement may have
// accounts with the plugin that has a probe.
func (s *stage) mountLadder(ctx context.Context) error {
	if _, err := s.readsBySource(ctx, profiledMount); err == nil {
		if err := s.node.Disable(ctx, profiledMount); err != nil {
			return err
		}
	}
	if err := s.mount(ctx, profiledMount, profiledPlugin); err != nil {
		return err
	}
	if err := s.enrol(ctx, profiledMount, promptUser, nil, "template"); err != nil {
		return err
	}
	_, err := s.vault.ReadWithContext(ctx, "profiled/token/template")
	return err
}

// grow copies the template until there are so many accounts; each has an access token.
func (s *stage) grow(ctx context.Context, from, to int) error {
	_, err := s.probe(profiledPlugin).Get(ctx, "/copy?prefix="+crowd+"&from="+strconv.Itoa(from)+"&to="+strconv.Itoa(to))
	return err
}

// climb measures with one number of accounts.
func (s *stage) climb(ctx context.Context, p plan, rung, bare *report.Rung) (err error) {
	if err := s.starts(ctx, p, rung, bare); err != nil {
		return err
	}
	if rung.Started, err = s.memory(ctx, profiledPlugin); err != nil {
		return err
	}
	if bare.Started, err = s.memory(ctx, barePlugin); err != nil {
		return err
	}
	before, err := s.processorTime(ctx, profiledPlugin)
	if err != nil {
		return err
	}
	if err := s.survey(ctx); err != nil {
		return err
	}
	after, err := s.processorTime(ctx, profiledPlugin)
	if err != nil {
		return err
	}
	rung.SurveyCPU = micros(after.total()-before.total()) / float64(rung.Accounts)
	if rung.Surveyed, err = s.memory(ctx, profiledPlugin); err != nil {
		return err
	}
	if err := s.randomReads(ctx, p, rung); err != nil {
		return err
	}
	rung.ReadAll, err = s.memory(ctx, profiledPlugin)
	return err
}

// starts measures a reload and the read behind it, beside the bare plugin: Vault ends the process and starts
// another, and the read is its first.
func (s *stage) starts(ctx context.Context, p plan, rung, bare *report.Rung) error {
	var first [2][]float64
	for range p.rounds {
		for i, mount := range []string{profiledMount, bareMount} {
			began := time.Now()
			if err := s.node.Reload(ctx, mount+"/"); err != nil {
				return err
			}
			answer, err := s.vault.ReadWithContext(ctx, mount+"/token/"+crowd+"000000")
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

// survey calls the periodic function until the plugin has seen all accounts. In real time that takes Vault
// hours, on purpose.
func (s *stage) survey(ctx context.Context) error {
	plugin := s.probe(profiledPlugin)
	return patiently(ctx, "the survey", func(ctx context.Context) (bool, error) {
		for range 5 {
			if _, err := plugin.Get(ctx, "/tend"); err != nil {
				return false, err
			}
		}
		status, err := s.vault.ReadWithContext(ctx, profiledMount+"/status")
		if err != nil {
			return false, err
		}
		complete, _ := status.Data["complete"].(bool)
		return complete, nil
	})
}

// randomReads reads all accounts once, from the storage, and then accounts at random, from memory.
func (s *stage) randomReads(ctx context.Context, p plan, rung *report.Rung) error {
	before, err := s.readsBySource(ctx, profiledMount)
	if err != nil {
		return err
	}
	all := s.reads(profiledMount+"/token/"+crowd+"{}", ladderConnections)
	all.Names, all.Requests = rung.Accounts, rung.Accounts
	r, err := s.load.Run(ctx, all)
	if err != nil {
		return err
	}
	rung.Cold = latencies([]load.Result{r})
	var warm []load.Result
	for range p.rounds {
		job := all
		job.Requests, job.Duration, job.Random = 0, 2*p.duration, true
		r, err := s.load.Run(ctx, job)
		if err != nil {
			return err
		}
		warm = append(warm, r)
	}
	rung.Warm = latencies(warm)
	after, err := s.readsBySource(ctx, profiledMount)
	if err != nil {
		return err
	}
	waited := after.waited() - before.waited()
	return must(waited == 0, "%v reads did not come from memory or storage", waited)
}

// latencies sums up the results of several jobs.
func latencies(results []load.Result) report.Latency {
	var p50, p99, rate []float64
	for _, r := range results {
		p50, p99, rate = append(p50, millis(r.Latency.P50)), append(p99, millis(r.Latency.P99)), append(rate, r.Rate())
	}
	return report.Latency{P50: summarise(p50), P99: summarise(p99), Rate: summarise(rate)}
}
