package account

import (
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// FailureKind is a class of failures that have the same remedy. The values are
// stored.
type FailureKind string

// The kinds of failure.
const (
	FailedUnreachable FailureKind = "unreachable" // no connection: the refresh token is untouched
	FailedInDoubt     FailureKind = "in_doubt"    // sent, and the outcome is not known
	FailedUnreadable  FailureKind = "unreadable"  // answered, but the answer could not be read: in doubt
	FailedRefused     FailureKind = "refused"     // answered by something that does not speak OAuth: in doubt
	FailedThrottled   FailureKind = "throttled"   // the server is busy (429 and the like)
	FailedClient      FailureKind = "client"      // the server refuses the client
	FailedRequest     FailureKind = "request"     // the server refuses the request
	FailedAnswer      FailureKind = "answer"      // refreshed, but without an access token
	FailedStorage     FailureKind = "storage"     // Vault's storage failed before the POST
	FailedSetup       FailureKind = "setup"       // the client is missing or must not be used, or cannot be read
	FailedHeldBack    FailureKind = "held_back"   // exchanges with the token endpoint are held back
)

// Failure is why the next exchange of a grant waits.
type Failure struct {
	Kind   FailureKind
	Code   oauth.ErrorCode // if the server sent one
	Reason string          // a fixed phrase, never a server's text
	// Count is the number of failures in a row, and Refusals how many of them were
	// refusals after which the token waited. A success ends both.
	Count, Refusals int
	Since           time.Time // the first failure in a row
	Time            time.Time // this failure
	NextAttempt     time.Time
	// ClientRevision is the client's revision at the attempt. If the client may be
	// to blame, a change of it ends the wait.
	ClientRevision string
}

// refusal reports whether the server, or something in front of it, has refused.
// Such a failure does not pass within seconds.
func (k FailureKind) refusal() bool {
	return k == FailedClient || k == FailedRequest || k == FailedRefused
}

// unsent reports whether a failure of this kind came before the server saw
// anything.
func (k FailureKind) unsent() bool {
	return k == FailedUnreachable || k == FailedStorage || k == FailedSetup || k == FailedHeldBack
}

// shortWaits are the waits after failures that may pass within seconds: the server
// is not reached, is busy, or did not answer. The last one repeats. jittered draws
// each between its half and its whole.
var shortWaits = []time.Duration{
	1 * time.Second,  // at most 0:01 after the first failure
	2 * time.Second,  // 0:03
	4 * time.Second,  // 0:07
	8 * time.Second,  // 0:15
	16 * time.Second, // 0:31
	32 * time.Second, // 1:03
	60 * time.Second, // 2:03, then every minute
}

// refusalWaits are the waits after refusals. A gateway that was wrong for half a
// minute costs a minute, and a wrong path does not cost thousands of requests a
// day. A change of the client ends the wait at once.
var refusalWaits = []time.Duration{
	1 * time.Minute,  // 0:01 hours after the first refusal
	2 * time.Minute,  // 0:03
	4 * time.Minute,  // 0:07
	8 * time.Minute,  // 0:15
	16 * time.Minute, // 0:31
	32 * time.Minute, // 1:03
	60 * time.Minute, // 2:03, then every hour
}

const (
	// setupWait is the wait after an exchange that could not begin because of its
	// client. A write of the client ends it at once.
	setupWait = time.Minute
	// maxRetryAfter bounds what a server's Retry-After can ask for.
	maxRetryAfter = 10 * time.Minute
	// longestWait is longer than any wait that this package sets.
	longestWait = time.Hour + clockMargin
	// clockMargin is how far the clocks of two nodes may be apart before the waits that
	// one of them has stored do not count on the other.
	clockMargin = time.Minute
)

// step returns the wait after the nth failure, n ≥ 1.
func step(waits []time.Duration, n int) time.Duration {
	return waits[min(max(n, 1), len(waits))-1]
}

// jittered draws a wait between its half and its whole, so that many accounts do
// not come back at one moment. jitter is in [0, 1).
func jittered(wait time.Duration, jitter float64) time.Duration {
	return wait/2 + time.Duration(jitter*float64(wait/2))
}

// BackOff is the wait after the nth failure in a row, n ≥ 1, of something that may
// work again within seconds.
func BackOff(n int, jitter float64) time.Duration { return jittered(step(shortWaits, n), jitter) }

// after returns the failure that follows this one, which may be nil. prompt says that
// the same token may be presented once more after 1 to 2 s.
func (f *Failure) after(kind FailureKind, o Outcome, prompt bool) *Failure {
	next := &Failure{
		Kind: kind, Code: o.Code, Reason: o.Reason, Count: 1, Since: o.AnsweredAt, Time: o.AnsweredAt, ClientRevision: o.ClientRevision,
	}
	if f != nil {
		next.Count, next.Refusals, next.Since = f.Count+1, f.Refusals, f.Since
	}
	var wait time.Duration
	switch {
	case kind == FailedSetup:
		wait = setupWait
	case prompt:
		wait = BackOff(2, o.Jitter)
	case kind.refusal():
		next.Refusals++
		wait = step(refusalWaits, next.Refusals)
	case kind == FailedInDoubt || kind == FailedUnreadable: // 1 to 2 s at least
		wait = BackOff(max(next.Count, 2), o.Jitter)
	default:
		wait = BackOff(next.Count, o.Jitter)
	}
	next.NextAttempt = o.AnsweredAt.Add(max(wait, min(o.RetryAfter, maxRetryAfter)))
	if kind.unsent() && f != nil && f.waitsUntil(o.AnsweredAt).After(next.NextAttempt) {
		return f // an attempt that never left does not end a wait that the server asked for
	}
	return next
}

// longest is the longest wait after a failure of this kind.
func (k FailureKind) longest() time.Duration {
	switch {
	case k.refusal() || k == FailedHeldBack: // the gate's probes are up to an hour apart
		return time.Hour
	case k == FailedStorage || k == FailedSetup: // nothing has asked for a longer one
		return time.Minute
	default:
		return maxRetryAfter
	}
}

// waitsUntil is when the wait is over; not after now if it is. A time that is further
// ahead than the longest wait of its kind comes from a clock that was wrong.
func (f *Failure) waitsUntil(now time.Time) time.Time {
	if f == nil || f.NextAttempt.After(now.Add(f.Kind.longest()+clockMargin)) {
		return time.Time{}
	}
	return f.NextAttempt
}

// waitsForClient reports whether a change of the client ends the wait.
func (f *Failure) waitsForClient() bool {
	return f != nil && (f.Kind.refusal() || f.Kind == FailedUnreachable || f.Kind == FailedSetup)
}

// over reports whether something has ended the wait early: the client was written since
// the failure, or others have reached the token endpoint that this exchange did not.
func (f *Failure) over(c Conditions) bool {
	return f.waitsForClient() && c.ClientRevision != "" && c.ClientRevision != f.ClientRevision ||
		(f.Kind == FailedUnreachable || f.Kind == FailedHeldBack) && c.EndpointReached.After(f.Time)
}
