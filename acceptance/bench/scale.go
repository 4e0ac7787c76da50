package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
)

// scale measures a mount with many accounts on raft storage.
func scale(ctx context.Context, p plan, only string, write bool) (err error) {
	began := time.Now()
	f, err := newFixture(ctx)
	defer func() { err = errors.Join(err, f.close()) }()
	if err != nil {
		return err
	}
	if err := f.mount(ctx, bareMount, barePlugin); err != nil {
		return err
	}
	data := &report.Scale{Accounts: p.accounts}
	err = runSteps(ctx, []step{
		{"idle with the bare plugin", func(ctx context.Context) error { return f.idle(ctx, p, "the bare plugin alone", barePlugin, data) }},
		{"accounts", func(ctx context.Context) error { return f.ladderBesideOne(ctx, p, &data.Ladder) }},
		{"unseal", func(ctx context.Context) error { return f.unseal(ctx, p, &data.Unseal) }},
		{"idle", func(ctx context.Context) error { return f.idleWithAccounts(ctx, p, data) }},
		{"fresh", func(ctx context.Context) error { return f.fresh(ctx, p, &data.Fresh) }},
		{"simulated hour", func(ctx context.Context) error { return simulatedHour(ctx, &data.Fresh) }},
	}, only)
	if err != nil {
		return err
	}
	if data.Machine, err = machine(ctx, f.node, began); err != nil {
		return err
	}
	if !write {
		return report.Dump(os.Stdout, data)
	}
	return errors.Join(report.WriteScale(data), report.Text(os.Stdout, nil, data))
}

// ladderBesideOne runs ladder while the plugin without a probe is mounted, too, with one account.
func (f *fixture) ladderBesideOne(ctx context.Context, p plan, to *report.Ladder) error {
	if err := f.mount(ctx, pageroMount, pageroPlugin); err != nil {
		return err
	}
	if err := f.enrol(ctx, pageroMount, promptUser, nil, "acme"); err != nil {
		return err
	}
	if _, err := f.vault.ReadWithContext(ctx, pageroMount+"/token/acme"); err != nil {
		return err
	}
	if err := f.ladder(ctx, p, to); err != nil {
		return err
	}
	return f.node.Disable(ctx, pageroMount)
}

// unseal measures how long the plugin and the bare plugin take to answer after an unseal. Both get requests from the moment
// of the unseal request.
func (f *fixture) unseal(ctx context.Context, p plan, to *report.Unseal) error {
	var active, token, bare, tokenAfter, bareAfter []float64
	for range p.rounds {
		if err := f.node.Stop(ctx); err != nil {
			return err
		}
		if err := f.node.Start(ctx); err != nil {
			return err
		}
		began := time.Now()
		waits := []*firstAnswer{
			f.waitFor(ctx, "sys/health"), f.waitFor(ctx, profiledMount+"/token/"+crowd+"000000"), f.waitFor(ctx, bareMount+"/token/x"),
		}
		if err := f.node.Unseal(ctx); err != nil {
			return err
		}
		var took [3]float64
		for i, w := range waits {
			at, err := w.wait(ctx)
			if err != nil {
				return err
			}
			took[i] = millis(at.Sub(began))
		}
		active, token, bare = append(active, took[0]), append(token, took[1]), append(bare, took[2])
		tokenAfter, bareAfter = append(tokenAfter, took[1]-took[0]), append(bareAfter, took[2]-took[0])
	}
	*to = report.Unseal{
		Rounds: p.rounds, Active: summarise(active), Token: summarise(token), Bare: summarise(bare),
		TokenAfter: summarise(tokenAfter), BareAfter: summarise(bareAfter),
	}
	return nil
}

// idleWithAccounts measures what an idle Vault costs: while the plugin scans its accounts, which it does in the first hours
// after a start, and after that.
func (f *fixture) idleWithAccounts(ctx context.Context, p plan, to *report.Scale) error {
	if err := f.node.Reload(ctx, profiledMount+"/"); err != nil {
		return err
	}
	if _, err := f.vault.ReadWithContext(ctx, profiledMount+"/status"); err != nil {
		return err
	}
	if err := f.idle(ctx, p, fmt.Sprintf("%d accounts, while they are scanned", p.accounts), profiledPlugin, to); err != nil {
		return err
	}
	if err := f.scan(ctx); err != nil {
		return err
	}
	return f.idle(ctx, p, fmt.Sprintf("%d accounts, when all have been seen", p.accounts), profiledPlugin, to)
}

// idle measures Vault and a plugin for a while without requests.
func (f *fixture) idle(ctx context.Context, p plan, state, plugin string, to *report.Scale) error {
	if _, err := f.vault.ReadWithContext(ctx, bareMount+"/token/x"); err != nil { // it may not have started yet
		return err
	}
	if err := settle(ctx, p.idle/4); err != nil {
		return err
	}
	before, err := f.processorTime(ctx, plugin)
	if err != nil {
		return err
	}
	if err := settle(ctx, p.idle); err != nil {
		return err
	}
	after, err := f.processorTime(ctx, plugin)
	if err != nil {
		return err
	}
	perMinute := float64(time.Minute) / float64(p.idle)
	to.Idle = append(to.Idle, report.Idle{
		State: state, Vault: millis(after.vault-before.vault) * perMinute, Plugin: millis(after.plugin-before.plugin) * perMinute,
	})
	return nil
}

// settle waits for a while.
func settle(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
