package sandbox

import (
	"math/rand/v2"
	"time"
)

// at reports whether the fault strikes at this point of the request. A nil handle
// means that there is no fault.
func (h *FaultHandle) at(when FaultTime) bool { return h != nil && h.fault.When == when }

// replacesAnswer reports whether the fault's action replaces the right answer.
func (h *FaultHandle) replacesAnswer() bool {
	return h.fault.Action != ActionNone && h.fault.Action != ActionHold
}

func (h *FaultHandle) action() FaultAction {
	if h == nil {
		return ActionNone
	}
	return h.fault.Action
}

// describe names the fault for the log, such as "after:drop".
func (h *FaultHandle) describe() string {
	action := string(h.fault.Action)
	if h.fault.Action == ActionNone {
		action = "delay"
	}
	return string(h.fault.When) + ":" + action
}

// strike wakes the callers of Wait. Then it waits for the delay and, with ActionHold,
// until the fault is cleared. It returns early when closing is closed.
func (h *FaultHandle) strike(closing <-chan struct{}) {
	t := h.table
	t.mu.Lock()
	h.hits++
	close(t.changed)
	t.changed = make(chan struct{})
	t.mu.Unlock()

	if h.fault.Delay > 0 {
		timer := time.NewTimer(h.delay())
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-closing:
		}
	}
	if h.fault.Action == ActionHold {
		select {
		case <-h.released:
		case <-closing:
		}
	}
}

// delay returns the delay for one request.
func (h *FaultHandle) delay() time.Duration {
	d := h.fault.Delay - h.fault.Jitter
	return d + time.Duration(rand.Int64N(int64(2*h.fault.Jitter)+1)) //nolint:gosec // nothing secret
}
