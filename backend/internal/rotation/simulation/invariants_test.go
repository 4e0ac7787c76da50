package simulation

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

// presenting checks what must hold when a process presents a refresh token. The
// caller holds mu.
func (w *world) presenting(p *process, t *token) {
	name := t.grant.account
	forced := w.forcing[name] > 0
	// A process behind a partition may still be busy with a grant that an
	// operator has replaced since: that harms nobody.
	if other := w.inFlight[name]; other.by == p || (other.by != nil && other.grant == t.grant) {
		w.violated("%s presents %s while a POST of %s for the account is under way", p.id, t.text, other.by.id)
	}
	if s := t.successor; s != nil {
		if s.durable {
			w.violated("%s presents %s though its successor is saved", p.id, t.text)
		}
		if slices.Contains(s.holders, p) {
			w.violated("%s presents %s though it has received its successor", p.id, t.text)
		}
	}
	if !forced && (t.buried || t.rejectedOf == p) {
		w.violated("%s presents %s again, unforced, though it is dead", p.id, t.text)
	}
	if t.doubtOf == p && !forced && p.stepped.Before(t.doubtAt) {
		if wait, least := time.Since(t.doubtAt), leastWait(t.doubts); wait < least {
			w.violated("%s presents %s %s after doubt number %d, want %s at least", p.id, t.text, wait, t.doubts, least)
		}
	}
	// A change of the client ends the rest, also one that came during the flight.
	unchanged := w.clients.changed().Before(t.refusedAt.Add(-longestFlight))
	if t.restOf == p && !forced && p.stepped.Before(t.refusedAt) && time.Now().Before(t.restUntil) && unchanged {
		w.violated("%s presents %s %s too early after a refusal", p.id, t.text, time.Until(t.restUntil))
	}
	// A doubt is settled as early as its wait allows.
	// What had passed the gate before has written its intent by then.
	if !forced && !p.broken.IsZero() && time.Since(p.broken) > passed {
		w.violated("%s presents %s over a path that loses answers, %s after that was shown", p.id, t.text, time.Since(p.broken))
	}
	if t.grant.freshOf == p && p.stepped.Before(t.grant.freshUntil.Add(-tokenLifetime/2)) && !t.doubted && !forced && time.Now().Before(t.grant.freshUntil) {
		w.violated("%s presents %s unforced, though it has an access token with more than half of its life", p.id, t.text)
	}
}

// longestExchange is longer than an exchange that succeeds takes: two seconds each way, with
// each of two client secrets.
const longestExchange = 9 * time.Second

// passed is longer than an exchange takes from the gate to its POST.
const passed = 6 * time.Second

// restAfterRefusal is how long a token rests that was refused n times for another reason
// than its own death.
func restAfterRefusal(n int) time.Duration { return min(time.Minute<<min(n-1, 6), time.Hour) }

// longestFlight is how long ago a flight can have read the client at most.
const longestFlight = 5 * time.Minute

// leastWait is how long a token in doubt rests at least: 1 s before the prompt
// retry, then half of a wait that doubles up to 60 s.
func leastWait(doubts int) time.Duration {
	if doubts <= 1 {
		return time.Second
	}
	return min(time.Second<<min(doubts-1, 6), time.Minute) / 2
}

// answered notes what a process was told. The caller holds mu.
func (w *world) answered(p *process, t *token, r oauth.Result) {
	w.log("%s is told of %s: %s %s", p.id, t.text, r.Outcome, r.Code)
	if r.Outcome != oauth.NotSent {
		t.restOf = nil // an operator forced an attempt, and there is a newer answer
	}
	w.pathSeen(p, r)
	switch {
	case r.Outcome.Unknown():
		if t.doubtOf != p {
			t.doubts = 0
		}
		t.doubts, t.doubtAt, t.doubtOf, t.doubted = t.doubts+1, time.Now(), p, true
		return
	case r.Outcome == oauth.Succeeded:
		t.successor.holders = append(t.successor.holders, p)
		if r.Tokens.AccessToken.IsSet() && !w.isSpare(t) {
			t.grant.freshOf, t.grant.freshUntil = p, time.Now().Add(tokenLifetime/2-longestExchange)
		}
		w.received(p, t.successor)
	case r.Code == oauth.CodeInvalidGrant:
		t.rejectedOf = p
	case r.RetryAfter > 0:
		t.restOf, t.refusedAt, t.restUntil = p, time.Now(), time.Now().Add(r.RetryAfter)
	case r.Code == oauth.CodeInvalidRequest:
		if t.refusedOf != p {
			t.refusals = 0
		}
		t.refusedOf, t.refusals = p, t.refusals+1
		t.restOf, t.refusedAt, t.restUntil = p, time.Now(), time.Now().Add(restAfterRefusal(t.refusals))
	}
	t.doubtOf, t.doubts = nil, 0
}

// isSpare reports whether a token is that of a grant that waits behind a living one:
// the access token that comes with its exchange is not used.
func (w *world) isSpare(t *token) bool {
	var e entry
	_ = json.Unmarshal(w.storage.entries[rotation.StoragePrefix+t.grant.account], &e)
	for _, g := range e.Grants {
		switch {
		case g.RefreshToken == t.text:
			return false
		case g.Death == nil:
			return true
		}
	}
	return false
}

// pathSeen notes what an answer shows about the path to the server. The caller holds mu.
func (w *world) pathSeen(p *process, r oauth.Result) {
	switch {
	case r.Readable():
		p.broken, p.lost = time.Time{}, 0
	case r.Outcome == oauth.InDoubt:
		p.lost++
	}
	if (r.Outcome == oauth.Unreadable || p.lost >= 3) && p.broken.IsZero() {
		p.broken = time.Now()
	}
}

// obtained notes which clock the times of an access token are on. The caller holds mu.
func (w *world) obtained(offset time.Duration, r oauth.Result) {
	text := r.Tokens.AccessToken.Reveal()
	if a, ok := w.server.access[text]; ok {
		a.offset = offset
		w.server.access[text] = a
	}
}

// received notes that a process was given a refresh token, which it has to save.
func (w *world) received(p *process, t *token) {
	if w.active == p {
		p.received[t.text] = t
	} else {
		t.grant.lost = true // it cannot be saved any more
	}
}

// checkAnswer checks what a reader got.
func (w *world) checkAnswer(p *process, name string, answer rotation.Answer, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		var e *account.Error
		if !errors.As(err, &e) {
			if !errors.Is(err, rotation.ErrReadOnly) {
				w.violated("a reader of %s got an error of no kind: %v", name, err)
			}
			return
		}
		w.log("a reader of %s got an error: %v", name, err)
		if strings.Contains(e.Error(), "rt-") || strings.Contains(e.Error(), "at-") && strings.Contains(e.Error(), "-"+name+"\"") {
			w.violated("an error shows a token: %v", e)
		}
		if e.Kind == account.KindDead && !strings.HasPrefix(e.Error(), "reauthorization required") {
			w.violated("a dead account does not say so: %v", e)
		}
		return
	}
	text := answer.Token.Token.Reveal()
	issued, known := w.server.access[text]
	w.log("a reader of %s got %s", name, text)
	switch {
	case !known || issued.account != name:
		w.violated("a reader of %s got a token that was not issued for it: %s", name, text)
	case time.Since(issued.issued)-(issued.offset-p.offset) < -5*time.Second && answer.Source == rotation.FromCache:
		w.violated("a reader of %s got a token from the future: %s", name, text)
	case issued.offset > p.offset+time.Second:
		// It was obtained by a clock that was ahead, and looks younger than it is. If it
		// does not even seem to come from the future, nobody can tell.
	case !time.Now().Before(issued.expires):
		w.violated("a reader of %s got a token that is over: %s", name, text)
	case answer.TTL < time.Second || answer.RotationPeriod < time.Second:
		w.violated("a reader of %s got ttl %s, rotation_period %s", name, answer.TTL, answer.RotationPeriod)
	}
}

// checkEnd checks one account when all faults have been over for a while. err is
// what its last reader got.
func (w *world) checkEnd(name string, err error) {
	e, found := w.stored(name)
	w.mu.Lock()
	defer w.mu.Unlock()
	var got *account.Error
	errors.As(err, &got)
	switch {
	case !found:
		if got == nil || got.Kind != account.KindNotFound {
			w.violated("%s does not exist, and its reader got %v", name, err)
		}
		return
	case err == nil:
		return
	case w.server.refuses && !w.takesAny(e):
		return // the server does not say that its tokens are dead
	case got == nil || got.Kind != account.KindDead:
		w.violated("%s gives no token though all faults are over: %v", name, err)
		return
	}
	for _, g := range e.Grants {
		w.checkDead(name, g, got)
	}
	if g := w.mistyped[name]; g != nil && !g.lost && !g.revoked {
		w.violated("%s lost its grant to a slip of the keyboard", name)
	}
}

// takesAny reports whether the server would take one of the refresh tokens of an entry.
// The caller holds mu.
func (w *world) takesAny(e entry) bool {
	return slices.ContainsFunc(e.Grants, func(g storedGrant) bool {
		t := w.server.tokens[g.RefreshToken]
		return t != nil && !t.used && !t.grant.revoked
	})
}

// checkDead checks one grant of an account that says that it is dead. The caller
// holds mu.
func (w *world) checkDead(name string, g storedGrant, got *account.Error) {
	t := w.server.tokens[g.RefreshToken]
	switch {
	case t == nil: // a slip of the keyboard that was never presented
	case !t.used && !t.grant.revoked:
		w.violated("%s says it is dead, but the server would take its refresh token", name)
	case !t.grant.lost && !t.grant.ended:
		w.violated("%s lost its grant, and nobody but the plugin can be to blame", name)
	case t.grant.lost && !t.grant.ended && !strings.Contains(got.Error(), "lost in transit"):
		w.violated("%s does not say that its token was lost in transit: %v", name, got)
	}
}
