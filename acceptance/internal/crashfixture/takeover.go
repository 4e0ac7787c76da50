package crashfixture

import (
	"os"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// Another process may present a refresh token again only after the interrupted exchange must be over: after the write of
// its intent (Announcement, at most), the exchange_timeout, and Grace for clocks that differ.
const (
	Announcement = 5 * time.Second
	Grace        = 2 * time.Second
)

// savingTime is how long the plugin may take to save an answer, if the machine is not too slow.
const savingTime = time.Second

// lostLeads returns when nodes lost the lead by themselves, according to Vault's log. That happens if the machine is too
// busy. Such a node cannot save anything, like one that is killed.
func (f *Fixture) lostLeads() []ProcessEnd {
	f.T.Helper()
	var found []ProcessEnd
	for _, node := range f.Cluster.Nodes {
		until := time.Now()
		for _, end := range f.ends {
			if end.Frozen == node { // it loses the lead when it resumes
				until = end.before
			}
		}
		log, err := os.ReadFile(node.LogFile())
		fixture.Must(f.T, err)
		for line := range strings.Lines(string(log)) {
			if !strings.Contains(line, "core: leadership lost, stopping active operation") {
				continue
			}
			text, _, _ := strings.Cut(line, " ")
			at, err := time.Parse(time.RFC3339, text)
			fixture.Must(f.T, err)
			if at.After(f.createdAt) && at.Before(until) {
				f.T.Logf("%s lost the lead by itself at %s", node.Name, at.Format(time.StampMilli))
				found = append(found, ProcessEnd{What: "of a lead", before: at.Add(-savingTime), after: at})
			}
		}
	}
	return found
}

// interrupted reports whether the process ended before it knew the outcome of the exchange, or before it had saved it.
func (end ProcessEnd) interrupted(r Exchange) bool {
	switch {
	case end.Orderly || r.Time.After(end.after):
		return false
	case r.Told: // and yet the token was presented again
		return r.Ended.After(end.before.Add(-savingTime))
	default: // an exchange that was in doubt earlier may have been saved as such
		return r.Ended.IsZero() || r.Ended.After(end.after)
	}
}

// earliest returns the earliest time at which an interrupted exchange can have begun. That is not before its token was
// issued.
func (end ProcessEnd) earliest(r Exchange, issued time.Time) time.Time {
	if end.Began.After(issued) && !end.Began.After(r.Time) { // otherwise an orphan of an earlier kill sent it
		return end.Began
	}
	return issued
}

// checkTakeovers asserts that after a kill, no other process presented a refresh token before the interrupted exchange of
// that token must have been over.
func (ledger *Ledger) checkTakeovers(tally *Tally) {
	ledger.f.T.Helper()
	issued := ledger.issued()
	for token, presented := range ledger.Presentations {
		for i, again := range presented[min(1, len(presented)):] {
			first := presented[i]
			if ledger.overlap(first, again) {
				ledger.f.T.Errorf("%s: the refresh token %s was presented at %s, and again at %s while the first exchange was under way",
					first.User, sandbox.TokenHash(token)[:8], first.Time.Format(time.StampMilli), again.Time.Format(time.StampMilli))
			}
			for _, end := range ledger.ends {
				if !end.interrupted(first) || again.Time.Before(end.after) {
					continue
				}
				tally.Takeovers++
				waited := again.Time.Sub(end.earliest(first, issued[token]))
				if waited < Announcement+ledger.f.ExchangeTimeout+Grace {
					ledger.f.T.Errorf("%s: the refresh token %s was presented at %s, and again by another process at %s: "+
						"at most %s after the start of the first exchange", first.User, sandbox.TokenHash(token)[:8],
						first.Time.Format(time.StampMilli), again.Time.Format(time.StampMilli), waited)
				}
				break
			}
		}
	}
}

// overlap reports whether an exchange began before the previous one had ended, although no process had ended.
func (ledger *Ledger) overlap(first, again Exchange) bool {
	for _, end := range ledger.ends {
		if end.interrupted(first) {
			return false
		}
	}
	return first.Ended.IsZero() || first.Ended.After(again.Time)
}

// issued returns the time at which each refresh token was issued.
func (ledger *Ledger) issued() map[string]time.Time {
	issued := map[string]time.Time{}
	for token, at := range ledger.f.issuedByLogin {
		issued[token] = at
	}
	for _, r := range ledger.exchanges {
		if r.NextRefreshToken != "" {
			issued[r.NextRefreshToken] = r.Processed
		}
	}
	return issued
}

// checkGrants asserts that the server rejected only grants that had lost an answer.
func (ledger *Ledger) checkGrants() {
	ledger.f.T.Helper()
	grant := map[string]string{} // by a refresh token: the first one of its chain
	lost, rejected := map[string]bool{}, map[string]Exchange{}
	for _, r := range ledger.exchanges {
		if grant[r.RefreshToken] == "" {
			grant[r.RefreshToken] = r.RefreshToken
		}
		first := grant[r.RefreshToken]
		if r.NextRefreshToken != "" {
			grant[r.NextRefreshToken] = first
		}
		if ledger.isLost(r) {
			lost[first] = true
		}
		if r.Result == "invalid_grant" && r.Fault == sandbox.ActionNone {
			rejected[first] = r
		}
	}
	for first, r := range rejected {
		if !lost[first] {
			ledger.f.T.Errorf("%s: its grant was rejected at %s although none of its answers was lost",
				r.User, r.Time.Format(time.StampMilli))
		}
	}
}

// checkReaders asserts that readers got the token of the account that they read, and never one that had expired before
// the request.
func (ledger *Ledger) checkReaders() {
	ledger.f.T.Helper()
	owner := map[string]string{}
	for _, r := range ledger.exchanges {
		owner[r.AccessToken] = r.User
	}
	for token, read := range ledger.f.accessTokens {
		if owner[token] != read.account {
			ledger.f.T.Errorf("a reader of %s got a token of %q", read.account, owner[token])
		}
		expires, err := fixture.Expiry(token)
		fixture.Must(ledger.f.T, err)
		if !read.requestedAt.Before(expires) {
			ledger.f.T.Errorf("a reader of %s got at %s a token that had expired at %s",
				read.account, read.requestedAt.Format(time.StampMilli), expires.Format(time.StampMilli))
		}
	}
}
