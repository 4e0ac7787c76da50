package rotation

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestSpareThatFailsDoesNotTouchTheGrant(t *testing.T) {
	for name, c := range map[string]struct {
		steps []func(context.Context, string) oauth.Result
		spare account.SpareState
		posts int // of the spare, within ten minutes
		doubt bool
	}{
		"rejected":    {[]func(context.Context, string) oauth.Result{invalidGrant}, account.SpareNone, 1, false},
		"unreachable": {[]func(context.Context, string) oauth.Result{unreachable}, account.SpareReady, 2, false},
		"in doubt":    {[]func(context.Context, string) oauth.Result{noAnswer, noAnswer}, account.SpareReady, 3, false},
		"lost":        {[]func(context.Context, string) oauth.Result{noAnswer, invalidGrant}, account.SpareNone, 2, true},
		"refused":     {[]func(context.Context, string) oauth.Result{rejected(oauth.CodeInvalidRequest)}, account.SpareReady, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.settings.KeepaliveInterval = 10 * time.Hour
				f.enrol("acme", withSpare)
				f.ticked(8 * time.Hour)
				f.token("acme")
				f.server.next(c.steps...)
				f.ticked(2*time.Hour + 10*time.Minute)
				if n := len(f.server.posts()) - 1; n != c.posts {
					t.Errorf("presented %q", f.server.posts())
				}
				a := f.stored("acme")
				if a.SpareState() != c.spare || a.State() != account.StateReady || a.Grants[0].RefreshToken.Reveal() != "rt-1" {
					t.Errorf("spare %s, state %s, grant %s", a.SpareState(), a.State(), a.Grants[0].RefreshToken.Reveal())
				}
				if c.spare == account.SpareNone && (a.LastError == nil || strings.Contains(a.LastError.Message, "lost in transit") != c.doubt) {
					t.Errorf("last error %+v", a.LastError)
				}
			})
		})
	}
}

func TestSpareIsRescuedWhereThePutFails(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = time.Hour
		f.enrol("acme", withSpare)
		f.ticked(50 * time.Minute)
		f.token("acme")
		f.storage.setFault(func(verb, _ string) fault {
			if verb == "put" && len(f.server.posts()) > 1 {
				return fault{err: errDisk}
			}
			return fault{}
		})
		f.ticked(12 * time.Minute)
		if a := f.account("acme"); !a.Unsaved {
			t.Fatalf("no rescue copy, presented %q", f.server.posts())
		}
		if o := f.Overview(time.Now(), 10); o.Unsaved != 1 {
			t.Errorf("%+v", o)
		}
		f.storage.setFault(nil)
		f.ticked(2 * time.Minute)
		if got := f.stored("acme").Grants[1].RefreshToken.Reveal(); got != "rt-2" {
			t.Errorf("the spare is %s", got)
		}
	})
}

func TestPanicInAnExchangeOfTheSpareLeavesTheGrantAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = time.Hour
		f.enrol("acme", withSpare)
		f.ticked(50 * time.Minute)
		f.token("acme")
		f.server.next(func(context.Context, string) oauth.Result { panic("simulated") })
		f.ticked(12 * time.Minute)
		if a := f.account("acme"); a.State() != account.StateReady || a.Spare() == nil {
			t.Errorf("state %s, spare %v", a.State(), a.Spare())
		}
	})
}

// brokenClients has a defect, for a time, in what comes after an exchange.
type brokenClients struct {
	*clients
	broken atomic.Bool
}

func (c *brokenClients) SecretWorked(ctx context.Context, name, revision string) error {
	if c.broken.Load() {
		panic("simulated")
	}
	return c.clients.SecretWorked(ctx, name, revision)
}

func TestPanicAfterAnExchangeOfTheSpareKeepsItsNewToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = time.Hour
		f.clients.client.PreviousSecret = secret("old secret")
		clients := &brokenClients{clients: f.clients}
		f.opts.Clients = clients
		f.enrol("acme", withSpare)
		f.ticked(50 * time.Minute)
		f.token("acme")
		clients.broken.Store(true)
		f.ticked(12 * time.Minute)
		synctest.Wait()
		if !strings.Contains(f.log.String(), "panic in an exchange") {
			t.Fatal("nothing went wrong")
		}
		clients.broken.Store(false)
		f.ticked(time.Hour)
		if presented := filter(f.server.posts(), "spare-0"); len(presented) != 1 {
			t.Errorf("the spare's token was presented %d times: %q", len(presented), f.server.posts())
		}
		if got := f.stored("acme").Grants[1].RefreshToken.Reveal(); got == "spare-0" || got == "rt-2" {
			t.Errorf("the spare is %s: it was not refreshed again", got)
		}
	})
}
