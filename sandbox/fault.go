package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrFaultsOff says that the sandbox was not started with Config.Faults.
var ErrFaultsOff = errors.New("faults are off: the sandbox was started without them")

// FaultTime is when a fault strikes.
type FaultTime string

const (
	// FaultBefore strikes before the request is processed: no token is spent.
	FaultBefore FaultTime = "before"
	// FaultAfter strikes between the processing and the answer: the token is
	// spent, and the client does not learn it.
	FaultAfter FaultTime = "after"
)

// FaultAction is what a fault does.
type FaultAction string

const (
	// ActionNone does nothing except for the delay, if there is one.
	ActionNone FaultAction = ""
	// ActionHold holds the request until the fault is cleared. Then it goes on as usual.
	ActionHold FaultAction = "hold"
	// ActionDrop closes the connection with a FIN, without an answer.
	ActionDrop FaultAction = "drop"
	// ActionReset closes the connection with an RST.
	ActionReset FaultAction = "reset"
	// ActionHang sends nothing until the client goes away, the fault is cleared or
	// the server closes. Then it closes the connection.
	ActionHang FaultAction = "hang"
	// ActionTruncate sends the headers with the full Content-Length and only the
	// first Bytes bytes of the body. Then it closes the connection.
	ActionTruncate FaultAction = "truncate"
	// ActionStatus answers with Status, Headers and Body.
	ActionStatus FaultAction = "status"
	// ActionBody sends Body instead of the right body. Status and headers are the
	// right ones if the request was processed.
	ActionBody FaultAction = "body"
)

// Placeholders in Fault.Body for the issued tokens.
const (
	PlaceholderAccessToken  = "{{access_token}}"
	PlaceholderRefreshToken = "{{refresh_token}}"
)

// Fault is a failure on demand.
type Fault struct {
	Endpoint Endpoint  // default EndpointToken
	When     FaultTime // default FaultBefore
	// Count is the number of requests that it applies to; 0 means all until it is
	// cleared.
	Count int
	// User and GrantType restrict it to requests that concern a grant of this user
	// and have this grant type; empty means any.
	User      string
	GrantType string

	// Delay passes before the action. The request goes on even if its client goes
	// away meanwhile.
	Delay time.Duration
	// Jitter is the most by which the delay is longer or shorter, at random.
	Jitter  time.Duration
	Action  FaultAction
	Bytes   int               // for ActionTruncate
	Status  int               // for ActionStatus; instead of the right one for ActionBody and ActionTruncate
	Body    string            // for ActionStatus and ActionBody; instead of the right one for ActionTruncate
	Headers map[string]string // replace other headers of the same name; an empty value removes one
}

// validate fills in the defaults and returns an error if the fault is not valid.
func (f *Fault) validate() error {
	if f.Endpoint == "" {
		f.Endpoint = EndpointToken
	}
	if f.When == "" {
		f.When = FaultBefore
	}
	endpoints := []Endpoint{EndpointToken, EndpointAuthorize, EndpointRevoke, EndpointAPI}
	actions := []FaultAction{
		ActionNone, ActionHold, ActionDrop, ActionReset, ActionHang,
		ActionTruncate, ActionStatus, ActionBody,
	}
	placeholders := strings.Contains(f.Body, PlaceholderAccessToken) || strings.Contains(f.Body, PlaceholderRefreshToken)
	switch {
	case !slices.Contains(endpoints, f.Endpoint):
		return fmt.Errorf("endpoint %q is not known", f.Endpoint)
	case f.When != FaultBefore && f.When != FaultAfter:
		return fmt.Errorf("when is %q, neither %q nor %q", f.When, FaultBefore, FaultAfter)
	case !slices.Contains(actions, f.Action):
		return fmt.Errorf("action %q is not known", f.Action)
	case f.Count < 0 || f.Delay < 0 || f.Bytes < 0:
		return errors.New("count, delay and bytes must not be negative")
	case f.Jitter < 0 || f.Jitter > f.Delay:
		return errors.New("jitter must be between 0 and the delay")
	case f.Action == ActionStatus && f.Status == 0:
		return errors.New("action status needs a status")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not between 200 and 599", f.Status)
	case placeholders && (f.When != FaultAfter || f.Endpoint != EndpointToken):
		return errors.New("placeholders need the tokens of a processed token request: when=after, endpoint=token")
	}
	return nil
}

// FaultHandle observes and clears a fault that was set. It is safe for concurrent use.
type FaultHandle struct {
	fault    Fault
	table    *faultTable
	released chan struct{} // closed when the fault is cleared

	// Guarded by faultTable.mu.
	id        int
	remaining int // how many requests it still applies to, if fault.Count is set
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
	return h, nil
}

// take returns the first fault that applies to the request, or nil, and counts the
// request against the fault's Count.
func (t *faultTable) take(c *call) *FaultHandle {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.set {
		f := h.fault
		if f.Endpoint != c.endpoint ||
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
