package acceptance

import (
	"os"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// An exchange that a process has announced is over for all others at the end of its announcement (5 s
// at most), of the exchange_timeout, and of a grace for clocks that differ.
const (
	announcement = 5 * time.Second
	grace        = 2 * time.Second
)

// saving is how long an exchange may go on after its answer, on a machine that is not too slow.
const saving = time.Second

// lostLeads returns when nodes have lost the lead by themselves, which happens on a machine that is too
// busy. Such a node can save nothing any more, like one that is killed; Vault's log tells of it.
func (f *fleet) lostLeads() []kill {
	f.t.Helper()
	var found []kill
	for _, node := range f.cluster.Nodes {
		until := time.Now()
		for _, k := range f.kills {
			if k.frozen == node { // and loses the lead when it goes on
				until = k.before
			}
		}
		log, err := os.ReadFile(node.LogFile())
		must(f.t, err)
		for line := range strings.Lines(string(log)) {
			if !strings.Contains(line, "core: leadership lost, stopping active operation") {
				continue
			}
			text, _, _ := strings.Cut(line, " ")
			at, err := time.Parse(time.RFC3339, text)
			must(f.t, err)
			if at.After(f.born) && at.Before(until) {
				f.t.Logf("%s has lost the lead by itself at %s", node.Name, at.Format(time.StampMilli))
				found = append(found, kill{what: "of a lead", before: at.Add(-saving), after: at})
			}
		}
	}
	return found
}

// underWay says whether the process that was killed had not come to know, or to save, what became of
// the exchange.
func (k kill) underWay(r exchange) bool {
	switch {
	case k.orderly || r.Time.After(k.after):
		return false
	case r.Told: // and yet the token was presented again
		return r.Ended.After(k.before.Add(-saving))
	default: // an exchange that was in doubt before may have been saved as that
		return r.Ended.IsZero() || r.Ended.After(k.after)
	}
}

// earliest returns the time before which an exchange that was under way cannot have begun. It is not
// before its token was issued.
func (k kill) earliest(r exchange, issued time.Time) time.Time {
	if k.began.After(issued) && !k.began.After(r.Time) { // else an orphan of the kill before has sent it
		return k.began
	}
	return issued
}

// checkTakeovers asserts that no process presented a refresh token that another process had under way
// when it was killed, before that exchange could not go on any more.
func (b *books) checkTakeovers(t *tally) {
	b.f.t.Helper()
	issued := b.issued()
	for token, presented := range b.of {
		for i, again := range presented[min(1, len(presented)):] {
			first := presented[i]
			if b.overlap(first, again) {
				b.f.t.Errorf("%s: the refresh token %s was presented at %s, and again at %s while the first exchange was under way",
					first.User, sandbox.TokenHash(token)[:8], first.Time.Format(time.StampMilli), again.Time.Format(time.StampMilli))
			}
			for _, k := range b.ends {
				if !k.underWay(first) || again.Time.Before(k.after) {
					continue
				}
				t.takeovers++
				waited := again.Time.Sub(k.earliest(first, issued[token]))
				if waited < announcement+b.f.timeout+grace {
					b.f.t.Errorf("%s: the refresh token %s was presented at %s, and again by another process at %s: "+
						"it waited %s at most from the beginning of the first exchange", first.User, sandbox.TokenHash(token)[:8],
						first.Time.Format(time.StampMilli), again.Time.Format(time.StampMilli), waited)
				}
				break
			}
		}
	}
}

// overlap says whether an exchange began before the one before it had ended, though its process lived.
func (b *books) overlap(first, again exchange) bool {
	for _, k := range b.ends {
		if k.underWay(first) {
			return false
		}
	}
	return first.Ended.IsZero() || first.Ended.After(again.Time)
}

// issued returns when each refresh token was issued.
func (b *books) issued() map[string]time.Time {
	issued := map[string]time.Time{}
	for token, at := range b.f.logins {
		issued[token] = at
	}
	for _, r := range b.all {
		if r.NextRefreshToken != "" {
			issued[r.NextRefreshToken] = r.Processed
		}
	}
	return issued
}

// checkGrants asserts that the server has rejected no grant but those of which an answer was lost.
func (b *books) checkGrants() {
	b.f.t.Helper()
	grant := map[string]string{} // the first refresh token of the chain that one belongs to
	lost, rejected := map[string]bool{}, map[string]exchange{}
	for _, r := range b.all {
		if grant[r.RefreshToken] == "" {
			grant[r.RefreshToken] = r.RefreshToken
		}
		first := grant[r.RefreshToken]
		if r.NextRefreshToken != "" {
			grant[r.NextRefreshToken] = first
		}
		if b.inTheAir(r) {
			lost[first] = true
		}
		if r.Result == "invalid_grant" && r.Fault == sandbox.ActionNone {
			rejected[first] = r
		}
	}
	for first, r := range rejected {
		if !lost[first] {
			b.f.t.Errorf("%s: its grant was rejected at %s although none of its answers was lost",
				r.User, r.Time.Format(time.StampMilli))
		}
	}
}

// checkReaders asserts that readers got the token of the account that they asked for, and none that
// had expired when they asked.
func (b *books) checkReaders() {
	b.f.t.Helper()
	owner := map[string]string{}
	for _, r := range b.all {
		owner[r.AccessToken] = r.User
	}
	for token, saw := range b.f.got {
		if owner[token] != saw.account {
			b.f.t.Errorf("a reader of %s got a token of %q", saw.account, owner[token])
		}
		expires, err := expiry(token)
		must(b.f.t, err)
		if !saw.asked.Before(expires) {
			b.f.t.Errorf("a reader of %s asked at %s and got a token that had expired at %s",
				saw.account, saw.asked.Format(time.StampMilli), expires.Format(time.StampMilli))
		}
	}
}
