package account

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"
)

// TaskKind is what the plugin does about an account by itself.
type TaskKind int

// The tasks.
const (
	NoTask        TaskKind = iota
	RefreshTask            // run the refresh grant for readers, or log a dead account in again
	KeepAliveTask          // run the refresh grant of a grant that waits, so that it does not get too old
)

// Task is a task and when it is due.
type Task struct {
	Kind  TaskKind
	At    time.Time
	Grant int // the index of the grant of a KeepAliveTask
}

// NextTask says what the plugin has to do next about the account if nobody reads
// it. keepalive is how long a grant may go unused, 0 for ever.
func (a *Account) NextTask(c Conditions, keepalive time.Duration) Task {
	if a.Unsaved || len(a.Grants) == 0 {
		return Task{} // a rescue copy's lock is held until it is saved
	}
	next := a.nextRefresh(c, keepalive)
	if keepalive == 0 {
		return next
	}
	used := a.InUse()
	for i := range a.Grants {
		g := &a.Grants[i]
		if i == used || g.Death != nil || g.Replaced {
			continue
		}
		at := later(g.keepAliveAt(c.Now, keepalive, c.Spread), g.Failure.waitsUntil(c.Now), g.foreignUntil(c))
		if next.Kind == NoTask || at.Before(next.At) {
			next = Task{Kind: KeepAliveTask, At: at, Grant: i}
		}
	}
	return next
}

func (a *Account) nextRefresh(c Conditions, keepalive time.Duration) Task {
	g := a.Current()
	var at time.Time
	switch {
	case g.Death != nil:
		next, ok := a.nextLogin(c.Now)
		if !ok || !a.AutoRefresh {
			return Task{}
		}
		at = next
	case a.AutoRefresh && a.Access.Remaining(c.Now) > 0:
		lifetime := a.Access.Lifetime()
		minTTL, _ := a.minTTL(c, ReadRequest{}, lifetime)
		at = a.Access.Expires.Add(-minTTL)
	case a.AutoRefresh:
	case g.inDoubt(): // the server may answer the same token again, for a while
	case keepalive > 0:
		at = g.keepAliveAt(c.Now, keepalive, c.Spread)
	default:
		return Task{}
	}
	if f := g.Failure; f != nil && !f.over(c) {
		at = later(at, f.waitsUntil(c.Now))
	}
	return Task{Kind: RefreshTask, At: later(at, g.foreignUntil(c))}
}

// TaskRate is how many exchanges a second the account takes in the background while
// nothing is wrong with it.
func (a *Account) TaskRate(c Conditions, keepalive time.Duration) float64 {
	rate, used := 0.0, a.InUse()
	for i := range a.Grants {
		every := keepalive
		switch g := &a.Grants[i]; {
		case g.Death != nil || g.Replaced && i != used:
			continue
		case i == used && a.AutoRefresh && a.Access != nil:
			lifetime := a.Access.Lifetime()
			minTTL, _ := a.minTTL(c, ReadRequest{}, lifetime)
			every = lifetime - minTTL
		}
		if every > 0 {
			rate += 1 / every.Seconds()
		}
	}
	return rate
}

// lead is how much earlier than others an access token is replaced that is refreshed in
// the background: a small part of its life, so that accounts do not become due at one
// moment.
func lead(lifetime time.Duration, spread float64) time.Duration {
	return max(time.Second, time.Duration(float64(lifetime)*(0.05+0.05*spread)))
}

// keepAliveAt is when a grant that nobody uses is refreshed: in the last tenth of
// the interval. A time of last use in the future comes from a clock that was wrong:
// the grant is refreshed now, which gives it a right one.
func (g *Grant) keepAliveAt(now time.Time, interval time.Duration, spread float64) time.Time {
	last := g.issued()
	if last.After(now.Add(longestWait)) {
		return time.Time{}
	}
	return last.Add(time.Duration(float64(interval) * (1 - 0.1*spread)))
}

// IdleSince is when the refresh token of the grant in use was issued.
func (a *Account) IdleSince() time.Time { return a.Current().issued() }

// issued is when the newest refresh token of the grant was issued, or written.
func (g *Grant) issued() time.Time {
	if g.LastExchange.IsZero() {
		return g.AuthorizedAt
	}
	return g.LastExchange
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

// Spread returns a number in [0, 1) that is the same for an account in every
// process.
func Spread(name string) float64 {
	sum := sha256.Sum256([]byte(name))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / math.Exp2(53)
}
