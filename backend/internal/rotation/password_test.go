package rotation

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// credentials are alice's.
func credentials() *oauth.Credentials {
	return &oauth.Credentials{Username: "alice", Password: secret("password")}
}

// enrolByPassword logs alice in for an account; keep says whether the password
// is kept.
func (f *fixture) enrolByPassword(name string, keep, spare bool) (*account.Account, []string) {
	f.t.Helper()
	c := account.Change{Credentials: credentials(), KeepPassword: &keep}
	return f.logIn(name, Login{Credentials: c.Credentials, AndSpare: spare, change: &c})
}

func TestPasswordGetsAGrantAndASpareAndIsNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		a, warnings := f.enrolByPassword("acme", false, true)
		if a.SpareState() != account.SpareReady || a.State() != account.StateReady || len(warnings) > 0 {
			t.Errorf("spare %s, state %s, warnings %q", a.SpareState(), a.State(), warnings)
		}
		f.wantPosts("alice:password", "alice:password")
		if stored := string(f.storage.entries[StoragePrefix+"acme"]); strings.Contains(stored, "credentials") {
			t.Errorf("it is stored: %s", stored)
		}
	})
}

func TestSpareThatFailsIsAWarning(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.server.next(grant, invalidGrant)
		a, warnings := f.enrolByPassword("acme", false, true)
		if a.SpareState() != account.SpareNone || len(warnings) != 1 || !strings.Contains(warnings[0], "no spare grant") {
			t.Errorf("spare %s, warnings %q", a.SpareState(), warnings)
		}
		f.token("acme")
	})
}

func TestKeptPasswordLogsADeadAccountInAgainInTheSameFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrolByPassword("acme", true, false)
		time.Sleep(9 * time.Minute)
		f.server.next(invalidGrant)
		if got := f.token("acme").Token.Token.Reveal(); got != "at-for-alice:password" {
			t.Errorf("got %s", got)
		}
		f.wantPosts("alice:password", "rt-1", "alice:password")
		if e := f.stored("acme").LastError; e == nil || !strings.Contains(e.Message, "logged in again with the kept password") {
			t.Errorf("last error %+v", e)
		}
		happened := func(what EventType) bool {
			return slices.ContainsFunc(f.events, func(e Event) bool { return e.Type == what })
		}
		if !happened(EventLoggedIn) || happened(EventReauthorizationRequired) {
			t.Errorf("events %v", f.events)
		}
	})
}

func TestKeptPasswordIsUsedOnceAnHourAtMost(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrolByPassword("acme", true, false)
		for i := range 200 { // each grant dies at once
			if i == 100 {
				f.restart("process-2") // the hour outlives a process
			}
			time.Sleep(6 * time.Minute)
			f.server.mu.Lock()
			f.server.steps = nil
			f.server.mu.Unlock()
			f.server.next(func(ctx context.Context, presented string) oauth.Result {
				if strings.HasPrefix(presented, "alice") {
					return noAnswer(ctx, presented)
				}
				return invalidGrant(ctx, presented)
			})
			_, _ = f.Token(t.Context(), "acme", account.ReadRequest{})
			_, _ = f.Refresh(t.Context(), "acme")
		}
		logins := 0
		for _, presented := range f.server.posts() {
			if presented == "alice:password" {
				logins++
			}
		}
		if logins < 10 || logins > 22 { // 20 h, and the first
			t.Errorf("%d logins in 20 hours", logins)
		}
	})
}

func TestKeptPasswordThatIsRefusedIsNotUsedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrolByPassword("acme", true, false)
		time.Sleep(11 * time.Minute)
		f.server.next(invalidGrant, invalidGrant)
		e := f.refused("acme", account.KindDead)
		if !strings.Contains(e.Error(), "refused the kept password, too") {
			t.Errorf("%v", e)
		}
		time.Sleep(24 * time.Hour)
		f.refused("acme", account.KindDead)
		f.wantPosts("alice:password", "rt-1", "alice:password")
		f.enrolByPassword("acme", true, false) // a new one is used again
		f.token("acme")
	})
}

func TestLoginWithTheKeptPasswordWaitsForAServerThatIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrolByPassword("acme", true, false)
		time.Sleep(11 * time.Minute)
		f.server.next(invalidGrant, unreachable, invalidGrant)
		e := f.refused("acme", account.KindDead)
		due := account.Stamp(clock().Add(time.Hour))
		if !strings.Contains(e.Error(), "logs in again with the kept password at "+due) || account.Stamp(f.account("acme").NextAttempt(clock())) != due {
			t.Errorf("%v; due at %s", e, due)
		}
		if _, err := f.Refresh(t.Context(), "acme"); err == nil || !strings.Contains(err.Error(), due) {
			t.Errorf("forced: %v", err)
		}
		f.server.mu.Lock()
		f.server.presented = f.server.presented[:3]
		f.server.mu.Unlock()
		f.refused("acme", account.KindDead)
		f.wantPosts("alice:password", "rt-1", "alice:password")
		time.Sleep(time.Hour)
		f.token("acme")
		f.wantPosts("alice:password", "rt-1", "alice:password", "alice:password")
	})
}

func TestNoLoginWithTheKeptPasswordWhereItCannotBeWrittenDown(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrolByPassword("acme", true, false)
		time.Sleep(11 * time.Minute)
		puts := 0
		f.storage.setFault(func(verb, _ string) fault {
			if verb == "put" {
				if puts++; puts > 1 {
					return fault{err: errDisk}
				}
			}
			return fault{}
		})
		f.server.next(invalidGrant)
		f.refused("acme", account.KindStorage)
		f.wantPosts("alice:password", "rt-1")
		f.storage.setFault(nil)
		f.token("acme") // at once: it was not used
		f.wantPosts("alice:password", "rt-1", "alice:password")
	})
}
