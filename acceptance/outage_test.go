package acceptance

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// waiters is how many read at once during an outage.
const waiters = 50

// TestReadersDoNotHastenTheNextAttempt has many readers wait for a token endpoint that is down, in
// several ways: they share what one exchange has found out, and none of them makes another one begin
// before the time that all are told.
func TestReadersDoNotHastenTheNextAttempt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault sandbox.Fault // no action: nothing listens
		// posts is how many requests the first exchange sends: one more where that is in doubt.
		posts   int
		message string
		wait    time.Duration // at least, to the next attempt
	}{
		{name: "nothing listens", posts: 1, message: "nothing was sent", wait: time.Second / 2},
		{name: "429 with Retry-After", fault: retryAfter(3, 429, ""), posts: 1, message: "fewer requests", wait: 3 * time.Second},
		{name: "503", fault: status(503, ""), posts: 2, message: "in doubt", wait: time.Second},
		{name: "503 with Retry-After", fault: retryAfter(3, 503, ""), posts: 1, message: "in doubt", wait: 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newEnrolledStage(t)
			var arrivals func() []time.Time
			if c.fault.Action == sandbox.ActionNone {
				must(t, s.sandbox.Pause())
				arrivals = s.refuseConnections()
			} else {
				_, err := s.sandbox.SetFault(c.fault)
				must(t, err)
				arrivals = s.posts
			}

			failed := time.Now()
			for _, a := range s.readTokens(waiters) {
				a.wantError(http.StatusServiceUnavailable, "acme", c.message, "next attempt")
			}
			announced := parseTime(t, s.read("accounts/acme").text("next_attempt_time")) // cut to the second
			if len(arrivals()) > c.posts {                                               // a reader came so late that it was due already
				announced = time.Time{}
			}
			s.waitFor("the next attempt", func() bool {
				s.do(http.MethodGet, "token/acme", nil).wantStatus(http.StatusServiceUnavailable)
				return len(arrivals()) > c.posts
			})
			last, next := arrivals()[c.posts-1], arrivals()[c.posts]
			if next.Before(announced) || next.Sub(last) < c.wait {
				t.Errorf("the next attempt came at %s, %s after the first exchange, want at least %s and not before %s",
					next.UTC(), next.Sub(last), c.wait, announced)
			}
			t.Logf("%d readers, %d requests; the next came %s after them, %s after the readers", waiters, c.posts,
				next.Sub(last).Round(time.Millisecond), next.Sub(failed).Round(time.Millisecond))
		})
	}
}

// TestReadersInTheRefreshWindowGetTheirTokenDuringAnOutage has many readers come while their token
// still lives, but is due.
func TestReadersInTheRefreshWindowGetTheirTokenDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	must(t, s.sandbox.SetAccessTokenLifetime(40*time.Second))
	s.write("accounts/acme", fields{"min_ttl": "1h"}) // counts for half of the lifetime
	token := s.accessToken("acme")
	must(t, s.sandbox.Pause())
	arrivals := s.refuseConnections()
	s.waitFor("the refresh window", func() bool {
		s.accessToken("acme")
		return len(arrivals()) > 0
	})

	began := time.Now()
	for _, a := range s.readTokens(waiters) {
		a.wantStatus(http.StatusOK)
		a.wantWarning("could not be refreshed")
		if a.text("access_token") != token {
			t.Error("a reader got another token")
		}
	}
	took := time.Since(began)
	t.Logf("%d readers were answered in %s", waiters, took)
	// One attempt a second at most, from half a second after the first.
	if most := 2 + int(took/(time.Second/2)); len(arrivals()) > most {
		t.Errorf("%d attempts in %s", len(arrivals()), took)
	}
}

// readTokens reads the token of acme with many readers at once, and returns what they got.
func (s *stage) readTokens(count int) []answer {
	s.t.Helper()
	var group sync.WaitGroup
	answers, errs := make([]answer, count), make([]error, count)
	start := make(chan struct{})
	for i := range count {
		group.Go(func() {
			<-start
			answers[i], errs[i] = s.try(http.DefaultClient, http.MethodGet, "token/acme", nil)
		})
	}
	close(start)
	group.Wait()
	must(s.t, errors.Join(errs...))
	return answers
}

// posts returns when refresh grants came to the server.
func (s *stage) posts() []time.Time {
	var times []time.Time
	for _, r := range s.sandbox.Requests() {
		times = append(times, r.Time)
	}
	return times
}

// refuseConnections takes the place of the paused sandbox: it closes every connection at once, and
// returns when they came. Nothing can have been sent on them.
func (s *stage) refuseConnections() func() []time.Time {
	s.t.Helper()
	address := strings.TrimPrefix(s.sandbox.URL(), "https://")
	listener, err := sandbox.Listen(s.ctx, address)
	must(s.t, err)
	s.t.Cleanup(func() { _ = listener.Close() })
	var (
		mu    sync.Mutex
		times []time.Time
	)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			times = append(times, time.Now())
			mu.Unlock()
			_ = conn.Close()
		}
	}()
	return func() []time.Time {
		mu.Lock()
		defer mu.Unlock()
		return append([]time.Time(nil), times...)
	}
}
