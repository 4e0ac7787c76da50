package acceptance

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// late is how long after the end of its process a request may arrive at the server: what the system
// still sends, and the moment that a plugin takes to notice that its Vault is gone.
const late = 5 * time.Second

// tally is what happened to a fleet.
type tally struct {
	accounts, spared int
	exchanges        int // presentations of refresh tokens at the server
	succeeded        int // of these
	most             int // presentations of one refresh token
	replays          int // presentations that cost a family whose newest token was not lost
	lostSpared       int // accounts that had a spare and need a person
	lostUnspared     int // accounts that had none and need a person
	inTheAir         int // answers with a new refresh token that nobody could have saved
	kills            int
	takeovers        int            // presentations of a token that another process had under way when it was killed
	sparesUsed       int            // spares that took over
	revived          int            // accounts without a spare that were lost and enrolled again
	lostBy           map[string]int // how many of these answers each kind of kill has lost, or "a fault"
}

// String is one line, for logs that are read by programs, too.
func (t tally) String() string {
	return fmt.Sprintf("accounts=%d spared=%d exchanges=%d succeeded=%d most_presentations=%d replays=%d "+
		"lost_spared=%d lost_unspared=%d in_the_air=%d kills=%d takeovers=%d spares_used=%d revived=%d",
		t.accounts, t.spared, t.exchanges, t.succeeded, t.most, t.replays, t.lostSpared, t.lostUnspared, t.inTheAir, t.kills,
		t.takeovers, t.sparesUsed, t.revived)
}

// books are the server's records of the exchanges of a fleet, in the order in which they came.
type books struct {
	f    *fleet
	all  []exchange
	of   map[string][]exchange // the presentations of a refresh token
	ends []kill                // of processes, in their order
}

// exchange is one presentation of a refresh token.
type exchange struct {
	sandbox.Request
	proof bool // run by check
}

// check settles the fleet, has every living account prove that it holds its newest refresh token,
// holds the server's records against what was done and what readers got, logs the tally, and looks
// for secrets in the logs.
func (f *fleet) check() tally {
	f.t.Helper()
	f.settle()
	settled := len(f.sandbox.Requests())
	lost := map[*member]bool{}
	for _, m := range f.members {
		lost[m] = !f.prove(m)
	}
	b := f.books(settled)
	t := tally{accounts: len(f.members), exchanges: len(b.all), kills: len(f.kills), lostBy: map[string]int{}}
	for _, r := range b.all {
		if r.NextRefreshToken != "" {
			t.succeeded++
		}
	}
	b.checkPresentations(&t)
	b.checkTakeovers(&t)
	b.checkGrants()
	b.checkReaders()
	for _, m := range f.members {
		b.checkMember(m, lost[m], &t)
	}
	f.t.Logf("tally of %s: %s", f.t.Name(), t)
	for _, what := range slices.Sorted(maps.Keys(t.lostBy)) {
		f.t.Logf("in the air: %d lost by %s", t.lostBy[what], what)
	}
	f.wantNotLogged(b.secrets())
	return t
}

// prove has the account run one exchange, which presents the refresh token that it holds, and says
// whether it is alive. Where it is not, it has to say why.
func (f *fleet) prove(m *member) bool {
	f.t.Helper()
	about, err := f.ask(http.MethodGet, "accounts/"+m.name)
	must(f.t, err)
	if about.Data["state"] == "reauthorization_required" {
		if lastError := about.text("last_error"); !strings.Contains(lastError, "lost in transit") {
			f.t.Errorf("%s is dead, and its last_error does not say that its token was lost in transit: %q", m.name, lastError)
		}
		read, err := f.ask(http.MethodGet, "token/"+m.name)
		must(f.t, err)
		if read.status != http.StatusOK { // its access token may still live
			read.wantError(http.StatusBadRequest, "reauthorization required: ", "lost in transit", m.name)
		}
		return false
	}
	refreshed, err := f.ask(http.MethodPost, "refresh/"+m.name)
	must(f.t, err)
	if refreshed.status != http.StatusOK {
		f.t.Errorf("%s cannot refresh: %s", m.name, refreshed.raw)
	}
	return true
}

// rejected says whether the client was told that the refresh token is of no use any more.
func (e exchange) rejected() bool {
	return e.Result == "invalid_grant" && e.Fault == sandbox.ActionNone && e.Done && !e.Gone
}

// books takes the server's records. All after the first settled ones are proofs.
func (f *fleet) books(settled int) *books {
	b := &books{f: f, of: map[string][]exchange{}, ends: slices.Concat(f.kills, f.lostLeads())}
	slices.SortFunc(b.ends, func(a, b kill) int { return a.before.Compare(b.before) })
	for i, r := range f.sandbox.Requests() {
		e := exchange{Request: r, proof: i >= settled}
		b.all = append(b.all, e)
		b.of[r.RefreshToken] = append(b.of[r.RefreshToken], e)
	}
	return b
}

// inTheAir says whether the answer to an exchange was lost: its refresh token was never presented,
// though every account has meanwhile presented the newest that it holds.
func (b *books) inTheAir(r exchange) bool {
	return r.NextRefreshToken != "" && len(b.of[r.NextRefreshToken]) == 0 && !r.proof
}

// killOf returns the kill that may have hit this exchange under way: the first one after it came, or
// else the last one shortly before. It was before the next exchange at the given time, zero for none.
func (b *books) killOf(r exchange, next time.Time) (k kill, found bool) {
	for _, each := range b.ends {
		until := each.over
		if until.IsZero() {
			until = each.after.Add(late)
		}
		if until.Before(r.Time) || !next.IsZero() && each.before.After(next) {
			continue
		}
		if each.orderly {
			if each.before.After(r.Time) { // the kills after it hit other processes
				break
			}
			continue
		}
		k, found = each, true
		if each.after.After(r.Time) {
			break
		}
	}
	return k, found
}

// checkPresentations asserts of every refresh token that it was presented again only while nobody
// could know what had become of it.
func (b *books) checkPresentations(t *tally) {
	b.f.t.Helper()
	for token, presented := range b.of {
		t.most = max(t.most, len(presented))
		spent := false // and its successor is not lost
		for i, r := range presented {
			if i > 0 {
				before := presented[i-1]
				if spent {
					t.replays++
					b.f.t.Errorf("%s: the refresh token %s was presented again at %s although its successor was saved",
						r.User, sandbox.TokenHash(token)[:8], r.Time.Format(time.StampMilli))
				}
				if _, killed := b.killOf(before, r.Time); !killed && before.rejected() {
					b.f.t.Errorf("%s: the refresh token %s was presented again at %s although it had been rejected for good",
						r.User, sandbox.TokenHash(token)[:8], r.Time.Format(time.StampMilli))
				}
			}
			spent = spent || r.NextRefreshToken != "" && !b.inTheAir(r)
		}
	}
}

// checkMember asserts that the member lost nothing but answers that were really in the air, that it
// is alive where it had a spare, and that nothing else killed it or used its spare.
func (b *books) checkMember(m *member, lost bool, t *tally) {
	b.f.t.Helper()
	inTheAir, proofs := 0, 0
	for _, r := range b.all {
		switch {
		case r.User != m.name:
		case r.proof:
			proofs++
		case b.inTheAir(r):
			inTheAir++
			t.lostBy[b.checkLoss(m, r)]++
		}
	}
	t.inTheAir += inTheAir
	if want := map[bool]int{true: 0, false: 1}[lost]; proofs != want {
		b.f.t.Errorf("%s: %d exchanges proved its newest refresh token, want %d", m.name, proofs, want)
	}
	about, err := b.f.ask(http.MethodGet, "accounts/"+m.name)
	must(b.f.t, err)
	spare := about.text("spare")
	t.sparesUsed += m.respared
	if spare == "used" {
		t.sparesUsed++
	}
	t.revived += m.revived
	switch {
	case m.spared:
		t.spared++
		if lost {
			t.lostSpared++
			b.f.t.Errorf("%s is lost although it had a spare: %q", m.name, about.text("last_error"))
		}
		if spare == "ready" && b.f.sandbox.Presented(m.current) != 0 {
			b.f.t.Errorf("%s: its spare was presented, and is still kept as one", m.name)
		}
	case lost:
		t.lostUnspared++
	}
	if (lost || spare == "used") && inTheAir == 0 {
		b.f.t.Errorf("%s lost a grant although none of its answers was in the air (%q)", m.name, about.text("last_error"))
	}
}

// checkLoss asserts that nobody could have saved the answer to an exchange, and says why not.
func (b *books) checkLoss(m *member, r exchange) string {
	b.f.t.Helper()
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	at := r.Time.Format(time.StampMilli)
	if _, seen := f.got[r.AccessToken]; seen {
		f.t.Errorf("%s: the refresh token that was issued at %s is lost although a reader got the access token beside it", m.name, at)
	}
	var next time.Time
	for _, again := range b.of[r.RefreshToken] {
		if again.Time.After(r.Time) {
			next = again.Time
			break
		}
	}
	k, killed := b.killOf(r, next)
	switch {
	case killed:
		return "a kill " + k.what
	case r.Told:
		f.t.Errorf("%s: the refresh token that was issued at %s is lost although nothing was killed and its answer was not destroyed", m.name, at)
		return "the plugin"
	default:
		return "a destroyed answer"
	}
}

// secrets returns all that must not be logged, named by what it is.
func (b *books) secrets() map[string]string {
	secrets := map[string]string{"client secret": sandbox.DefaultClientSecret}
	for i, r := range b.all {
		secrets[fmt.Sprintf("refresh token that exchange %d presented", i)] = r.RefreshToken
		if r.NextRefreshToken != "" {
			secrets[fmt.Sprintf("refresh token that exchange %d issued", i)] = r.NextRefreshToken
			secrets[fmt.Sprintf("access token that exchange %d issued", i)] = r.AccessToken
		}
	}
	for _, m := range b.f.members {
		for i, token := range m.tokens {
			secrets[fmt.Sprintf("refresh token %d that %s was enrolled with", i, m.name)] = token
		}
	}
	return secrets
}
