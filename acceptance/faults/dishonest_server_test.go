package faults

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestADishonestServer has the server reject valid refresh tokens, and spend tokens although its answer says that it did
// not. The plugin has to believe the answer: it does not present a rejected token again by itself, and a spare takes over.
func TestADishonestServer(t *testing.T) {
	t.Parallel()
	const rejected = "reauthorization required: "
	noRefreshToken := body(`{"access_token":"{{access_token}}","token_type":"Bearer","expires_in":600}`)
	cases := []struct {
		name    string
		when    sandbox.FaultTime
		fault   sandbox.Fault
		status  int // of the first read without a spare
		message string
		// times is how often the first refresh token was presented in the end.
		times int
	}{
		{"a valid token is rejected", sandbox.FaultBefore, status(400, `{"error":"invalid_grant"}`), 400, rejected, 1},
		{"a spent token is rejected at once", sandbox.FaultAfter, status(400, `{"error":"invalid_grant"}`), 400, rejected, 1},
		{"a spent token is throttled", sandbox.FaultAfter, status(429, ""), 503, "is untouched", 2},
		{"a spent token's client is refused", sandbox.FaultAfter, status(401, `{"error":"invalid_client"}`), 400, "is untouched", 2},
		{"a spent token's request is refused", sandbox.FaultAfter, status(400, `{"error":"invalid_request"}`), 400, "may have been rejected", 2},
		{"a spent token has no successor", sandbox.FaultAfter, noRefreshToken, 200, "", 2},
	}
	f := crashfixture.New(fixture.New(t), 2*len(cases), 6*time.Second)
	for i, account := range f.Accounts {
		c := cases[i/2]
		fault := c.fault
		fault.When, fault.User, fault.Count = c.when, account.Name, 1
		_, err := f.Sandbox.SetFault(fault)
		fixture.Must(t, err)
		first, err := f.Ask(http.MethodGet, "token/"+account.Name)
		fixture.Must(t, err)
		want, part := c.status, c.message
		if account.HasSpare && c.message == rejected {
			want, part = http.StatusOK, "" // the spare took over in the same read
		}
		if message := strings.Join(first.Errors, "\n"); first.Status != want || !strings.Contains(message, part) {
			t.Errorf("%s: the reader got status %d, want %d with %q: %q", c.name, first.Status, want, part, message)
		}
		if c.times > 1 {
			_, err := f.Ask(http.MethodPost, "refresh/"+account.Name)
			fixture.Must(t, err)
		}
		for range 3 { // a dead token is not presented again
			last, err := f.Ask(http.MethodGet, "token/"+account.Name)
			fixture.Must(t, err)
			if account.HasSpare || c.status == http.StatusOK { // the access token of the first read is still valid
				last.WantStatus(http.StatusOK)
				f.WantAPIAccepts(last.Text("access_token"))
			} else {
				last.WantError(http.StatusBadRequest, rejected, account.Name)
			}
		}
		about := f.Read("accounts/" + account.Name)
		if spare, state := about.Text("spare"), about.Text("state"); account.HasSpare && (spare != "used" || state != "ready") ||
			!account.HasSpare && state != "reauthorization_required" {
			t.Errorf("%s: in the end the state is %s and the spare %s", c.name, state, spare)
		}
		if got := f.Sandbox.Presented(account.RefreshTokens[0]); got != c.times {
			t.Errorf("%s: the refresh token was presented %d times, want %d", c.name, got, c.times)
		}
	}
	f.WantNotLogged(f.Ledger(0).Secrets())
}
