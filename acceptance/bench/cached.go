package main

import (
	"context"
	"fmt"
	"maps"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
)

// target is an engine whose reads are compared.
type target struct{ name, mount, path, plugin string }

// targets are the compared engines. They return the same data.
var targets = []target{
	{"pagero", pageroMount, "pagero/token/acme", pageroPlugin},
	{"bare", bareMount, "bare/token/acme", barePlugin},
	{"conventional", conventionalMount, "conventional/token/acme", conventionalPlugin},
	{"kv", kvMount, "kv/data/acme", "kv"},
}

// prepareCached mounts all targets and writes the data to them.
func (f *fixture) prepareCached(ctx context.Context) error {
	for _, t := range targets {
		if err := f.mount(ctx, t.mount, t.plugin); err != nil {
			return err
		}
	}
	if err := f.enrol(ctx, pageroMount, promptUser, nil, "acme"); err != nil {
		return err
	}
	token, err := f.vault.ReadWithContext(ctx, "pagero/token/acme")
	if err != nil {
		return err
	}
	for _, mount := range []string{bareMount, conventionalMount} {
		if err := f.write(ctx, mount+"/token/acme", maps.Clone(token.Data)); err != nil {
			return err
		}
	}
	// A fresh KV version 2 mount refuses requests while it upgrades itself.
	return patiently(ctx, "the KV mount", func(ctx context.Context) (bool, error) {
		err := f.write(ctx, "kv/data/acme", map[string]any{"data": token.Data})
		return err == nil, err
	})
}

// cached measures reads of a token that is in memory, and reads of the other targets.
func (f *fixture) cached(ctx context.Context, p plan, to *report.Bench) error {
	before := f.exchanges()
	for _, connections := range []int{1, 16, 256} {
		row, share, err := f.cachedOver(ctx, p, connections)
		if err != nil {
			return err
		}
		to.Cached = append(to.Cached, row)
		to.LoadShare = max(to.LoadShare, share)
	}
	if n := f.exchanges() - before; n != 0 {
		return fmt.Errorf("%d exchanges were run for cached reads", n)
	}
	return nil
}

// cachedOver measures with one number of connections. share is the share of the processors that the load process took.
func (f *fixture) cachedOver(ctx context.Context, p plan, connections int) (row report.Cached, share float64, err error) {
	row.Connections = connections
	type series struct{ rate, p50, p99, cpu []float64 }
	measured := map[string]*series{}
	for _, t := range targets {
		measured[t.name] = &series{}
		warmUp := f.reads(t.path, connections)
		warmUp.Duration = p.duration / 4
		if _, err := f.load.Run(ctx, warmUp); err != nil {
			return row, 0, err
		}
	}
	for round := range p.rounds {
		for i := range targets { // another target is the first one in each round
			t := targets[(round+i)%len(targets)]
			job := f.reads(t.path, connections)
			job.Duration = p.duration
			r, cpu, err := f.costOf(ctx, job, t.plugin)
			if err != nil {
				return row, 0, err
			}
			m := measured[t.name]
			m.rate = append(m.rate, r.Rate())
			m.p50, m.p99 = append(m.p50, millis(r.Latency.P50)), append(m.p99, millis(r.Latency.P99))
			m.cpu = append(m.cpu, micros(cpu)/float64(r.Requests))
			share = max(share, r.CPU.Seconds()/r.Elapsed.Seconds()/float64(processors))
		}
	}
	ours := measured[targets[0].name]
	row.Ceiling = summarise(quotients(measured[bareMount].rate, measured[conventionalMount].rate))
	for _, t := range targets {
		m := measured[t.name]
		row.Targets = append(row.Targets, report.Target{
			Name: t.name, Rate: summarise(m.rate), P50: summarise(m.p50), P99: summarise(m.p99), CPU: summarise(m.cpu),
			RateRatio: summarise(quotients(ours.rate, m.rate)), CPURatio: summarise(quotients(ours.cpu, m.cpu)),
			P50Ratio: summarise(quotients(ours.p50, m.p50)), P99Ratio: summarise(quotients(ours.p99, m.p99)),
		})
	}
	return row, share, nil
}

// costOf runs a job and returns the processor time that Vault and the plugin took for it.
func (f *fixture) costOf(ctx context.Context, job load.Job, plugin string) (load.Result, cpuTime, error) {
	before, err := f.processorTime(ctx, plugin)
	if err != nil {
		return load.Result{}, 0, err
	}
	r, err := f.load.Run(ctx, job)
	if err != nil {
		return r, 0, err
	}
	after, err := f.processorTime(ctx, plugin)
	return r, after.total() - before.total(), err
}
