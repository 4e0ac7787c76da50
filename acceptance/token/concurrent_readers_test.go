package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// readers is the number of concurrent readers.
const readers = 300

func TestManyReadersOfAnExpiredTokenMakeOneExchange(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(time.Second))
	expired := f.Read("token/acme")
	expiry := fixture.ParseTime(t, expired.Text("expire_time")).Add(time.Second) // the API cuts times to the second
	f.WaitFor("the token to expire", func() bool { return time.Now().After(expiry) })
	fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(10*time.Minute))
	// The exchange takes long enough for all readers to arrive while it is in progress.
	_, err := f.Sandbox.SetFault(sandbox.Fault{Count: 1, Delay: 2 * time.Second})
	fixture.Must(t, err)
	before := f.Exchanges()

	tokens := readAtOnce(f)

	f.WantExchanges(before + 1)
	for _, token := range tokens {
		if token != tokens[0] || token == expired.Text("access_token") {
			t.Fatal("the readers got different tokens, or the expired one")
		}
	}
	f.WantAPIAccepts(tokens[0])
}

// readAtOnce reads the token of acme with many readers, each on its own connection, and returns their access tokens. All
// reads must succeed.
func readAtOnce(f *fixture.Fixture) []string {
	f.T.Helper()
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
			a, err := f.Try(client, http.MethodGet, "token/acme", nil)
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("status %d: %s", a.Status, a.Raw)
			}
			tokens[i], _ = a.Data["access_token"].(string)
			errs[i] = err
		})
	}
	close(start)
	group.Wait()
	fixture.Must(f.T, errors.Join(errs...))
	return tokens
}

func TestAReaderThatGoesAwayDoesNotStopTheExchange(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fault, err := f.Sandbox.SetFault(sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionHold})
	fixture.Must(t, err)
	reader := *f
	var leave context.CancelFunc
	reader.Ctx, leave = context.WithCancel(f.Ctx)
	defer leave()
	ended := make(chan error, 1)
	go func() {
		_, err := reader.Try(http.DefaultClient, http.MethodGet, "token/acme", nil)
		ended <- err
	}()
	fixture.Must(t, fault.Wait(f.Ctx, 1))
	leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("the reader should have left while the exchange was held: %v", err)
	}
	fault.Clear()

	f.WantAPIAccepts(f.AccessToken("acme"))
	f.WantExchanges(1)
}
