package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

const (
	// hangTime is how long an exchange hangs.
	hangTime = 10 * time.Second
	// otherAccounts is the number of other accounts that are read meanwhile.
	otherAccounts = 999
	// hangConnections is the number of connections of the readers.
	hangConnections = 16
)

// hang measures cached reads of the same account and of others while an exchange hangs.
func (f *fixture) hang(ctx context.Context, p plan, to *report.Bench) error {
	if err := f.enrol(ctx, pageroMount, hungUser, nil, "hanging"); err != nil {
		return err
	}
	if err := f.enrol(ctx, pageroMount, promptUser, nil, numbered("other", otherAccounts)...); err != nil {
		return err
	}
	first := f.reads("pagero/token/other{}", hangConnections)
	first.Names, first.Requests = otherAccounts, otherAccounts
	for _, job := range []load.Job{first, f.onceOf("hanging")} {
		if _, err := f.load.Run(ctx, job); err != nil {
			return err
		}
	}
	duration := min(4*p.duration, hangTime/2-time.Second)
	var m struct{ sameP99, sameRate, othersP99, othersRate [2][]float64 }
	measure := func(ctx context.Context, hanging int) error {
		for i, path := range []string{"pagero/token/hanging", "pagero/token/other{}"} {
			job := f.reads(path, hangConnections)
			job.Duration, job.Names = duration, i*otherAccounts
			job.Random = true
			r, err := f.load.Run(ctx, job)
			if err != nil {
				return err
			}
			p99, rate := &m.sameP99[hanging], &m.sameRate[hanging]
			if i == 1 {
				p99, rate = &m.othersP99[hanging], &m.othersRate[hanging]
			}
			*p99, *rate = append(*p99, millis(r.Latency.P99)), append(*rate, r.Rate())
		}
		return nil
	}
	before, err := f.readsBySource(ctx, pageroMount)
	if err != nil {
		return err
	}
	for round := range p.rounds {
		steps := []func() error{
			func() error { return measure(ctx, 0) },
			func() error { return f.whileHanging(ctx, p, func() error { return measure(ctx, 1) }) },
		}
		if round%2 == 1 {
			steps[0], steps[1] = steps[1], steps[0]
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
	}
	after, err := f.readsBySource(ctx, pageroMount)
	if err != nil {
		return err
	}
	if waited := after.waited() - before.waited(); waited != 0 {
		return fmt.Errorf("%v reads did not come from memory", waited)
	}
	to.Hang = report.Hang{
		Connections: hangConnections,
		SameP99:     compare(m.sameP99[1], m.sameP99[0]), SameRate: compare(m.sameRate[1], m.sameRate[0]),
		OthersP99: compare(m.othersP99[1], m.othersP99[0]), OthersRate: compare(m.othersRate[1], m.othersRate[0]),
	}
	if p.quick {
		return nil
	}
	return f.hangInWindow(ctx, &to.Hang)
}

// windowAnswer is an answer of the token endpoint. The refresh window of its token begins after half of the lifetime.
const windowAnswer = `{"access_token":"` + sandbox.PlaceholderAccessToken + `","refresh_token":"` + sandbox.PlaceholderRefreshToken +
	`","token_type":"Bearer","expires_in":40}`

// hangInWindow measures reads of an account in its refresh window. The first read starts the exchange, which hangs.
func (f *fixture) hangInWindow(ctx context.Context, to *report.Hang) error {
	once, err := f.server.SetFault(sandbox.Fault{User: briefUser, When: sandbox.FaultAfter, Action: sandbox.ActionBody, Body: windowAnswer, Count: 1})
	if err != nil {
		return err
	}
	defer once.Clear()
	if err := f.enrol(ctx, pageroMount, briefUser, nil, "window"); err != nil {
		return err
	}
	began := time.Now()
	if _, err := f.vault.ReadWithContext(ctx, "pagero/token/window"); err != nil {
		return err
	}
	measure := func(into *report.HangLatency) error {
		job := f.reads("pagero/token/window", hangConnections)
		job.Duration = hangTime - 2*time.Second
		r, err := f.load.Run(ctx, job)
		*into = report.HangLatency{P50: millis(r.Latency.P50), P99: millis(r.Latency.P99), Max: millis(r.Latency.Max), Rate: r.Rate()}
		return err
	}
	if err := measure(&to.WindowWithout); err != nil {
		return err
	}
	hung, err := f.server.SetFault(sandbox.Fault{User: briefUser, Delay: hangTime})
	if err != nil {
		return err
	}
	defer hung.Clear()
	if err := settle(ctx, time.Until(began.Add(21*time.Second))); err != nil { // more than half of 40 s
		return err
	}
	before := f.exchanges()
	if err := measure(&to.Window); err != nil {
		return err
	}
	// The next measurements count exchanges.
	return patiently(ctx, "the exchange that hung", func(context.Context) (bool, error) { return f.exchanges() > before, nil })
}

// onceOf returns a job that reads the token of one account once.
func (f *fixture) onceOf(account string) load.Job {
	job := f.reads("pagero/token/"+account, 1)
	job.Requests = 1
	return job
}

// whileHanging runs a measurement while a forced refresh of the account "hanging" hangs. The token of the account is valid.
func (f *fixture) whileHanging(ctx context.Context, p plan, measure func() error) error {
	fault, err := f.server.SetFault(sandbox.Fault{User: hungUser, Action: sandbox.ActionHold})
	if err != nil {
		return err
	}
	defer fault.Clear()
	refreshed := make(chan error, 1)
	go func() { refreshed <- f.write(ctx, "pagero/refresh/hanging", map[string]any{}) }()
	if err := fault.Wait(ctx, 1); err != nil {
		return errors.Join(err, <-refreshed)
	}
	over := time.After(hangTime)
	if p.quick {
		over = time.After(0)
	}
	if err := measure(); err != nil {
		return err
	}
	select {
	case <-over:
	case err := <-refreshed:
		return fmt.Errorf("the exchange ended too early: %w", err)
	}
	fault.Clear()
	return <-refreshed
}
