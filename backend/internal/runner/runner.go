// Package runner runs work in the background of the plugin. A [Group] counts the
// work, keeps its panics from ending the process, in which exchanges may be in
// progress, and tells it when to end.
package runner

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// Group is all background work of one owner. It is safe for concurrent use.
type Group struct {
	logger hclog.Logger
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // orders the end of ctx and the counting of new work
	running sync.WaitGroup
}

// New returns a Group that logs panics to logger.
func New(logger hclog.Logger) *Group {
	g := &Group{logger: logger}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Context ends when Close is called.
func (g *Group) Context() context.Context { return g.ctx }

// Closed reports whether Close was called.
func (g *Group) Closed() bool { return g.ctx.Err() != nil }

// Enter counts work that the caller does itself, until the caller calls leave.
// ok is false once Close was called: the work must not begin.
func (g *Group) Enter() (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Closed() {
		return nil, false
	}
	g.running.Add(1)
	return g.running.Done, true
}

// Go runs work on a goroutine of its own, with the context of the Group. A panic
// of the work is logged. It reports whether the work has begun: not once Close
// was called.
func (g *Group) Go(work func(context.Context)) bool {
	leave, ok := g.Enter()
	if !ok {
		return false
	}
	go func() {
		defer leave()
		g.Safely(func() { work(g.ctx) })
	}()
	return true
}

// Safely does work on the caller's goroutine, and logs its panic instead of
// passing it on.
func (g *Group) Safely(work func()) {
	defer func() {
		if p := recover(); p != nil {
			g.logger.Error("panic in the background work", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	work()
}

// Close ends the context and lets no new work begin. It does not wait.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cancel()
}

// Wait waits for all work. Call it after Close.
func (g *Group) Wait() { g.running.Wait() }

// Single runs one piece of work of a Group at a time. The zero value is not ready:
// set Group.
type Single struct {
	Group *Group

	mu      sync.Mutex
	running bool
}

// Start runs work like [Group.Go], unless work that Start began is still running.
// It reports whether the work has begun.
func (s *Single) Start(work func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return false
	}
	s.running = s.Group.Go(func(ctx context.Context) {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.running = false
		}()
		work(ctx)
	})
	return s.running
}
