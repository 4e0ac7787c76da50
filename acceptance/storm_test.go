package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// readers is how many read at once.
const readers = 300

func TestManyReadersOfAnExpiredTokenMakeOneExchange(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	must(t, s.sandbox.SetAccessTokenLifetime(time.Second))
	expired := s.read("token/acme")
	expiry := parseTime(t, expired.text("expire_time")).Add(time.Second) // it was cut to the second
	s.waitFor("the token to expire", func() bool { return time.Now().After(expiry) })
	must(t, s.sandbox.SetAccessTokenLifetime(10*time.Minute))
	// The exchange takes a while, so that all readers come while it is in flight.
	_, err := s.sandbox.SetFault(sandbox.Fault{Count: 1, Delay: 2 * time.Second})
	must(t, err)
	before := s.exchanges()

	tokens := s.readAtOnce()

	s.wantExchanges(before + 1)
	for _, token := range tokens {
		if token != tokens[0] || token == expired.text("access_token") {
			t.Fatal("the readers got different tokens, or the expired one")
		}
	}
	s.wantAPIAccepts(tokens[0])
}

// readAtOnce reads the token of acme with many readers, each on a connection of its own, which
// must all succeed, and returns their access tokens.
func (s *stage) readAtOnce() []string {
	s.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var (
		group  sync.WaitGroup
		start  = make(chan struct{})
		tokens = make([]string, readers)
		errs   = make([]error, readers)
	)
	for i := range readers {
		group.Go(func() {
			<-start
			a, err := s.try(client, http.MethodGet, "token/acme", nil)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("status %d: %s", a.status, a.raw)
			}
			tokens[i], _ = a.Data["access_token"].(string)
			errs[i] = err
		})
	}
	close(start)
	group.Wait()
	must(s.t, errors.Join(errs...))
	return tokens
}

func TestAReaderThatGoesAwayDoesNotStopTheExchange(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	fault, err := s.sandbox.SetFault(sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionHold})
	must(t, err)
	reader := *s
	var leave context.CancelFunc
	reader.ctx, leave = context.WithCancel(s.ctx)
	defer leave()
	ended := make(chan error, 1)
	go func() {
		_, err := reader.try(http.DefaultClient, http.MethodGet, "token/acme", nil)
		ended <- err
	}()
	must(t, fault.Wait(s.ctx, 1))
	leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("the reader should have gone while the exchange was held: %v", err)
	}
	fault.Clear()

	s.wantAPIAccepts(s.accessToken("acme"))
	s.wantExchanges(1)
}
