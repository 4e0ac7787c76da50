package account

import (
	"fmt"
	"time"
)

const (
	// minStaleTTL is the least ttl of an answer that could not be refreshed, so
	// that nobody polls: for a secret with a rotation schedule Vault Secrets
	// Operator takes 2 s and less for "about to rotate".
	minStaleTTL = 3 * time.Second
	// deadRecheck is how often a reader is sent back while the token of a dead
	// grant still lives.
	deadRecheck = 60 * time.Second
	// loginInterval is how often the plugin logs in by itself at the most.
	loginInterval = time.Hour
	// takeoverGrace is what another process's intent gets beyond its deadline,
	// for clocks that differ.
	takeoverGrace = 2 * time.Second
)

// Ask is what a reader wants.
type Ask struct {
	MinTTL time.Duration // remaining life wanted beyond the account's min_ttl; 0: no wish
	Force  bool          // run the refresh grant now

	// task is what the plugin wants by itself; a refresh runs before it is due.
	task task
	// shared marks a reader who has waited for an exchange that succeeded: its
	// token is new enough, whatever was asked for.
	shared bool
}

// Env is what a decision has to know beside the account.
type Env struct {
	Now            time.Time
	Process        string        // this process's identity
	MinTTL         time.Duration // the mount's
	ClientRevision string        // the client's revision; "": not looked up
}

// Action is what to do for a reader.
type Action int

// The actions.
const (
	Refuse   Action = iota // no valid token, and no exchange now
	Serve                  // the current token
	Stale                  // the current token, though a refresh is due that cannot run now
	Exchange               // run the refresh grant
	LogIn                  // the grant is dead: log in with the credentials that are kept
)

// Decision is the answer of the policy. It depends on nothing but the
// arguments of Decide.
type Decision struct {
	Action Action
	Block  Block // what keeps an exchange from starting; always there where Refuse or Stale
	// TTL and RotationPeriod are set where there is a living token. TTL is the
	// time until a read will do more than this one, in whole seconds.
	TTL            time.Duration
	RotationPeriod time.Duration
	// Warning tells the reader that its min_ttl counted for less; "" if not.
	Warning string
	// MinTTL is the remaining life that counted.
	MinTTL time.Duration
}

// Block is what keeps an exchange from starting.
type Block struct {
	Reason BlockReason
	Until  time.Time // zero: not known
}

// BlockReason is why an exchange must not start.
type BlockReason int

// The reasons.
const (
	NotBlocked   BlockReason = iota
	BlockUnsaved             // a rescue copy waits to be saved
	BlockIntent              // another process may have an exchange under way
	BlockDead                // the grant was rejected for good
	BlockFailed              // the last exchange failed and its wait is not over
)

// Decide says what to do for a reader of the account.
func Decide(a *Account, env Env, ask Ask) Decision {
	d := Decision{Block: a.block(env, ask.Force)}
	remaining := a.Access.Remaining(env.Now)
	if remaining > 0 {
		lifetime := a.Access.Lifetime()
		d.MinTTL, d.Warning = a.minTTL(env, ask, lifetime)
		d.TTL = wholeSeconds(remaining-d.MinTTL, time.Second)
		d.RotationPeriod = wholeSeconds(lifetime-d.MinTTL, time.Second)
	}
	due := remaining < d.MinTTL || ask.Force || a.RefreshOnRead || ask.task == refreshTask
	switch {
	case remaining > 0 && (ask.shared || !due):
		d.Action = Serve
	case d.Block.Reason == NotBlocked && a.Grant.Death != nil && !ask.Force:
		d.Action = LogIn
	case d.Block.Reason == NotBlocked:
		d.Action = Exchange
	case remaining > 0:
		d.Action = Stale
		d.TTL = d.Block.staleTTL(env.Now, remaining)
	default:
		d.Action = Refuse
	}
	return d
}

// minTTL is the remaining life below which the token is replaced: the larger of
// the configured and the wanted one, but at most half of the token's lifetime.
func (a *Account) minTTL(env Env, ask Ask, lifetime time.Duration) (time.Duration, string) {
	want := env.MinTTL
	if a.MinTTL > 0 {
		want = a.MinTTL
	}
	want = max(want, ask.MinTTL)
	most := lifetime / 2
	var warning string
	if ask.MinTTL > most {
		warning = fmt.Sprintf("min_ttl counts for at most half of the token's lifetime: %s in place of %s", most, ask.MinTTL)
	}
	return min(want, most), warning
}

// block says what keeps an exchange from starting. An operator's forced attempt
// overrides a death and a back-off, but not the two that protect the refresh
// token from being presented twice.
func (a *Account) block(env Env, force bool) Block {
	if a.Unsaved {
		return Block{Reason: BlockUnsaved}
	}
	if until := a.Grant.free(env); env.Now.Before(until) {
		return Block{Reason: BlockIntent, Until: until}
	}
	if force {
		return Block{}
	}
	if a.Grant.Death != nil {
		next, ok := a.nextLogin()
		if !ok || env.Now.Before(next) {
			return Block{Reason: BlockDead, Until: next}
		}
	}
	if f := a.Failure; f != nil && env.Now.Before(f.NextAttempt) && !f.corrected(env) {
		return Block{Reason: BlockFailed, Until: f.NextAttempt}
	}
	return Block{}
}

// nextLogin is the earliest time at which the plugin may log in by itself with
// the credentials that it keeps; ok is false where it may not.
func (a *Account) nextLogin() (at time.Time, ok bool) {
	c := a.Credentials
	if c == nil || c.Refused {
		return time.Time{}, false
	}
	if c.LastUsed.IsZero() {
		return time.Time{}, true
	}
	return c.LastUsed.Add(loginInterval), true
}

// NextAttempt is when the plugin will do something about an account that does not
// work; zero: not before a person does.
func (a *Account) NextAttempt() time.Time {
	if a.Grant.Death != nil {
		next, _ := a.nextLogin()
		return next
	}
	if a.Failure == nil {
		return time.Time{}
	}
	return a.Failure.NextAttempt
}

// corrected tells whether the client has been written since it was refused.
func (f *Failure) corrected(env Env) bool {
	return f.waitsForClient() && env.ClientRevision != "" && env.ClientRevision != f.ClientRevision
}

// waitsForClient tells whether a change of the client ends the wait.
func (f *Failure) waitsForClient() bool {
	return f != nil && (f.Kind == FailedClient || f.Kind == FailedRequest || f.Kind == FailedUnreachable)
}

// staleTTL is when a reader should come back to whom a living token was given
// though a refresh is due.
func (b Block) staleTTL(now time.Time, remaining time.Duration) time.Duration {
	wait := minStaleTTL
	switch {
	case b.Reason == BlockDead:
		wait = min(remaining, deadRecheck)
	case !b.Until.IsZero():
		wait = min(b.Until.Sub(now), remaining)
	}
	return wholeSeconds(wait, minStaleTTL)
}

// wholeSeconds rounds d up to whole seconds, and not below least. A ttl that was
// rounded down would send readers back before its end: Vault Secrets Operator,
// which comes half a second after the ttl, would find the same token and sleep
// for another whole ttl, beyond the token's life.
func wholeSeconds(d, least time.Duration) time.Duration {
	return max((d + time.Second - 1).Truncate(time.Second), least)
}
