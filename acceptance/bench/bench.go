package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
)

// benchmark measures what users of a few accounts see.
func benchmark(ctx context.Context, p plan, only string, write bool) (err error) {
	began := time.Now()
	s, err := raise(ctx)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	if err := s.prepareCached(ctx); err != nil {
		return err
	}
	data := &report.Bench{Rounds: p.rounds}
	err = runSteps(ctx, []step{
		{"cached", func(ctx context.Context) error { return s.cached(ctx, p, data) }},
		{"hang", func(ctx context.Context) error { return s.hang(ctx, p, data) }},
		{"exchange", func(ctx context.Context) error { return s.exchange(ctx, p, data) }},
		{"expiry", func(ctx context.Context) error { return s.expiry(ctx, p, data) }},
		{"throughput", func(ctx context.Context) error { return s.throughput(ctx, p, data) }},
		{"cost", func(ctx context.Context) error { return s.cost(ctx, p, data) }},
		{"ladder", func(ctx context.Context) error { return s.ladder(ctx, p, &data.Ladder) }},
	}, only)
	if err != nil {
		return err
	}
	if data.Machine, err = machine(ctx, s.node, began); err != nil {
		return err
	}
	if write {
		return report.WriteBench(data)
	}
	return report.Dump(os.Stdout, data)
}

// must is a condition that has nothing to do with how fast something is.
func must(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}
