package rotation

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/runner"
)

const (
	// firstWindow is how many exchanges may be in progress at first, and after
	// windowAge without a success.
	firstWindow = 3
	windowAge   = time.Minute
	// doubtsUntilHeld is the number of outcomes in doubt in a row after which exchanges
	// are held back.
	doubtsUntilHeld = 3
	// firstProbeWait is the wait before the first probe. It doubles to longestProbeWait
	// while probes fail, and to longestHold while real answers stay unreadable although
	// probes are readable.
	firstProbeWait   = time.Second
	longestProbeWait = time.Minute
	longestHold      = time.Hour
	// cautionWait is how long a grant whose predecessor died of an unreadable answer
	// keeps away from a token endpoint that has not worked since.
	cautionWait = time.Minute
)

// gate is what all exchanges with one token endpoint pass before their intents are
// written, so that a path that breaks costs what was in progress at that moment, and
// nothing after it. It limits how many are in progress, and holds all of them back while
// answers are lost: a harmless probe finds out when the way is open again. It is safe for
// concurrent use.
type gate struct {
	endpoint string // the host of the token endpoint, for the log, the status and the metrics
	wake     func() // ends the waits of the accounts that did not reach the endpoint
	probe    func(context.Context, *Client) oauth.Result
	now      func() time.Time // the wall clock, for messages; the gate itself uses the monotonic one
	work     *runner.Group
	log      hclog.Logger

	mu         sync.Mutex
	state      gateState
	window     int
	inProgress int
	limit      int       // the mount's max_exchanges
	client     *Client   // that has passed last, for the probes
	moved      time.Time // when window was last changed by an outcome
	doubts     int       // outcomes in doubt in a row
	hold       time.Duration
	next       time.Time // the next probe, while exchanges are held back
	reason     string    // why they are
	unreadable time.Time // the last unreadable answer
	reached    time.Time // the last readable answer
	missed     bool      // an exchange was held back or did not reach the endpoint since
	probing    bool      // a goroutine probes
	// waiting are those that wait for their turn, the first first. A channel is closed
	// when its waiter may try again.
	waiting []chan struct{}
}

// gateState says which exchanges pass a gate.
type gateState int

const (
	gateOpen   gateState = iota // as many as the window lets through
	gateHeld                    // none: probes look whether the way is open
	gateTrying                  // one at a time, until one succeeds
)

// enter returns a pass if one more exchange may begin now. If it only has to wait for its
// turn, it returns a turn for [gate.wait] instead, and no pass. It fails if exchanges are
// held back. forced, for an operator's attempt, is let through at once. careful marks a
// grant whose predecessor died of an unreadable answer.
func (g *gate) enter(name string, client *Client, limit int, forced, careful bool) (pass *gatePass, turn chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit, g.client = limit, client
	if forced || g.passes(careful) {
		g.inProgress++
		return &gatePass{gate: g}, nil, nil
	}
	if held := g.heldError(name, careful); held != nil {
		g.missed = true
		return nil, nil, held
	}
	turn = make(chan struct{})
	g.waiting = append(g.waiting, turn)
	return nil, turn, nil
}

// wait waits until it is worth calling enter again, or until ctx ends. No lock of an
// account is held meanwhile.
func (g *gate) wait(ctx context.Context, turn chan struct{}) {
	timer := time.NewTimer(windowAge) // the window is wider then
	defer timer.Stop()
	select {
	case <-turn:
	case <-timer.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(c chan struct{}) bool { return c == turn })
	if ctx.Err() != nil {
		g.signal() // the turn may have been this one's
	}
}

// passes reports whether one more exchange may begin. The caller holds mu.
func (g *gate) passes(careful bool) bool {
	switch {
	case careful && g.mustWait():
		return false
	case g.state == gateHeld:
		return false
	case g.state == gateTrying:
		return g.inProgress == 0
	}
	if time.Since(g.moved) > windowAge {
		g.window = max(g.window, firstWindow)
		if g.inProgress == 0 {
			g.window = firstWindow
		}
	}
	return g.inProgress < min(g.window, g.limit)
}

// mustWait reports whether a careful exchange has to wait. The caller holds mu.
func (g *gate) mustWait() bool {
	return g.reached.Before(g.unreadable) || g.state != gateOpen && time.Since(g.unreadable) < cautionWait
}

// heldError says why exchanges are held back, or returns nil if they only have to wait
// for their turn. The caller holds mu.
func (g *gate) heldError(name string, careful bool) *account.Error {
	next := g.next
	switch {
	case g.state == gateHeld:
	case careful && g.mustWait():
		next = g.unreadable.Add(cautionWait)
	case g.state == gateTrying:
		next = time.Now().Add(firstProbeWait)
	default:
		return nil
	}
	return heldBack(name, g.endpoint, g.reason, g.now().Add(time.Until(next)))
}

// open reports whether an exchange that has passed may send another POST.
func (g *gate) open(forced bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return forced || g.state != gateHeld
}

// gatePass lets one exchange through, which may take several POSTs.
type gatePass struct {
	gate *gate
	left bool
}

// leave gives the pass back. Only the first call counts.
func (p *gatePass) leave() {
	if p == nil || p.left {
		return
	}
	p.left = true
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.inProgress--
	p.gate.signal()
}

// signal lets as many waiters try again as may begin now; all of them if exchanges are
// held back, so that they fail. The caller holds mu.
func (g *gate) signal() {
	n := len(g.waiting)
	if g.state == gateOpen {
		n = max(0, min(n, min(g.window, g.limit)-g.inProgress))
	}
	for _, turn := range g.waiting[:n] {
		close(turn)
	}
	g.waiting = slices.Delete(g.waiting, 0, n)
}

// report tells the gate the outcome of a POST.
func (g *gate) report(r oauth.Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wake := false
	switch {
	case r.Outcome == oauth.Succeeded:
		wake = g.succeeded()
	case r.Outcome == oauth.NotSent:
		g.missed = true
	case r.Outcome == oauth.Unreadable:
		g.unreadable = time.Now()
		g.lost(r.Reason, true)
	case r.Outcome == oauth.InDoubt:
		g.doubts++
		g.lost(r.Reason, g.doubts >= doubtsUntilHeld)
	case r.Readable():
		g.doubts, g.reached = 0, time.Now()
	}
	g.signal()
	if wake {
		g.wakeAll()
	}
}

// succeeded notes a success, and reports whether accounts wait for it. The caller holds
// mu.
func (g *gate) succeeded() bool {
	g.doubts, g.reached, g.moved = 0, time.Now(), time.Now()
	g.window = min(g.window+1, g.limit)
	if g.state != gateOpen {
		g.state, g.hold, g.reason = gateOpen, 0, ""
		g.log.Info("exchanges are let through again", "endpoint", g.endpoint)
	}
	missed := g.missed
	g.missed = false
	return missed
}

// lost notes an answer that could not be read or did not come. hold holds exchanges back.
// The caller holds mu.
func (g *gate) lost(reason string, hold bool) {
	g.window, g.moved = 1, time.Now()
	if g.state == gateHeld || g.state == gateOpen && !hold {
		return
	}
	limit := longestProbeWait
	if g.state == gateTrying { // a probe was readable, and a real answer was not
		limit = longestHold
	}
	g.hold = min(max(2*g.hold, firstProbeWait), limit)
	g.log.Warn("exchanges are held back", "endpoint", g.endpoint, "reason", reason, "next_probe_in", g.hold.String())
	g.state, g.reason, g.next = gateHeld, reason, time.Now().Add(g.hold)
	if !g.probing {
		g.probing = g.work.Go(g.probeUntilReadable)
	}
}

// probeUntilReadable probes the token endpoint until the answer shows that the way is
// open.
func (g *gate) probeUntilReadable(ctx context.Context) {
	for client, wait := g.nextProbe(nil); client != nil; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		r := g.probe(ctx, client)
		client, wait = g.nextProbe(&r)
	}
}

// nextProbe takes over the result of a probe, if there was one, and returns the client
// for the next one and the wait before it; nil if no more probes are needed.
func (g *gate) nextProbe(r *oauth.Result) (client *Client, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.state != gateHeld: // an operator's attempt has succeeded
	case r == nil:
		return g.client, time.Until(g.next)
	case r.Readable():
		g.state, g.doubts, g.reached = gateTrying, 0, time.Now()
		g.log.Info("the token endpoint answers again; exchanges are tried one at a time", "endpoint", g.endpoint)
		g.signal()
		if g.missed {
			g.missed = false
			g.wakeAll()
		}
	default:
		g.hold = min(2*g.hold, longestProbeWait)
		g.next = time.Now().Add(g.hold)
		return g.client, g.hold
	}
	g.probing = false
	return nil, 0
}

// wakeAll calls wake without the lock.
func (g *gate) wakeAll() { g.work.Go(func(context.Context) { g.wake() }) }

// GateStatus is how the gate of one token endpoint is.
type GateStatus struct {
	Endpoint   string   // its host
	Clients    []string // the names of the clients that use it
	HeldBack   bool     // exchanges are held back, or tried one at a time
	Reason     string   // why they are
	NextProbe  time.Time
	Window     int // how many exchanges may be in progress
	InProgress int // how many are
}

func (g *gate) status() GateStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GateStatus{Endpoint: g.endpoint, HeldBack: g.state != gateOpen, Reason: g.reason, Window: min(g.window, g.limit), InProgress: g.inProgress}
	if g.state == gateHeld {
		s.NextProbe = g.now().Add(time.Until(g.next))
	}
	return s
}

func heldBack(name, endpoint, reason string, next time.Time) *account.Error {
	e := unavailable(name, "exchanges with the token endpoint "+endpoint+" are held back, because answers were lost ("+reason+
		"), so that no other refresh token is; nothing was sent; a harmless probe finds out when they may go on, next at "+account.Stamp(next)+
		"; a write to refresh/"+name+" is let through")
	e.NextAttempt = next
	return e
}
