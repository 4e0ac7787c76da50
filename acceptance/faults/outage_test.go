package faults

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// waiters is the number of concurrent readers during an outage.
const waiters = 50

// TestReadersDoNotHastenTheNextAttempt has many readers wait while the token endpoint is down in several ways. They share
// the result of one exchange. None of them causes another exchange before the time that the answers name.
func TestReadersDoNotHastenTheNextAttempt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault sandbox.Fault // without an action, nothing listens
		// posts is how many requests the first exchange sends. If the first request is in doubt, there is a second one.
		posts   int
		message string
		wait    time.Duration // the minimum until the next attempt
	}{
		{name: "nothing listens", posts: 1, message: "nothing was sent", wait: time.Second / 2},
		{name: "429 with Retry-After", fault: retryAfter(3, 429, ""), posts: 1, message: "fewer requests", wait: 3 * time.Second},
		{name: "503", fault: status(503, ""), posts: 2, message: "in doubt", wait: time.Second},
		{name: "503 with Retry-After", fault: retryAfter(3, 503, ""), posts: 1, message: "in doubt", wait: 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := fixture.NewEnrolled(t)
			var arrivals func() []time.Time
			if c.fault.Action == sandbox.ActionNone {
				fixture.Must(t, f.Sandbox.Pause())
				arrivals = f.RefuseConnections()
			} else {
				_, err := f.Sandbox.SetFault(c.fault)
				fixture.Must(t, err)
				arrivals = func() []time.Time { return posts(f) }
			}

			failed := time.Now()
			for _, a := range readTokens(f, waiters) {
				a.WantError(http.StatusServiceUnavailable, "acme", c.message, "next attempt")
			}
			announced := fixture.ParseTime(t, f.Read("accounts/acme").Text("next_attempt_time")) // cut to the second
			if len(arrivals()) > c.posts {                                                       // one reader came so late that the next attempt was already due
				announced = time.Time{}
			}
			f.WaitFor("the next attempt", func() bool {
				f.Do(http.MethodGet, "token/acme", nil).WantStatus(http.StatusServiceUnavailable)
				return len(arrivals()) > c.posts
			})
			last, next := arrivals()[c.posts-1], arrivals()[c.posts]
			if next.Before(announced) || next.Sub(last) < c.wait {
				t.Errorf("the next attempt came at %s, %s after the first exchange, want at least %s after it and not before %s",
					next.UTC(), next.Sub(last), c.wait, announced)
			}
			t.Logf("%d readers, %d requests; the next request came %s after them and %s after the readers", waiters, c.posts,
				next.Sub(last).Round(time.Millisecond), next.Sub(failed).Round(time.Millisecond))
		})
	}
}

// TestReadersInTheRefreshWindowGetTheirTokenDuringAnOutage has many readers read a token that is still valid although its
// refresh is due.
func TestReadersInTheRefreshWindowGetTheirTokenDuringAnOutage(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(40*time.Second))
	f.Write("accounts/acme", fixture.Fields{"min_ttl": "1h"}) // counts as half of the lifetime
	token := f.AccessToken("acme")
	fixture.Must(t, f.Sandbox.Pause())
	arrivals := f.RefuseConnections()
	f.WaitFor("the refresh window", func() bool {
		f.AccessToken("acme")
		return len(arrivals()) > 0
	})

	began := time.Now()
	for _, a := range readTokens(f, waiters) {
		a.WantStatus(http.StatusOK)
		a.WantWarning("could not be refreshed")
		if a.Text("access_token") != token {
			t.Error("a reader got another token")
		}
	}
	took := time.Since(began)
	t.Logf("%d readers were answered in %s", waiters, took)
	// After the first attempt, attempts are at least half a second apart.
	if most := 2 + int(took/(time.Second/2)); len(arrivals()) > most {
		t.Errorf("%d attempts in %s", len(arrivals()), took)
	}
}

// readTokens reads the token of acme with count readers at once, and returns the answers.
func readTokens(f *fixture.Fixture, count int) []fixture.Answer {
	f.T.Helper()
	var group sync.WaitGroup
	answers, errs := make([]fixture.Answer, count), make([]error, count)
	start := make(chan struct{})
	for i := range count {
		group.Go(func() {
			<-start
			answers[i], errs[i] = f.Try(http.DefaultClient, http.MethodGet, "token/acme", nil)
		})
	}
	close(start)
	group.Wait()
	fixture.Must(f.T, errors.Join(errs...))
	return answers
}

// posts returns the times at which refresh requests reached the server.
func posts(f *fixture.Fixture) []time.Time {
	var times []time.Time
	for _, r := range f.Sandbox.Requests() {
		times = append(times, r.Time)
	}
	return times
}
