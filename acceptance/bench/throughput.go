package main

import (
	"context"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
)

const (
	// busyAccounts is the number of accounts.
	busyAccounts = 1000
	// The limits of the plugin in the background: concurrent exchanges, and exchanges started in a second.
	choresAtATime, choresPerSecond = 32, 50
)

// busyCrowd is a number of readers and the kind of their accounts. If the endpoint takes the same time for each exchange, the
// readers keep in step and need the processors all at once.
type busyCrowd struct {
	accounts    string
	connections int
}

// throughput measures exchanges per second over many accounts. The token endpoint takes endpointDelay. It measures readers
// that wait for their exchanges, and the plugin in the background.
func (f *fixture) throughput(ctx context.Context, p plan, to *report.Bench) error {
	var crowds []busyCrowd
	for accounts, user := range map[string]string{"busy": slowUser, "varied": variedUser} {
		err := f.enrol(ctx, pageroMount, user, nil, numbered(accounts, busyAccounts)...)
		if err != nil {
			return err
		}
	}
	for _, connections := range []int{8, choresAtATime, 128} {
		crowds = append(crowds, busyCrowd{"busy", connections}, busyCrowd{"varied", connections})
	}
	measured := map[busyCrowd]*exchangeRates{}
	for round := range p.rounds + 1 {
		for i := range crowds {
			crowd := crowds[(round+i)%len(crowds)]
			if round < 2 { // the first round is a warm-up
				measured[crowd] = &exchangeRates{}
			}
			if err := f.exchangeRate(ctx, p, crowd, measured[crowd]); err != nil {
				return err
			}
		}
	}
	for _, crowd := range crowds {
		m := measured[crowd]
		limit := float64(crowd.connections) / endpointDelay.Seconds()
		ratios := make([]float64, len(m.rate))
		for i, rate := range m.rate {
			ratios[i] = rate / limit
		}
		to.Throughput = append(to.Throughput, report.Throughput{
			Connections: crowd.connections, Varied: crowd.accounts == "varied", Limit: limit, Rate: summarise(m.rate), Ratio: summarise(ratios),
			Busy: summarise(m.busy), Own: summarise(m.own), Wanted: summarise(quotients(m.busy, ratios)),
		})
	}
	return f.background(ctx, to)
}

// exchangeRates holds the exchanges per second and the shares of the processors of the rounds.
type exchangeRates struct{ rate, busy, own []float64 }

// exchangeRate reads over a number of connections. Every read makes an exchange.
func (f *fixture) exchangeRate(ctx context.Context, p plan, crowd busyCrowd, m *exchangeRates) error {
	before, endpoint := f.exchanges(), load.ProcessorTime()
	job := f.refreshes(crowd.accounts+"{}", crowd.connections)
	job.Names, job.Duration = busyAccounts, 2*p.duration
	r, own, err := f.costOf(ctx, job, pageroPlugin)
	if err != nil {
		return err
	}
	share := func(used cpuTime) float64 { return used.Seconds() / r.Elapsed.Seconds() / float64(processors) }
	n := f.exchanges() - before
	m.rate = append(m.rate, float64(n)/r.Elapsed.Seconds())
	m.own = append(m.own, share(own))
	m.busy = append(m.busy, share(own+r.CPU+load.ProcessorTime()-endpoint))
	// A reader that is a whole round behind the others can share an exchange with one of them.
	return must(n <= r.Requests, "%d reads ran %d exchanges", r.Requests, n)
}

// background measures the exchanges that the plugin starts by itself when many accounts are due at once.
func (f *fixture) background(ctx context.Context, to *report.Bench) error {
	var (
		names  = numbered("auto", busyAccounts)
		before = f.exchanges()
		began  = time.Now()
	)
	if err := f.enrol(ctx, pageroMount, slowUser, map[string]any{"auto_refresh": true}, names...); err != nil {
		return err
	}
	// The plugin starts when Vault calls its periodic function, once a minute.
	err := patiently(ctx, "the accounts to be refreshed", func(context.Context) (bool, error) {
		return f.exchanges()-before >= busyAccounts, nil
	})
	if err != nil {
		return err
	}
	var first, last time.Time
	count := 0
	for _, r := range f.server.Requests() {
		if r.User == slowUser && r.Time.After(began) {
			if first.IsZero() {
				first = r.Time
			}
			last = r.Time
			count++
		}
	}
	limit := min(choresAtATime/endpointDelay.Seconds(), choresPerSecond)
	rate := float64(count-1) / last.Sub(first).Seconds()
	to.Background = report.Background{Accounts: busyAccounts, Limit: limit, Rate: rate, Ratio: rate / limit}
	return must(count == busyAccounts, "%d exchanges for %d accounts", count, busyAccounts)
}
