package rotation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// byCode is a login by the code "code-1", for an account that may be new.
func byCode(more ...func(*Login)) Login {
	l := Login{Code: &oauth.Code{Code: oauth.NewSecret("code-1")}, State: secret("state"), Client: account.DefaultClient}
	for _, change := range more {
		change(&l)
	}
	return l
}

func asSpare(l *Login) { l.AsSpare = true }

func (f *fixture) logIn(name string, l Login) (*account.Account, []string) {
	f.t.Helper()
	a, warnings, err := f.LogIn(context.Background(), name, l)
	if err != nil {
		f.t.Fatal(err)
	}
	return a, warnings
}

func TestLoginGivesAnAccountItsGrantAndItsToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		a, warnings := f.logIn("acme", byCode())
		if a.State() != account.StateReady || len(warnings) > 0 {
			t.Errorf("state %s, warnings %q", a.State(), warnings)
		}
		if got := f.stored("acme"); got.Grants[0].RefreshToken.Reveal() != "rt-1" || got.Grants[0].AuthorizedAt.IsZero() {
			t.Errorf("stored %+v", got.Grants[0])
		}
		if got := f.token("acme").Token.Token.Reveal(); got != "at-for-code-1" {
			t.Errorf("got %s", got)
		}
		f.wantPosts("code-1")
		time.Sleep(9 * time.Minute)
		f.token("acme")
		f.wantPosts("code-1", "rt-1")
	})
}

func TestLoginBringsADeadAccountBack(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(invalidGrant)
		f.refused("acme", account.KindDead)
		f.logIn("acme", byCode())
		f.token("acme")
		f.wantPosts("rt-0", "code-1")
	})
}

func TestLoginForASpareLeavesTheGrantAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		a, _ := f.logIn("acme", byCode(asSpare))
		if a.SpareState() != account.SpareReady || a.Grants[0].RefreshToken.Reveal() != "rt-0" {
			t.Errorf("spare %s, grant %s", a.SpareState(), a.Grants[0].RefreshToken.Reveal())
		}
		f.server.next(invalidGrant)
		f.token("acme")
		f.wantPosts("code-1", "rt-0", "rt-1")
	})
}

func TestSpareOfADeadAccountTakesOverAtOnce(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(invalidGrant)
		f.refused("acme", account.KindDead)
		if err := f.write("acme", account.Change{SpareRefreshToken: secret("spare-0")}); err != nil {
			f.t.Fatal(err)
		}
		f.token("acme")
		f.wantPosts("rt-0", "spare-0")
	})
}

func TestLoginThatFailsChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		step func(context.Context, string) oauth.Result
		kind account.ErrorKind
		want string
	}{
		"refused code":     {invalidGrant, account.KindInvalid, "refused the code"},
		"refused client":   {invalidClient, account.KindClient, "correct clients/default"},
		"busy server":      {answer(oauth.Result{Outcome: oauth.Rejected, Status: 429, Reason: "the server asks for fewer requests"}), account.KindUnavailable, "wait"},
		"unreachable":      {unreachable, account.KindUnavailable, "nothing was sent"},
		"no answer":        {noAnswer, account.KindUnavailable, "the login was lost"},
		"no refresh token": {answer(oauth.Result{Outcome: oauth.Succeeded, Tokens: oauth.Tokens{AccessToken: secret("at"), RefreshToken: oauth.Secret{}}}), account.KindClient, "no refresh token"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.enrol("acme")
				f.token("acme")
				before := string(f.storage.entries[StoragePrefix+"acme"])
				f.server.next(c.step)
				f.server.bare = name == "no refresh token"
				_, _, err := f.LogIn(t.Context(), "acme", byCode())
				var e *account.Error
				if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Error(), c.want) || !strings.Contains(e.Error(), `"acme"`) {
					t.Errorf("%v; want kind %d, %q", err, c.kind, c.want)
				}
				if after := string(f.storage.entries[StoragePrefix+"acme"]); after != before {
					t.Errorf("the entry was\n%s\nand is\n%s", before, after)
				}
				f.wantPosts("rt-0", "code-1")
			})
		})
	}
}

func TestNoCodeIsSentWhereItsAnswerCannotBeSaved(t *testing.T) {
	broken := errors.New("the disk is full")
	for name, c := range map[string]struct {
		harm func(f *fixture, l *Login)
		want error
	}{
		"standby":             {func(f *fixture, _ *Login) { f.readOnly.Store(true) }, ErrReadOnly},
		"used login":          {func(f *fixture, _ *Login) { f.logins.unknown = true }, account.ErrUnknownLogin},
		"login not marked":    {func(f *fixture, _ *Login) { f.logins.err = broken }, nil},
		"spare of no account": {func(_ *fixture, l *Login) { l.AsSpare = true }, account.ErrUnknownLogin},
		"no such client":      {func(f *fixture, _ *Login) { f.clients.set(nil) }, nil},
		"storage is down":     {func(f *fixture, _ *Login) { f.storage.failing(errDisk, "get") }, nil},
		"the plugin is shut":  {func(f *fixture, _ *Login) { f.Close() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				l := byCode()
				c.harm(f, &l)
				_, _, err := f.LogIn(t.Context(), "acme", l)
				if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
					t.Errorf("%v, want %v", err, c.want)
				}
				f.wantPosts()
			})
		})
	}
}

func TestGrantOfALoginIsRescuedWhereThePutFails(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.storage.failing(errDisk, "put")
		a, warnings := f.logIn("acme", byCode())
		if a == nil || !slices.Contains(warnings, NotSaved) {
			t.Errorf("%v, warnings %q", a, warnings)
		}
		if got := f.token("acme"); !slices.Contains(got.Warnings, NotSaved) || got.Token.Token.Reveal() != "at-for-code-1" {
			t.Errorf("%+v", got)
		}
		f.storage.setFault(nil)
		time.Sleep(2 * time.Minute)
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s", got)
		}
		f.wantPosts("code-1")
	})
}

func TestLoginOutlivesItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.server.next(grantAfter(5 * time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := f.LogIn(ctx, "acme", byCode()); err == nil {
			t.Fatal("an answer within 1 s, from a login of 5 s")
		}
		synctest.Wait()
		f.Close() // waits for it
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s", got)
		}
	})
}

func TestPanicInALoginIsAnError(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.server.next(func(context.Context, string) oauth.Result { panic("simulated") })
		if _, _, err := f.LogIn(t.Context(), "acme", byCode()); err == nil || !strings.Contains(err.Error(), "internal error") {
			t.Errorf("%v", err)
		}
		f.logIn("acme", byCode()) // the lock is free
	})
}

func TestPanicAfterALoginKeepsItsGrant(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.storage.failing(errDisk, "put")
		notify := f.opts.Notify
		f.opts.Notify = func(Event) { panic("simulated") }
		if _, _, err := f.LogIn(t.Context(), "acme", byCode()); err == nil || !strings.Contains(err.Error(), "internal error") {
			t.Errorf("%v", err)
		}
		f.storage.setFault(nil)
		f.opts.Notify = notify
		if err := f.write("acme", account.Change{Settings: func(s *account.Settings) { s.MinTTL = time.Minute }}); err != nil {
			t.Fatal(err)
		}
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s, want the login's", got)
		}
	})
}
