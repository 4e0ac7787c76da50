package account

import (
	"hash/fnv"
	"math"
	"time"
)

// task is what the plugin does about an account by itself.
type task int

const (
	noTask      task = iota
	refreshTask      // run the refresh grant, or log a dead account in again
	spareTask        // run the refresh grant of the spare, so that it does not get too old
)

// chore is a task and when it is due.
type chore struct {
	task task
	at   time.Time
}

// chore says what is to be done next about the account, if nobody reads it. It
// depends on nothing but its arguments. spread, in [0, 1), keeps accounts from
// becoming due at one moment.
func (a *Account) chore(env Env, keepalive time.Duration, spread float64) chore {
	if a.Unsaved {
		return chore{} // its lock is held until it is saved
	}
	next := a.refreshChore(env, keepalive, spread)
	if a.Spare != nil && keepalive > 0 {
		at := later(a.Spare.keepaliveAt(keepalive, spread), a.Spare.Rest, a.Spare.free(env))
		if next.task == noTask || at.Before(next.at) {
			next = chore{spareTask, at}
		}
	}
	return next
}

func (a *Account) refreshChore(env Env, keepalive time.Duration, spread float64) chore {
	var at time.Time
	switch {
	case a.Grant.Death != nil:
		next, ok := a.nextLogin()
		if !ok || !a.AutoRefresh {
			return chore{}
		}
		at = next
	case a.AutoRefresh && a.Access != nil:
		lifetime := a.Access.Lifetime()
		minTTL, _ := a.minTTL(env, Ask{}, lifetime)
		at = a.Access.Expires.Add(-minTTL - lead(lifetime, spread))
	case a.AutoRefresh:
	case keepalive > 0:
		at = a.Grant.keepaliveAt(keepalive, spread)
	default:
		return chore{}
	}
	at = later(at, a.Grant.free(env))
	if f := a.Failure; f != nil {
		at = later(at, f.NextAttempt)
	}
	return chore{refreshTask, at}
}

// lead is how long before its window an access token is replaced in the
// background: long enough for an exchange and for those that wait in line, and a
// small part of the token's life.
func lead(lifetime time.Duration, spread float64) time.Duration {
	return max(time.Second, time.Duration(float64(lifetime)*(0.05+0.05*spread)))
}

// keepaliveAt is when a grant that nobody uses is refreshed: in the last tenth of
// the interval.
func (g *Grant) keepaliveAt(interval time.Duration, spread float64) time.Time {
	return later(g.Authorized, g.Used).Add(time.Duration(float64(interval) * (1 - 0.1*spread)))
}

// free is when no exchange of another process with the grant can be under way any
// more; zero where there is none.
func (g *Grant) free(env Env) time.Time {
	if in := g.Intent; in != nil && in.Process != env.Process {
		return in.Deadline.Add(takeoverGrace)
	}
	return time.Time{}
}

func later(times ...time.Time) time.Time {
	var last time.Time
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// spread is a number in [0, 1) that is an account's own, in every process.
func spread(name string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return float64(h.Sum64()>>11) / math.Exp2(53)
}
