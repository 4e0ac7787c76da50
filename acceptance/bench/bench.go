package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
)

// benchmark measures a mount with a few accounts.
func benchmark(ctx context.Context, p plan, only string, write bool) (err error) {
	began := time.Now()
	f, err := newFixture(ctx)
	defer func() { err = errors.Join(err, f.close()) }()
	if err != nil {
		return err
	}
	if err := f.prepareCached(ctx); err != nil {
		return err
	}
	data := &report.Bench{Rounds: p.rounds}
	err = runSteps(ctx, []step{
		{"cached", func(ctx context.Context) error { return f.cached(ctx, p, data) }},
		{"hang", func(ctx context.Context) error { return f.hang(ctx, p, data) }},
		{"exchange", func(ctx context.Context) error { return f.exchange(ctx, p, data) }},
		{"expiry", func(ctx context.Context) error { return f.expiry(ctx, p, data) }},
		{"throughput", func(ctx context.Context) error { return f.throughput(ctx, p, data) }},
		{"cost", func(ctx context.Context) error { return f.cost(ctx, p, data) }},
		{"ladder", func(ctx context.Context) error { return f.ladder(ctx, p, &data.Ladder) }},
	}, only)
	if err != nil {
		return err
	}
	if data.Machine, err = machine(ctx, f.node, began); err != nil {
		return err
	}
	if write {
		return report.WriteBench(data)
	}
	return report.Dump(os.Stdout, data)
}

// must returns an error if a condition does not hold. The condition must not depend on the speed of anything.
func must(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}
