package rotation

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestReadersShareOneExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(grantAfter(time.Second))
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				if got := f.token("acme").Token.Token.Reveal(); got != "at-for-rt-0" {
					t.Errorf("got %s", got)
				}
			})
		}
		wg.Wait()
		f.wantPosts("rt-0")
	})
}

func TestReadersShareAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(unreachable)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { f.refused("acme", account.KindUnavailable) })
		}
		wg.Wait()
		f.wantPosts("rt-0")
		f.wantState("acme", account.StateFailing)
	})
}

func TestExchangeOutlivesItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(grantAfter(5 * time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Token(ctx, "acme", account.ReadRequest{}); err == nil {
			t.Fatal("an answer within 1 s, from an exchange of 5 s")
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s, want rt-1", got)
		}
		f.token("acme")
		f.wantPosts("rt-0")
	})
}

func TestIntentStandsBeforeThePost(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(func(ctx context.Context, presented string) oauth.Result {
			in := f.stored("acme").Grants[0].Intent
			if in == nil || in.Process != "process-1" || !in.Started.Equal(clock()) || in.Deadline.Sub(in.Started) < f.settings.ExchangeTimeout {
				t.Errorf("intent in storage at the time of the POST: %+v", in)
			}
			return grant(ctx, presented)
		})
		f.token("acme")
		if in := f.stored("acme").Grants[0].Intent; in != nil {
			t.Errorf("the intent is still there: %+v", in)
		}
	})
}

func TestNoPostWhereTheIntentCannotBeWritten(t *testing.T) {
	for name, late := range map[string]bool{"not written": false, "written, but the answer was lost": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.enrol("acme")
				f.storage.faulty("put", fault{err: errDisk, late: late})
				f.refused("acme", account.KindStorage)
				f.wantPosts()
				f.storage.setFault(nil)
				time.Sleep(time.Minute)
				f.token("acme")
				f.wantPosts("rt-0")
				f.wantState("acme", account.StateReady)
				if e := f.account("acme").LastError; e == nil || strings.Contains(e.Message, "doubt") || strings.Contains(e.Message, "recovered") {
					t.Errorf("last error %+v: the exchange was never in doubt", e)
				}
			})
		})
	}
}

func TestNoPostAfterASlowIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.storage.faulty("put", fault{delay: intentTimeout + time.Second})
		f.refused("acme", account.KindStorage)
		f.wantPosts()
	})
}

func TestAnswerComesAfterThePut(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		puts := 0
		f.storage.setFault(func(verb, _ string) fault {
			if verb == "put" {
				if puts++; puts == 2 {
					return fault{delay: 3 * time.Second}
				}
			}
			return fault{}
		})
		start := time.Now()
		f.token("acme")
		if d := time.Since(start); d < 3*time.Second {
			t.Errorf("answered %s after the read, before the Put was done", d)
		}
	})
}

func TestAnExchangeIsTwoPutsAndOneGet(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.account("acme")
		puts, gets := f.storage.count("put"), f.storage.count("get")
		f.token("acme")
		if got := f.storage.count("put") - puts; got != 2 {
			t.Errorf("%d Puts, want 2: the intent, and all of the outcome", got)
		}
		if got := f.storage.count("get") - gets; got != 1 {
			t.Errorf("%d Gets, want 1: the second read under the lock", got)
		}
		stored := f.stored("acme")
		if stored.Grants[0].RefreshToken.Reveal() != "rt-1" || stored.Access.Token.Reveal() != "at-for-rt-0" {
			t.Error("the outcome is not in one entry")
		}
	})
}

func TestRefreshTokenIsKeptWithoutAnAccessToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(answer(oauth.Result{Outcome: oauth.Succeeded}))
		f.refused("acme", account.KindUnavailable)
		f.wantState("acme", account.StateFailing)
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s, want rt-1", got)
		}
		time.Sleep(time.Minute)
		f.token("acme")
		f.wantPosts("rt-0", "rt-1")
	})
}

func TestDeadMeansQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(invalidGrant)
		f.refused("acme", account.KindDead)
		for range 20 {
			time.Sleep(time.Hour)
			if e := f.refused("acme", account.KindDead); !strings.HasPrefix(e.Error(), "reauthorization required") {
				t.Fatalf("message: %v", e)
			}
		}
		f.wantPosts("rt-0")
		f.wantState("acme", account.StateDead)

		// An operator forces one try a call.
		f.server.next(invalidGrant)
		if _, err := f.Refresh(t.Context(), "acme"); err == nil {
			t.Error("a forced refresh of a dead grant reports success")
		}
		f.wantPosts("rt-0", "rt-0")
		f.refused("acme", account.KindDead)
		f.wantPosts("rt-0", "rt-0")

		// A new refresh token brings the account back.
		if err := f.write("acme", account.Change{RefreshToken: oauth.NewSecret("new")}); err != nil {
			t.Fatal(err)
		}
		f.wantState("acme", account.StateNew)
		f.token("acme")
		f.wantPosts("rt-0", "rt-0", "new")
	})
}

func TestForcedTryRevivesAGrantThatTheServerTakesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(invalidGrant)
		f.refused("acme", account.KindDead)
		if a, err := f.Refresh(t.Context(), "acme"); err != nil || a.State() != account.StateReady {
			t.Fatalf("got %v, %v", a, err)
		}
		f.token("acme")
	})
}

func TestPanicIsContained(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(func(context.Context, string) oauth.Result { panic("boom") })
		f.refused("acme", account.KindStorage)
		f.wantState("acme", account.StateInDoubt)
		f.refused("acme", account.KindUnavailable) // the back-off holds
		f.wantPosts("rt-0")
		time.Sleep(time.Minute)
		f.token("acme")
		f.wantPosts("rt-0", "rt-0")
	})
}

func TestPanicAfterTheAnswerKeepsTheNewToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.clients.client.PreviousSecret = secret("old secret")
		clients := &brokenClients{clients: f.clients}
		clients.broken.Store(true)
		f.opts.Clients = clients
		f.token("acme")
		synctest.Wait()
		if !strings.Contains(f.log.String(), "panic in an exchange") {
			t.Fatal("nothing went wrong")
		}
		clients.broken.Store(false)

		// The same where it could not be saved either.
		time.Sleep(10 * time.Minute)
		f.storage.setFault(func(verb, _ string) fault {
			if verb == "put" && len(f.server.posts()) == 2 {
				return fault{err: errDisk}
			}
			return fault{}
		})
		notify := f.opts.Notify
		f.opts.Notify = func(Event) { panic("simulated") }
		f.refused("acme", account.KindStorage)
		f.storage.setFault(nil)
		f.opts.Notify = notify
		if got := f.token("acme").Token.Token.Reveal(); got != "at-for-rt-1" {
			t.Errorf("access token %s", got)
		}
		time.Sleep(9 * time.Minute)
		f.token("acme")
		f.wantPosts("rt-0", "rt-1", "rt-2")
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-3" {
			t.Errorf("stored refresh token %s", got)
		}
	})
}

func TestPanicOfWhoObservesAnAnswerDoesNotCostIt(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		observe := f.opts.Observe
		f.opts.Observe = func(Purpose, oauth.Result) { panic("simulated") }
		f.token("acme")
		f.opts.Observe = observe
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s", got)
		}
	})
}

func TestWritersWaitForAnExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(grantAfter(5 * time.Second))
		go f.Token(context.Background(), "acme", account.ReadRequest{}) //nolint:errcheck // its answer is not the point
		synctest.Wait()
		if err := f.write("acme", account.Change{Settings: func(s *account.Settings) { s.RefreshOnRead = true }}); err != nil {
			t.Fatal(err)
		}
		a := f.stored("acme")
		if a.Grants[0].RefreshToken.Reveal() != "rt-1" || !a.RefreshOnRead {
			t.Error("the write and the rotation did not both hold")
		}

		f.server.next(grantAfter(5 * time.Second))
		go f.Token(context.Background(), "acme", account.ReadRequest{}) //nolint:errcheck // its answer is not the point
		synctest.Wait()
		if _, err := f.Delete(t.Context(), "acme", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		f.refused("acme", account.KindNotFound)
		if f.storage.entries[StoragePrefix+"acme"] != nil {
			t.Error("the exchange brought a deleted account back")
		}
	})
}

func TestReadOnlyNodeExchangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.readOnly.Store(true)
		if _, err := f.Token(t.Context(), "acme", account.ReadRequest{}); err != ErrReadOnly { //nolint:errorlint // bare on purpose
			t.Errorf("got %v, want a bare ErrReadOnly", err)
		}
		if _, err := f.Refresh(t.Context(), "acme"); err != ErrReadOnly { //nolint:errorlint // bare on purpose
			t.Errorf("got %v, want a bare ErrReadOnly", err)
		}
		// The node turns out to be read-only only when the intent is written.
		f.readOnly.Store(false)
		f.storage.failing(ErrReadOnly, "put")
		if _, err := f.Token(t.Context(), "acme", account.ReadRequest{}); err != ErrReadOnly { //nolint:errorlint // bare on purpose
			t.Errorf("got %v, want a bare ErrReadOnly", err)
		}
		f.wantPosts()
		f.wantState("acme", account.StateNew)
	})
}

func TestMissingClientIsNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.clients.set(nil)
		if e := f.refused("acme", account.KindNotFound); !strings.Contains(e.Error(), `"default"`) {
			t.Errorf("message: %v", e)
		}
		f.clients.err = errDisk
		f.refused("acme", account.KindStorage)
		f.clients.err = &account.Error{Kind: account.KindClient, Text: "the host is not allowed"}
		f.refused("acme", account.KindClient)
		f.wantPosts()
	})
}

// The client is asked for beside the account's entry, which may name another one
// by now.
func TestClientThatTheEntryNamesIsUsed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.account("acme")
		f.storage.entries[StoragePrefix+"acme"] = bytes.ReplaceAll(f.storage.entries[StoragePrefix+"acme"], []byte(`"default"`), []byte(`"other"`))
		if e := f.refused("acme", account.KindNotFound); !strings.Contains(e.Error(), `"other"`) {
			t.Errorf("message: %v", e)
		}
		f.wantPosts()
	})
}

func TestPanicBesideTheReadOfTheAccountIsContained(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.account("acme")
		writable := f.opts.Writable
		f.opts.Writable = func() error { panic("boom") }
		f.refused("acme", account.KindStorage)
		if log := f.log.String(); !strings.Contains(log, "TestPanicBesideTheReadOfTheAccountIsContained.func") {
			t.Errorf("the log does not say where:\n%s", log)
		}
		f.opts.Writable = writable
		f.token("acme")
		f.wantPosts("rt-0")
	})
}

func TestCanceledWriteChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(grantAfter(14 * time.Second))
		go f.Token(context.Background(), "acme", account.ReadRequest{}) //nolint:errcheck // its answer is not the point
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.Write(ctx, "acme", account.Change{RefreshToken: secret("rt-new")})
		var e *account.Error
		if !errors.As(err, &e) || e.Kind != account.KindUnavailable {
			t.Errorf("got %v", err)
		}
	})
}
