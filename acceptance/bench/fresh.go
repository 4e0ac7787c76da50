package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

const (
	// freshAccounts is the number of accounts. Their tokens live for freshLifetime, like Pagero's.
	freshAccounts = 10_000
	freshLifetime = 600 * time.Second
	// freshReads is the time between two reads of a random account.
	freshReads = 10 * time.Millisecond
	freshMount = "fresh"
)

// fresh watches accounts with auto_refresh in real time, in their own mount. Readers must never wait, and must never get a
// token that is about to expire.
func (f *fixture) fresh(ctx context.Context, p plan, to *report.Fresh) (err error) {
	accounts := freshAccounts
	if p.quick {
		accounts = 200
	}
	server, err := sandbox.Start(sandbox.Config{
		AccessTokenLifetime: freshLifetime, Users: []sandbox.User{{Username: promptUser, Password: "none"}},
	})
	if err != nil {
		return err
	}
	// The tokens of the fixture's token endpoint live longer.
	own := *f
	own.server = server
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := own.mount(ctx, freshMount, pageroPlugin); err != nil {
		return err
	}
	names := numbered("f", accounts)
	if err := own.enrol(ctx, freshMount, promptUser, map[string]any{"auto_refresh": true}, names...); err != nil {
		return err
	}
	progress("%d accounts are enrolled; the plugin gets their first tokens by itself", accounts)
	err = patiently(ctx, "the first tokens", func(context.Context) (bool, error) {
		return own.exchanges() >= accounts, nil
	})
	if err != nil {
		return err
	}
	*to = report.Fresh{Accounts: accounts, Lifetime: int(freshLifetime.Seconds()), LeastRemaining: freshLifetime.Seconds()}
	before, err := own.processorTime(ctx, pageroPlugin)
	if err != nil {
		return err
	}
	exchanges, began := own.exchanges(), time.Now()
	progress("watching them for %s", p.fresh)
	if err := own.watch(ctx, p.fresh, names, to); err != nil {
		return err
	}
	elapsed := time.Since(began)
	after, err := own.processorTime(ctx, pageroPlugin)
	if err != nil {
		return err
	}
	counted, err := own.readsBySource(ctx, freshMount)
	if err != nil {
		return err
	}
	if to.Memory, err = own.memory(ctx, pageroPlugin); err != nil {
		return err
	}
	to.Minutes, to.Exchanges = elapsed.Minutes(), own.exchanges()-exchanges
	to.CPU = millis(after.plugin-before.plugin) / elapsed.Minutes()
	to.Waited, to.Stale, to.Failed = int(counted["exchange"]), int(counted["stale"]), int(counted["error"])
	return errors.Join(
		must(to.Expired == 0, "%d reads got a token that had expired", to.Expired),
		must(to.Failed == 0, "%d reads failed", to.Failed),
	)
}

// watch reads random accounts, one every freshReads.
func (f *fixture) watch(ctx context.Context, d time.Duration, names []string, to *report.Fresh) error {
	ticker := time.NewTicker(freshReads)
	defer ticker.Stop()
	for over := time.After(d); ; {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		began := time.Now()
		answer, err := f.vault.ReadWithContext(ctx, freshMount+"/token/"+names[rand.IntN(len(names))]) //nolint:gosec // no secret
		if err != nil {
			return err
		}
		if err := note(answer, began, to); err != nil {
			return err
		}
	}
}

// note records the answer to a read that started at a time.
func note(answer *api.Secret, began time.Time, to *report.Fresh) error {
	text, _ := answer.Data["expire_time"].(string)
	expires, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("an answer without an expire_time: %w", err)
	}
	remaining := time.Until(expires).Seconds()
	to.Reads++
	to.MaxLatency = max(to.MaxLatency, millis(time.Since(began)))
	to.LeastRemaining = min(to.LeastRemaining, remaining)
	if remaining <= 0 {
		to.Expired++
	}
	return nil
}

// simulatedHour runs the test that refreshes 10,000 accounts for one hour of simulated time.
func simulatedHour(ctx context.Context, to *report.Fresh) error {
	root, err := harness.RepoRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^TestTenThousandAccountsAreKeptFresh$", "./backend/internal/account")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "--- PASS") {
			to.Simulated = strings.TrimSpace(line)
		}
	}
	return must(to.Simulated != "", "the test did not run:\n%s", out)
}
