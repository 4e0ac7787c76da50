package backend

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/runner"
)

func TestEventsTellWhatHappensToAnAccount(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 204)
		m.want(m.read("token/acme"), 200)
		m.pagero.set(func(sent post) oauth.Result {
			if sent.token == spareToken {
				return m.pagero.grant(sent)
			}
			return isDead(sent)
		})
		m.want(m.write("refresh/acme", nil), 200)
		m.want(m.write("refresh/acme", nil), 400)
		m.pagero.set(func(post) oauth.Result {
			return oauth.Result{Outcome: oauth.NotSent, Reason: "no connection"}
		})
		m.want(m.write("refresh/acme", nil), 400)
		m.want(m.delete("accounts/acme"), 204)
		synctest.Wait()

		common := `"path":"accounts/acme"}`
		want := strings.Join([]string{
			`pagero/account-write {"account":"acme","client":"default","data_path":"accounts/acme","modified":"true","operation":"account-write",` + strings.TrimSuffix(common, "}") + `,"state":"new"}`,
			`pagero/account-write {"account":"acme","client":"default","data_path":"accounts/acme","modified":"true","operation":"account-write",` + strings.TrimSuffix(common, "}") + `,"state":"new"}`,
			`pagero/refresh {"account":"acme","client":"default","data_path":"token/acme","modified":"true","operation":"refresh",` + strings.TrimSuffix(common, "}") + `,"state":"ready"}`,
			`pagero/spare-used {"account":"acme","client":"default","data_path":"token/acme","modified":"true","operation":"spare-used",` + strings.TrimSuffix(common, "}") + `,"state":"ready"}`,
			`pagero/reauthorization-required {"account":"acme","client":"default","operation":"reauthorization-required",` + strings.TrimSuffix(common, "}") + `,"state":"reauthorization_required"}`,
			`pagero/refresh-failed {"account":"acme","client":"default","operation":"refresh-failed",` + strings.TrimSuffix(common, "}") + `,"state":"reauthorization_required"}`,
			`pagero/account-delete {"account":"acme","data_path":"accounts/acme","modified":"true","operation":"account-delete",` + common,
		}, "\n") + "\n"
		if got := m.sentEvents(); got != want {
			t.Errorf("the events are\n%s\nnot\n%s", got, want)
		}
	})
}

func newEvents(sender logical.EventSender, log io.Writer) *events {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: log})
	return &events{sender: sender, background: runner.New(logger), logger: logger}
}

// stuckSender takes no event until it is released, or the sender gives up.
type stuckSender struct{ taken chan struct{} }

func (s stuckSender) SendEvent(ctx context.Context, _ logical.EventType, _ *logical.EventData) error {
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestNobodyWaitsForAnEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		sender := stuckSender{make(chan struct{})}
		e := newEvents(sender, &log)
		e.notify(rotation.Event{Type: rotation.EventRefreshed, Account: "acme"})
		synctest.Wait() // until it is on its way, out of the queue
		for range maxEvents + 10 {
			e.notify(rotation.Event{Type: rotation.EventRefreshed, Account: "acme"})
		}
		for range 1 + maxEvents {
			synctest.Wait()
			<-sender.taken
		}
		synctest.Wait()
		if e.sending || !strings.Contains(log.String(), "events were lost: Vault did not take them in time: events=10\n") {
			t.Errorf("sending %v, log %q", e.sending, log.String())
		}
		e.notify(rotation.Event{}) // and it goes on
		<-sender.taken
	})
}

func TestEventsOfTheLastExchangesAreStillSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		sender := stuckSender{make(chan struct{})}
		e := newEvents(sender, &log)
		e.notify(rotation.Event{Type: rotation.EventRefreshed, Account: "acme"})
		e.notify(rotation.Event{Type: rotation.EventRefreshed, Account: "acme"})
		synctest.Wait()
		e.background.Close()
		<-sender.taken
		<-sender.taken
		e.background.Wait()
		if log.String() != "" {
			t.Errorf("it is logged: %s", log.String())
		}
	})
}

// brokenSender has a defect that the first event meets.
type brokenSender struct{ sent int }

func (s *brokenSender) SendEvent(context.Context, logical.EventType, *logical.EventData) error {
	if s.sent++; s.sent == 1 {
		panic("simulated")
	}
	return nil
}

func TestPanicOverAnEventDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		sender := &brokenSender{}
		e := newEvents(sender, &log)
		e.notify(rotation.Event{Type: rotation.EventRefreshed, Account: "acme"})
		e.notify(rotation.Event{Type: rotation.EventRefreshed, Account: "acme"})
		synctest.Wait()
		if sender.sent != 2 || !strings.Contains(log.String(), "panic in the background work") {
			t.Errorf("%d events were sent, log %q", sender.sent, log.String())
		}
	})
}

func TestAVaultWithoutEventsIsNoTrouble(t *testing.T) {
	t.Parallel()
	var log logBuffer
	e := newEvents(&framework.Backend{}, &log)
	if err := e.sender.SendEvent(t.Context(), "x", nil); !errors.Is(err, framework.ErrNoEvents) {
		t.Fatal(err)
	}
	e.send(t.Context(), rotation.Event{Type: rotation.EventRefreshed})
	if log.String() != "" {
		t.Errorf("it is logged: %s", log.String())
	}
}
