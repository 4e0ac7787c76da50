package sandbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// FaultHandle observes and clears a fault that was set. It is safe for concurrent use.
type FaultHandle struct {
	fault    Fault
	table    *faultTable
	released chan struct{} // closed when the fault is cleared

	// Guarded by faultTable.mu.
	id        int
	expiry    *time.Timer // clears the fault if fault.Lasts is set
	remaining int         // how many requests it still applies to, if fault.Count is set
	hits      int
	cleared   bool
}

// Hits returns how many requests the fault has struck.
func (h *FaultHandle) Hits() int {
	h.table.mu.Lock()
	defer h.table.mu.Unlock()
	return h.hits
}

// Wait waits until the fault has struck n requests. A fault strikes when the
// request has arrived or, with FaultAfter, when it has been processed. The delay
// and the action follow.
func (h *FaultHandle) Wait(ctx context.Context, n int) error {
	for {
		h.table.mu.Lock()
		hits, changed := h.hits, h.table.changed
		h.table.mu.Unlock()
		if hits >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for a faulted request: %w", context.Cause(ctx))
		}
	}
}

// Clear ends the fault. The requests that it holds go on.
func (h *FaultHandle) Clear() {
	h.table.mu.Lock()
	defer h.table.mu.Unlock()
	h.table.clear(h)
}

// faultTable holds the faults in the order in which they were set. It is safe
// for concurrent use.
type faultTable struct {
	mu      sync.Mutex
	lastID  int
	set     []*FaultHandle
	changed chan struct{} // closed and replaced at every hit
}

func newFaultTable() *faultTable { return &faultTable{changed: make(chan struct{})} }

func (t *faultTable) add(f Fault) (*FaultHandle, error) {
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastID++
	h := &FaultHandle{fault: f, table: t, released: make(chan struct{}), id: t.lastID, remaining: f.Count}
	t.set = append(t.set, h)
	if f.Lasts > 0 {
		h.expiry = time.AfterFunc(f.Lasts, h.Clear)
	}
	return h, nil
}

// take returns the first fault that applies to the request, or nil, and counts the
// request against the fault's Count. Before the processing it considers the faults
// without a Result, and after it those with one.
func (t *faultTable) take(c *call, processed bool) *FaultHandle {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.set {
		f := h.fault
		if f.Endpoint != c.endpoint ||
			processed != (f.Result != "") || processed && f.Result != c.result ||
			f.User != "" && f.User != c.username ||
			f.GrantType != "" && f.GrantType != c.grantType ||
			f.Count > 0 && h.remaining == 0 {
			continue
		}
		h.remaining--
		return h
	}
	return nil
}

// clear removes a fault; the caller holds mu.
func (t *faultTable) clear(h *FaultHandle) {
	if h.cleared {
		return
	}
	h.cleared = true
	if h.expiry != nil {
		h.expiry.Stop()
	}
	close(h.released)
	t.set = slices.DeleteFunc(t.set, func(other *FaultHandle) bool { return other == h })
}

func (t *faultTable) clearAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range slices.Clone(t.set) {
		t.clear(h)
	}
}

// SetFault sets a fault. If several apply to a request, the one that was set first
// and is not used up strikes. The error is ErrFaultsOff or says why the fault is not
// valid.
func (s *Server) SetFault(f Fault) (*FaultHandle, error) {
	if !s.cfg.Faults {
		return nil, ErrFaultsOff
	}
	return s.faults.add(f)
}

// ClearFaults ends all faults. The requests that they hold go on.
func (s *Server) ClearFaults() { s.faults.clearAll() }
