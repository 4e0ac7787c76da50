package crashfixture

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// arrivalDelay bounds how long after the end of a process its request may still arrive at the server. The system may
// still send it, and a plugin notices only after a moment that its Vault is gone.
const arrivalDelay = 5 * time.Second

// Ledger holds the server's records of all exchanges, in the order in which they arrived, and the ends of processes.
type Ledger struct {
	f             *Fixture
	exchanges     []Exchange
	Presentations map[string][]Exchange // by the refresh token that was presented
	ends          []ProcessEnd          // sorted by time
}

// Exchange is one presentation of a refresh token.
type Exchange struct {
	sandbox.Request
	proof bool // made by Check
}

// Check waits until all accounts have settled. Every account that is not dead then makes one exchange, to prove that it
// holds its newest refresh token. Check compares the server's records with the recorded ends of processes and with what
// readers got, looks for secrets in the logs, and logs and returns the tally.
func (f *Fixture) Check() Tally {
	f.T.Helper()
	f.Settle()
	settled := len(f.Sandbox.Requests())
	lost := map[*Account]bool{}
	for _, account := range f.Accounts {
		lost[account] = !f.prove(account)
	}
	ledger := f.Ledger(settled)
	tally := Tally{accounts: len(f.Accounts), Exchanges: len(ledger.exchanges), Kills: len(f.ends), lostBy: map[string]int{}}
	for _, r := range ledger.exchanges {
		if r.NextRefreshToken != "" {
			tally.Succeeded++
		}
	}
	ledger.checkPresentations(&tally)
	ledger.checkTakeovers(&tally)
	ledger.checkGrants()
	ledger.checkReaders()
	for _, account := range f.Accounts {
		ledger.checkAccount(account, lost[account], &tally)
	}
	f.T.Logf("tally of %s: %s", f.T.Name(), tally)
	for _, what := range slices.Sorted(maps.Keys(tally.lostBy)) {
		f.T.Logf("lost answers: %d by %s", tally.lostBy[what], what)
	}
	f.WantNotLogged(ledger.Secrets())
	return tally
}

// prove has the account present the refresh token that it holds, and reports whether it is alive. A dead account must
// say that its token was lost in transit.
func (f *Fixture) prove(account *Account) bool {
	f.T.Helper()
	about, err := f.Ask(http.MethodGet, "accounts/"+account.Name)
	fixture.Must(f.T, err)
	if about.Data["state"] == "reauthorization_required" {
		if lastError := about.Text("last_error"); !strings.Contains(lastError, "lost in transit") {
			f.T.Errorf("%s is dead, and its last_error does not say that its token was lost in transit: %q", account.Name, lastError)
		}
		read, err := f.Ask(http.MethodGet, "token/"+account.Name)
		fixture.Must(f.T, err)
		if read.Status != http.StatusOK { // the last access token may still be valid
			read.WantError(http.StatusBadRequest, "reauthorization required: ", "lost in transit", account.Name)
		}
		return false
	}
	refreshed, err := f.Ask(http.MethodPost, "refresh/"+account.Name)
	fixture.Must(f.T, err)
	if refreshed.Status != http.StatusOK {
		f.T.Errorf("%s cannot refresh: %s", account.Name, refreshed.Raw)
	}
	return true
}

// rejected reports whether the server told the client that the refresh token is dead.
func (e Exchange) rejected() bool {
	return e.Result == "invalid_grant" && e.Fault == sandbox.ActionNone && e.Done && !e.Gone
}

// Ledger returns the server's records up to now. Those after the first settled ones are proofs made by Check.
func (f *Fixture) Ledger(settled int) *Ledger {
	ledger := &Ledger{f: f, Presentations: map[string][]Exchange{}, ends: slices.Concat(f.ends, f.lostLeads())}
	slices.SortFunc(ledger.ends, func(a, b ProcessEnd) int { return a.before.Compare(b.before) })
	for i, r := range f.Sandbox.Requests() {
		if r.User == "" || r.RefreshToken == "" {
			continue // a probe, which presents a refresh token that was never issued, or a login
		}
		e := Exchange{Request: r, proof: i >= settled}
		ledger.exchanges = append(ledger.exchanges, e)
		ledger.Presentations[r.RefreshToken] = append(ledger.Presentations[r.RefreshToken], e)
	}
	return ledger
}

// isLost reports whether the answer to an exchange was lost: the refresh token in it was never presented, although every
// account has since presented the newest one that it holds.
func (ledger *Ledger) isLost(r Exchange) bool {
	return r.NextRefreshToken != "" && len(ledger.Presentations[r.NextRefreshToken]) == 0 && !r.proof
}

// killDuring returns the kill that may have interrupted an exchange: the first one after the exchange arrived or, if
// there is none, the last one shortly before. A kill after next, the time of the account's next exchange, does not
// count. next is zero if there was no other exchange.
func (ledger *Ledger) killDuring(r Exchange, next time.Time) (end ProcessEnd, found bool) {
	for _, each := range ledger.ends {
		until := each.takenOver
		if until.IsZero() {
			until = each.after.Add(arrivalDelay)
		}
		if until.Before(r.Time) || !next.IsZero() && each.before.After(next) {
			continue
		}
		if each.Orderly {
			if each.before.After(r.Time) { // later kills hit other processes
				break
			}
			continue
		}
		end, found = each, true
		if each.after.After(r.Time) {
			break
		}
	}
	return end, found
}

// checkPresentations asserts that a refresh token was presented again only while nobody could know the outcome of its
// first presentation.
func (ledger *Ledger) checkPresentations(tally *Tally) {
	ledger.f.T.Helper()
	for token, presented := range ledger.Presentations {
		tally.MostPresentations = max(tally.MostPresentations, len(presented))
		spent := false // and the successor is not lost
		for i, r := range presented {
			if i > 0 {
				before := presented[i-1]
				if spent {
					tally.replays++
					ledger.f.T.Errorf("%s: the refresh token %s was presented again at %s although its successor was saved",
						r.User, sandbox.TokenHash(token)[:8], r.Time.Format(time.StampMilli))
				}
				if _, killed := ledger.killDuring(before, r.Time); !killed && before.rejected() {
					ledger.f.T.Errorf("%s: the refresh token %s was presented again at %s although it had been rejected for good",
						r.User, sandbox.TokenHash(token)[:8], r.Time.Format(time.StampMilli))
				}
			}
			spent = spent || r.NextRefreshToken != "" && !ledger.isLost(r)
		}
	}
}

// checkAccount asserts that the account lost only answers that nobody could have saved, that it is alive if it had a
// spare, and that nothing else killed it or used its spare.
func (ledger *Ledger) checkAccount(account *Account, lost bool, tally *Tally) {
	ledger.f.T.Helper()
	lostAnswers, proofs := 0, 0
	for _, r := range ledger.exchanges {
		switch {
		case r.User != account.Name:
		case r.proof:
			proofs++
		case ledger.isLost(r):
			lostAnswers++
			tally.lostBy[ledger.checkLoss(account, r)]++
		}
	}
	tally.LostAnswers += lostAnswers
	if want := map[bool]int{true: 0, false: 1}[lost]; proofs != want {
		ledger.f.T.Errorf("%s: %d exchanges proved its newest refresh token, want %d", account.Name, proofs, want)
	}
	about, err := ledger.f.Ask(http.MethodGet, "accounts/"+account.Name)
	fixture.Must(ledger.f.T, err)
	spare := about.Text("spare")
	tally.SparesUsed += account.SparesReplaced
	if spare == "used" {
		tally.SparesUsed++
	}
	tally.Reenrolled += account.Reenrolled
	switch {
	case account.HasSpare:
		tally.withSpare++
		if lost {
			tally.LostWithSpare++
			ledger.f.T.Errorf("%s is lost although it had a spare: %q", account.Name, about.Text("last_error"))
		}
		if spare == "ready" && ledger.f.Sandbox.Presented(account.NewestSpare) != 0 {
			ledger.f.T.Errorf("%s: its spare was presented, and is still kept as one", account.Name)
		}
	case lost:
		tally.LostWithoutSpare++
	}
	if (lost || spare == "used") && lostAnswers == 0 {
		ledger.f.T.Errorf("%s lost a grant although none of its answers was lost (%q)", account.Name, about.Text("last_error"))
	}
}

// checkLoss asserts that nobody could have saved the answer to an exchange, and returns the cause of the loss.
func (ledger *Ledger) checkLoss(account *Account, r Exchange) string {
	ledger.f.T.Helper()
	f := ledger.f
	f.mu.Lock()
	defer f.mu.Unlock()
	at := r.Time.Format(time.StampMilli)
	if _, seen := f.accessTokens[r.AccessToken]; seen {
		f.T.Errorf("%s: the refresh token that was issued at %s is lost although a reader got the access token of the same answer", account.Name, at)
	}
	var next time.Time
	for _, again := range ledger.Presentations[r.RefreshToken] {
		if again.Time.After(r.Time) {
			next = again.Time
			break
		}
	}
	end, killed := ledger.killDuring(r, next)
	switch {
	case killed:
		return "a kill " + end.What
	case r.Told:
		f.T.Errorf("%s: the refresh token that was issued at %s is lost although nothing was killed and its answer was not destroyed", account.Name, at)
		return "the plugin"
	default:
		return "a destroyed answer"
	}
}

// Secrets returns all secrets that must not be logged, by a description.
func (ledger *Ledger) Secrets() map[string]string {
	secrets := map[string]string{"client secret": sandbox.DefaultClientSecret}
	for i, r := range ledger.exchanges {
		secrets[fmt.Sprintf("refresh token that exchange %d presented", i)] = r.RefreshToken
		if r.NextRefreshToken != "" {
			secrets[fmt.Sprintf("refresh token that exchange %d issued", i)] = r.NextRefreshToken
			secrets[fmt.Sprintf("access token that exchange %d issued", i)] = r.AccessToken
		}
	}
	for _, account := range ledger.f.Accounts {
		for i, token := range account.RefreshTokens {
			secrets[fmt.Sprintf("refresh token %d that %s was enrolled with", i, account.Name)] = token
		}
	}
	return secrets
}

// WantSaved asserts that the accounts have counted and saved want exchanges in total.
func (f *Fixture) WantSaved(want int) {
	f.T.Helper()
	var saved int64
	for _, account := range f.Accounts {
		saved += f.Read("accounts/" + account.Name).Integer("refresh_count")
	}
	if saved != int64(want) {
		f.T.Errorf("the accounts have saved %d exchanges, want %d", saved, want)
	}
}
