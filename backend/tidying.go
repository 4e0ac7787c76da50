package backend

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// tidyInterval is how often what is too old is looked for. Nothing depends on it:
// what is too old does not work.
const tidyInterval = 10 * time.Minute

// tidying runs a clean-up in the background, one at a time and not too often.
// The zero value is ready.
type tidying struct {
	mu      sync.Mutex // guards what follows
	last    time.Time
	running bool
	stopped bool
	cancel  context.CancelFunc
	done    chan struct{}
}

// start begins the clean-up, unless one is under way or was a short time ago. Its
// panic must not end the process: exchanges may be under way in it.
func (t *tidying) start(logger hclog.Logger, tidy func(context.Context)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running || t.stopped || now().Sub(t.last) < tidyInterval {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.last, t.running, t.cancel, t.done = now(), true, cancel, done
	go func() {
		defer close(done)
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				logger.Error("panic in the background work", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.running = false
		}()
		tidy(ctx)
	}()
}

// stop ends the clean-up that is under way and lets no other begin.
func (t *tidying) stop() {
	t.mu.Lock()
	t.stopped = true
	cancel, done := t.cancel, t.done
	t.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}
