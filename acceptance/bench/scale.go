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
	s, err := raise(ctx)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	if err := s.mount(ctx, bareMount, barePlugin); err != nil {
		return err
	}
	data := &report.Scale{Accounts: p.accounts}
	err = runSteps(ctx, []step{
		{"idle with the bare plugin", func(ctx context.Context) error { return s.idle(ctx, p, "the bare plugin alone", barePlugin, data) }},
		{"accounts", func(ctx context.Context) error { return s.ladderBesideOne(ctx, p, &data.Ladder) }},
		{"unseal", func(ctx context.Context) error { return s.unseal(ctx, p, &data.Unseal) }},
		{"idle", func(ctx context.Context) error { return s.idleWithAccounts(ctx, p, data) }},
		{"fresh", func(ctx context.Context) error { return s.fresh(ctx, p, &data.Fresh) }},
		{"simulated hour", func(ctx context.Context) error { return simulatedHour(ctx, &data.Fresh) }},
	}, only)
	if err != nil {
		return err
	}
	if data.Machine, err = machine(ctx, s.node, began); err != nil {
		return err
	}
	if !write {
		return report.Dump(os.Stdout, data)
	}
	return errors.Join(report.WriteScale(data), report.Text(os.Stdout, nil, data))
}

// ladderBesideOne is ladder with a mount of the plugin as it is built for users, with one account.
func (s *stage) ladderBesideOne(ctx context.Context, p plan, to *report.Ladder) error {
	if err := s.mount(ctx, pageroMount, pageroPlugin); err != nil {
		return err
	}
	if err := s.enrol(ctx, pageroMount, promptUser, nil, "acme"); err != nil {
		return err
	}
	if _, err := s.vault.ReadWithContext(ctx, pageroMount+"/token/acme"); err != nil {
		return err
	}
	if err := s.ladder(ctx, p, to); err != nil {
		return err
	}
	return s.node.Disable(ctx, pageroMount)
}

// unseal measures how long after an unseal the plugin answers with a token, beside the bare plugin. Each is asked
// again and again from the moment at which Vault is told to unseal.
func (s *stage) unseal(ctx context.Context, p plan, to *report.Unseal) error {
	var active, token, bare, tokenAfter, bareAfter []float64
	for range p.rounds {
		if err := s.node.Stop(ctx); err != nil {
			return err
		}
		if err := s.node.Start(ctx); err != nil {
			return err
		}
		began := time.Now()
		waits := []*firstAnswer{
			s.waitFor(ctx, "sys/health"), s.waitFor(ctx, profiledMount+"/token/"+crowd+"000000"), s.waitFor(ctx, bareMount+"/token/x"),
		}
		if err := s.node.Unseal(ctx); err != nil {
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

// idleWithAccounts measures what a Vault costs that nobody asks anything, while the plugin surveys its accounts,
// as it does in the first hours after a start, and when it has seen all.
func (s *stage) idleWithAccounts(ctx context.Context, p plan, to *report.Scale) error {
	if err := s.node.Reload(ctx, profiledMount+"/"); err != nil {
		return err
	}
	if _, err := s.vault.ReadWithContext(ctx, profiledMount+"/status"); err != nil {
		return err
	}
	if err := s.idle(ctx, p, fmt.Sprintf("%d accounts, while they are surveyed", p.accounts), profiledPlugin, to); err != nil {
		return err
	}
	if err := s.survey(ctx); err != nil {
		return err
	}
	return s.idle(ctx, p, fmt.Sprintf("%d accounts, when all have been seen", p.accounts), profiledPlugin, to)
}

// idle measures for a while in which nobody asks anything.
func (s *stage) idle(ctx context.Context, p plan, state, plugin string, to *report.Scale) error {
	if _, err := s.vault.ReadWithContext(ctx, bareMount+"/token/x"); err != nil { // it may not have been started yet
		return err
	}
	if err := settle(ctx, p.idle/4); err != nil {
		return err
	}
	before, err := s.processorTime(ctx, plugin)
	if err != nil {
		return err
	}
	if err := settle(ctx, p.idle); err != nil {
		return err
	}
	after, err := s.processorTime(ctx, plugin)
	if err != nil {
		return err
	}
	perMinute := float64(time.Minute) / float64(p.idle)
	to.Idle = append(to.Idle, report.Idle{
		State: state, Vault: millis(after.vault-before.vault) * perMinute, Plugin: millis(after.plugin-before.plugin) * perMinute,
	})
	return nil
}

// settle lets time pass.
func settle(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
