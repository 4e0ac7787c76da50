package runner

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func newGroup() (*Group, *bytes.Buffer) {
	var log bytes.Buffer
	return New(hclog.New(&hclog.LoggerOptions{Output: &log})), &log
}

func pass(d time.Duration) { <-time.After(d) }

func TestGroupCountsItsWorkAndEndsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup()
		var ended atomic.Int32
		for range 3 {
			if !g.Go(func(ctx context.Context) { <-ctx.Done(); pass(time.Second); ended.Add(1) }) {
				t.Fatal("the work has not begun")
			}
			pass(time.Second)
		}
		leave, ok := g.Enter()
		if !ok || g.Closed() {
			t.Fatal("the group is closed")
		}
		began := time.Now()
		g.Close()
		g.Close() // once more does no harm
		if time.Since(began) > 0 || ended.Load() > 0 {
			t.Error("Close waited")
		}
		time.AfterFunc(time.Minute, leave)
		g.Wait()
		if ended.Load() != 3 || time.Since(began) != time.Minute {
			t.Errorf("%d ended after %s", ended.Load(), time.Since(began))
		}
	})
}

func TestNothingBeginsAfterClose(t *testing.T) {
	t.Parallel()
	g, _ := newGroup()
	s := Single{Group: g}
	g.Close()
	work := func(context.Context) { t.Error("it has begun") }
	_, entered := g.Enter()
	if entered || g.Go(work) || s.Start(work) || !g.Closed() || g.Context().Err() == nil {
		t.Error("the group is not closed")
	}
	g.Wait()
}

func TestPanicIsLoggedAndTheWorkStillCounted(t *testing.T) {
	t.Parallel()
	g, log := newGroup()
	for range 2 {
		if !g.Go(func(context.Context) { panic("simulated") }) {
			t.Fatal("the work has not begun")
		}
	}
	g.Safely(func() { panic("simulated") })
	g.Close()
	g.Wait()
	if n := strings.Count(log.String(), "panic in the background work"); n != 3 || !strings.Contains(log.String(), "runner_test.go") {
		t.Errorf("%d panics are logged:\n%s", n, log)
	}
}

func TestSingleRunsOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, log := newGroup()
		defer g.Close()
		s := Single{Group: g}
		for i, work := range []func(context.Context){
			func(context.Context) { pass(time.Minute) },
			func(context.Context) { pass(time.Minute); panic("simulated") },
			func(context.Context) { pass(time.Minute) },
		} {
			if !s.Start(work) {
				t.Fatalf("run %d has not begun: %s", i, log)
			}
			pass(59 * time.Second)
			if s.Start(func(context.Context) { t.Error("it runs beside another") }) {
				t.Errorf("two runs at once in run %d", i)
			}
			pass(2 * time.Second)
		}
	})
}

func TestCloseEndsASingle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup()
		s := Single{Group: g}
		if !s.Start(func(ctx context.Context) { <-ctx.Done() }) {
			t.Fatal("it has not begun")
		}
		synctest.Wait()
		g.Close()
		g.Wait()
	})
}
