package account

import (
	"fmt"
	"time"
)

const (
	// minStaleTTL is the least TTL of an answer that could not be refreshed, so
	// that nobody polls. Vault Secrets Operator takes a TTL of 2 s or less of a
	// secret with a rotation schedule for "about to rotate".
	minStaleTTL = 3 * time.Second
	// deadRecheck is when a reader of a dead grant's token, which still lives, is
	// to read again.
	deadRecheck = 60 * time.Second
	// refreshOnReadShare is how long readers share a token of an account with
	// refresh_on_read.
	refreshOnReadShare = 10 * time.Second
	// takeoverGrace is what another process's intent gets beyond its own duration,
	// for the time that its POST needs to end.
	takeoverGrace = 2 * time.Second
	// longestIntent bounds the duration that an intent can claim: one POST with the
	// longest exchange_timeout for each of two client secrets, and the intent's Put.
	longestIntent = 3 * time.Minute
)

// ReadRequest is what a reader wants.
type ReadRequest struct {
	MinTTL time.Duration // remaining life wanted beyond the account's min_ttl; 0 for no wish
	Force  bool          // run the refresh grant now, in spite of a wait or a dead grant

	// Background marks the plugin's own refresh, which runs before a read would.
	Background bool
	// Shared marks a reader that has waited for an exchange that succeeded. The
	// token is new enough for it, whatever it wanted.
	Shared bool
}

// Conditions is what a decision has to know beside the account.
type Conditions struct {
	Now            time.Time
	Process        string        // this process's identity
	MinTTL         time.Duration // the mount's
	Spread         float64       // the account's [Spread]
	ClientRevision string        // the client's revision; "" if it was not looked up
	// EndpointReached is when the client's token endpoint gave a readable answer last;
	// zero if it is not known.
	EndpointReached time.Time
	// IntentAge returns how long ago this process first saw an intent of another
	// process, on its own monotonic clock. Nil stands for "just now".
	IntentAge func(id string) time.Duration
}

// Action is what to do for a reader.
type Action int

// The actions.
const (
	Refuse     Action = iota // no valid token, and no exchange now
	Serve                    // the current token
	ServeStale               // the current token, though a refresh is due that cannot run now
	Exchange                 // run the refresh grant
	LogInAgain               // every grant is dead: log in with the credentials that are kept
)

// Decision is the answer of the policy. It depends on nothing but the arguments
// of Decide.
type Decision struct {
	Action Action
	Hold   Hold // what keeps an exchange from starting; always set with Refuse and ServeStale
	// TTL and RotationPeriod are set if there is a living token, in whole seconds.
	// TTL is the time until a read will do more than this one.
	TTL            time.Duration
	RotationPeriod time.Duration
	// Warning tells the reader that its min_ttl counted for less; "" if it did not.
	Warning string
	// MinTTL is the remaining life that counted.
	MinTTL time.Duration
}

// Hold is what keeps an exchange from starting.
type Hold struct {
	Reason HoldReason
	Until  time.Time // zero if it is not known
}

// HoldReason is why an exchange must not start.
type HoldReason int

// The reasons.
const (
	NotHeld       HoldReason = iota
	HeldUnsaved              // a rescue copy waits to be saved
	HeldByIntent             // another process may have an exchange in progress
	HeldDead                 // every grant was rejected for good
	HeldByFailure            // the last exchange failed and its wait is not over
)

// Decide says what to do for a reader of the account.
func Decide(a *Account, c Conditions, r ReadRequest) Decision {
	d := Decision{Hold: a.Hold(c, r.Force)}
	remaining := a.Access.Remaining(c.Now)
	if remaining > 0 {
		lifetime := a.Access.Lifetime()
		d.MinTTL, d.Warning = a.minTTL(c, r, lifetime)
		d.TTL = wholeSeconds(remaining-d.MinTTL, time.Second)
		d.RotationPeriod = wholeSeconds(lifetime-d.MinTTL, time.Second)
	}
	due := remaining < d.MinTTL || r.Force || r.Background
	if a.RefreshOnRead && remaining > 0 {
		young := a.Access.sharedFor(c.Now)
		d.TTL = wholeSeconds(young, time.Second)
		due = due || young <= 0
	}
	switch {
	case remaining > 0 && (r.Shared || !due):
		d.Action = Serve
	case d.Hold.Reason == NotHeld && a.Current().Death != nil && !r.Force:
		d.Action = LogInAgain
	case d.Hold.Reason == NotHeld:
		d.Action = Exchange
	case remaining > 0:
		d.Action = ServeStale
		d.TTL = d.Hold.staleTTL(c.Now, remaining)
	default:
		d.Action = Refuse
	}
	return d
}

// LastResort is the decision for a reader with a living token whose exchange could
// not be started or waited for. next is the next attempt, zero if it is not known.
func LastResort(a *Account, c Conditions, next time.Time) Decision {
	d := Decide(a, c, ReadRequest{Shared: true})
	d.TTL = Hold{Until: next}.staleTTL(c.Now, a.Access.Remaining(c.Now))
	return d
}

// sharedFor is how long readers share the token although each read runs the refresh
// grant: the server may end a token when it issues the next, and readers that come
// together would get dead ones.
func (t *AccessToken) sharedFor(now time.Time) time.Duration {
	return min(refreshOnReadShare, t.Lifetime()/2) - now.Sub(t.Obtained)
}

// Doubt says why the server may have ended the access token before its time; "" if
// nothing is known against it.
func (a *Account) Doubt() string {
	g := a.Current()
	switch {
	case a.Access == nil:
		return ""
	case g.Death != nil || len(a.Grants) > 0 && a.Grants[0].Death != nil:
		return "the server may have ended this access token: " + a.describeDeath()
	case !g.DoubtSince.IsZero():
		return fmt.Sprintf("the server may have ended this access token: the refresh is in doubt since %s", Stamp(g.DoubtSince))
	case g.Intent != nil:
		return fmt.Sprintf("the server may have ended this access token: another process began a refresh at %s and has not reported its outcome", Stamp(g.Intent.Started))
	}
	return ""
}

// minTTL is the remaining life below which the token is replaced: the larger of
// the configured and the wanted one, but at most half of the token's lifetime. A token
// that is refreshed in the background is replaced a little earlier, at a different time
// for each account; its readers are told so by the TTL.
func (a *Account) minTTL(c Conditions, r ReadRequest, lifetime time.Duration) (time.Duration, string) {
	want := c.MinTTL
	if a.MinTTL > 0 {
		want = a.MinTTL
	}
	want = max(want, r.MinTTL)
	most := lifetime / 2
	var warning string
	if r.MinTTL > most {
		warning = fmt.Sprintf("min_ttl counts for at most half of the token's lifetime: %s instead of %s", most, r.MinTTL)
	}
	if a.AutoRefresh {
		want += lead(lifetime, c.Spread)
	}
	return min(want, most), warning
}

// Hold says what keeps an exchange for readers from starting. An operator's forced
// attempt overrides a death and a wait, but not the two that protect the refresh
// token from being presented twice.
func (a *Account) Hold(c Conditions, force bool) Hold {
	if a.Unsaved {
		return Hold{Reason: HeldUnsaved}
	}
	g := a.Current()
	if until := g.foreignUntil(c); c.Now.Before(until) {
		return Hold{Reason: HeldByIntent, Until: until}
	}
	if force {
		return Hold{}
	}
	if g.Death != nil {
		next, ok := a.nextLogin(c.Now)
		if !ok || c.Now.Before(next) {
			return Hold{Reason: HeldDead, Until: next}
		}
	}
	// What keeps the client from being used is looked at again for each reader.
	if until := g.Failure.waitsUntil(c.Now); c.Now.Before(until) && g.Failure.Kind != FailedSetup && !g.Failure.over(c) {
		return Hold{Reason: HeldByFailure, Until: until}
	}
	return Hold{}
}

// WaitsForClient reports whether a write of the client, or an answer of its token
// endpoint, could end what keeps an exchange from starting.
func (a *Account) WaitsForClient() bool {
	f := a.Current().Failure
	return f.waitsForClient() || f != nil && f.Kind == FailedHeldBack
}

// foreignUntil is when no exchange of another process with the grant can be in
// progress any more; zero if there is no such process. It is measured from when this
// process first saw the intent, for as long as its writer said: the two machines'
// clocks need not agree.
func (g *Grant) foreignUntil(c Conditions) time.Time {
	in := g.Intent
	if in == nil || in.Process == c.Process {
		return time.Time{}
	}
	wait := max(0, min(in.Deadline.Sub(in.Started), longestIntent)) + takeoverGrace
	if c.IntentAge != nil {
		wait -= c.IntentAge(in.ID)
	}
	return c.Now.Add(wait)
}

// NextAttempt is when the plugin will act on an account that does not work; zero
// if it will not before a person does.
func (a *Account) NextAttempt(now time.Time) time.Time {
	g := a.Current()
	if g.Death != nil {
		next, _ := a.nextLogin(now)
		return next
	}
	return g.Failure.waitsUntil(now)
}

// staleTTL is when a reader should read again that got a living token although a
// refresh is due.
func (h Hold) staleTTL(now time.Time, remaining time.Duration) time.Duration {
	wait := minStaleTTL
	switch {
	case h.Reason == HeldDead:
		wait = min(remaining, deadRecheck)
	case !h.Until.IsZero():
		wait = min(h.Until.Sub(now), remaining)
	}
	return wholeSeconds(wait, minStaleTTL)
}

// wholeSeconds rounds d up to whole seconds, and not below least. A TTL that was
// rounded down would send readers back before its end: Vault Secrets Operator,
// which reads half a second after the TTL, would find the same token and sleep
// for another whole TTL, beyond the token's life.
func wholeSeconds(d, least time.Duration) time.Duration {
	return max((d + time.Second - 1).Truncate(time.Second), least)
}
