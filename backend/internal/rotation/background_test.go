package rotation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// ticked lets time pass, with a tick every minute as Vault gives it.
func (f *fixture) ticked(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		f.Tick()
		time.Sleep(min(time.Minute, time.Until(end)))
	}
	synctest.Wait() // nothing reads the fixture while the test changes it
}

func auto(c *account.Change) { c.Settings = func(s *account.Settings) { s.AutoRefresh = true } }

func notAuto(c *account.Change) { c.Settings = func(s *account.Settings) { s.AutoRefresh = false } }

func TestAutoRefreshKeepsATokenThatNoReadWaitsFor(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.ticked(time.Minute)
		for range 200 { // two hours
			if _, ok := f.Cached("acme", f.settings, account.ReadRequest{}); !ok {
				t.Fatal("a read would have waited")
			}
			f.ticked(36 * time.Second)
		}
		if n := len(f.server.posts()); n < 12 || n > 20 {
			t.Errorf("%d exchanges in two hours", n)
		}
		f.server.mu.Lock()
		defer f.server.mu.Unlock()
		if f.server.most != 1 {
			t.Errorf("%d exchanges at one time", f.server.most)
		}
	})
}

func TestNothingIsRefreshedThatNobodyAskedFor(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrol("acme")
		f.ticked(3 * time.Hour)
		f.wantPosts()
	})
}

func TestAutoRefreshGoesOnInANewProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for i := range 1000 {
			f.enrol(fmt.Sprintf("other-%d", i))
		}
		f.enrol("zulu", auto)
		f.ticked(time.Minute)
		f.Close()
		f.restart("process-2")
		gets := f.storage.count("get")
		f.ticked(time.Minute)
		// It is found among the first, though its name comes last.
		if n := f.storage.count("get") - gets; n > 230 {
			t.Errorf("%d accounts were read", n)
		}
		time.Sleep(7 * time.Minute)
		if n := len(f.server.posts()); n != 2 {
			t.Errorf("%d exchanges", n)
		}
	})
}

func TestAutoRefreshEndsWhereItIsSwitchedOffOrTheAccountIsDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.enrol("beta", auto)
		f.ticked(time.Minute)
		var off account.Change
		notAuto(&off)
		if err := f.write("acme", off); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Delete(t.Context(), "beta", false); err != nil {
			t.Fatal(err)
		}
		f.ticked(time.Hour)
		f.wantPosts("rt-0", "rt-0 of beta")
		if marks, err := f.storage.List(t.Context(), autoPrefix); err != nil || len(marks) > 0 {
			t.Errorf("%q, %v", marks, err)
		}
	})
}

// filter returns those of names that are in wanted.
func filter(names []string, wanted ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(wanted, name) })
}

func TestAutoRefreshWaitsAsLongAsAnyReader(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.server.next(invalidClient, invalidClient, invalidClient, invalidClient)
		f.ticked(6 * time.Minute)
		f.wantPosts("rt-0", "rt-0", "rt-0") // at 0, 1 and 3 min
		f.ticked(11 * time.Minute)
		f.wantPosts("rt-0", "rt-0", "rt-0", "rt-0", "rt-0") // at 7 and 15 min
	})
}

func TestDeadAccountIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.server.next(invalidGrant)
		f.ticked(10 * time.Hour)
		f.wantPosts("rt-0")
		o := f.Overview(time.Now(), 10)
		if len(o.Problems) != 1 || o.Problems[0].Account != "acme" || !strings.Contains(o.Problems[0].Remedy, "authorize/acme") || o.States[account.StateDead] != 1 {
			t.Errorf("%+v", o)
		}
	})
}

func TestStandbyDoesNothing(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.readOnly.Store(true)
		gets := f.storage.count("get")
		f.ticked(time.Hour)
		f.wantPosts()
		if n := f.storage.count("get") - gets; n != 0 {
			f.t.Errorf("%d reads", n)
		}
		f.readOnly.Store(false)
		f.ticked(2 * time.Minute)
		f.wantPosts("rt-0")
	})
}

func TestIdleGrantsAndSparesAreKeptAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = 720 * time.Hour
		f.enrol("acme", withSpare)
		f.ticked(640 * time.Hour)
		f.wantPosts()
		f.ticked(90 * time.Hour)
		posts := f.server.posts()
		if len(posts) != 2 || len(filter(posts, "rt-0", "spare-0")) != 2 {
			t.Fatalf("presented %q", posts)
		}
		a := f.stored("acme")
		if got := []string{a.Grants[0].RefreshToken.Reveal(), a.Grants[1].RefreshToken.Reveal()}; len(filter(got, "rt-1", "rt-2")) != 2 {
			t.Errorf("the tokens are %q", got)
		}
		if a.SpareState() != account.SpareReady || a.State() != account.StateReady || a.Grants[1].Intent != nil {
			t.Errorf("spare %s, state %s", a.SpareState(), a.State())
		}
		f.ticked(720 * time.Hour)
		if n := len(f.server.posts()); n != 4 {
			t.Errorf("%d exchanges in two months", n)
		}
	})
}

func TestAccountsThatAreReadAreNotKeptAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = 10 * time.Hour
		f.enrol("acme")
		for range 24 {
			f.token("acme")
			f.ticked(time.Hour)
		}
		if n := len(f.server.posts()); n != 24 {
			t.Errorf("%d exchanges for 24 readers", n)
		}
	})
}

func TestPanicOfTheBackgroundWorkDoesNotEndTheProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var broken atomic.Bool
		settings := f.opts.Settings
		f.opts.Settings = func(ctx context.Context) (Settings, error) {
			if broken.Load() {
				panic("a defect")
			}
			return settings(ctx)
		}
		f.enrol("acme", auto)
		f.ticked(time.Minute)
		broken.Store(true)
		f.ticked(10 * time.Minute)
		broken.Store(false)
		f.ticked(2 * time.Minute)
		if _, ok := f.Cached("acme", f.settings, account.ReadRequest{}); !ok {
			t.Error("the background work did not go on after a panic")
		}
		if !strings.Contains(f.log.String(), "panic in the background work") {
			t.Errorf("the panic is not logged:\n%s", f.log.String())
		}
	})
}

func TestAccountIsNotForgottenWhereItsChorePanicsBeforeItBegins(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var (
			broken   atomic.Bool
			asked    atomic.Int64
			writable = f.opts.Writable
		)
		f.opts.Writable = func() error {
			// Tend asks first, what begins the chore asks next.
			if broken.Load() && asked.Add(1)%2 == 0 {
				panic("a defect")
			}
			return writable()
		}
		f.enrol("acme", auto)
		broken.Store(true)
		f.ticked(2 * maxTasks * time.Minute)
		broken.Store(false)
		synctest.Wait()
		if n := strings.Count(f.log.String(), "panic in the background work"); n <= maxTasks {
			t.Fatalf("%d panics", n)
		}
		f.ticked(3 * time.Minute)
		if _, ok := f.Cached("acme", f.settings, account.ReadRequest{}); !ok {
			t.Error("the account is not refreshed any more")
		}
	})
}

// The aim of the engine's scale: ten thousand accounts whose tokens live ten
// minutes stay fresh for an hour.
func TestTenThousandAccountsAreKeptFresh(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	inBubble(t, func(t *testing.T, f *fixture) {
		const n = 10_000
		f.log.Reset()
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("account-%05d", i)
			c := account.Change{RefreshToken: secret(fmt.Sprint("rt-of-", i))}
			auto(&c)
			a, _, err := c.Apply("x", nil, clock())
			if err != nil {
				t.Fatal(err)
			}
			f.storage.entries[StoragePrefix+names[i]] = account.Encode(a)
			f.storage.entries[autoPrefix+names[i]] = []byte("{}")
		}
		f.Tick()
		time.Sleep(4 * time.Minute) // 10,000 at 50 a second
		for range 60 {
			f.Tick()
			for _, name := range names {
				// A read that comes in the very moment may wait for the exchange.
				if left := f.account(name).Access.Remaining(clock()); left <= f.settings.MinTTL {
					t.Fatalf("%s of the token of %s are left at %s; %d exchanges", left, name, time.Now(), len(f.server.posts()))
				}
			}
			time.Sleep(time.Minute)
		}
		if posts := len(f.server.posts()); posts > 100_000 {
			t.Errorf("%d exchanges", posts)
		}
	})
}

// A server with a grace period answers the same token again for a short while only.
func TestADoubtIsSettledWithoutAReader(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for i := range 1000 {
			f.enrol(fmt.Sprintf("other-%d", i))
		}
		f.enrol("zulu")
		f.Tick()
		f.server.next(grantAfter(time.Hour))
		go f.Token(t.Context(), "zulu", account.ReadRequest{}) //nolint:errcheck // its process is killed
		synctest.Wait()
		f.storage.mu.Lock()
		killed := maps.Clone(f.storage.entries)
		f.storage.mu.Unlock()
		f.Close()
		f.storage.mu.Lock()
		f.storage.entries = killed
		f.storage.mu.Unlock()
		f.restart("process-2")
		start, posts := time.Now(), len(f.server.posts())
		f.Tick() // as Vault's initialization does
		for len(f.server.posts()) == posts && time.Since(start) < time.Minute {
			time.Sleep(time.Second)
		}
		if d := time.Since(start); d < 22*time.Second || d > 26*time.Second {
			t.Errorf("presented again after %s", d)
		}
		synctest.Wait()
		f.wantState("zulu", account.StateReady)
	})
}

func TestAnExchangeThatCannotBeginIsAFailureLikeAnyOther(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.ticked(time.Minute)
		f.clients.mu.Lock()
		right := f.clients.client
		f.clients.client = nil
		f.clients.mu.Unlock()
		f.ticked(24 * time.Hour)
		o := f.Overview(time.Now(), 10)
		if o.States[account.StateFailing] != 1 || len(o.Problems) != 1 || !strings.Contains(o.Problems[0].Error, `client "default" does not exist`) {
			t.Errorf("%+v", o)
		}
		if a := f.account("acme"); a.LastError == nil || a.NextAttempt(clock()).IsZero() {
			t.Errorf("last error %v, next attempt %s", a.LastError, a.NextAttempt(clock()))
		}
		if n := strings.Count(f.log.String(), "no exchange can begin"); n != 1 {
			t.Errorf("%d lines of log", n)
		}
		if n := len(slices.DeleteFunc(slices.Clone(f.events), func(e Event) bool { return e.Type != EventRefreshFailed })); n != 1 {
			t.Errorf("%d events", n)
		}
		f.clients.set(right)
		f.ClientWritten("default")
		f.ticked(5 * time.Second)
		f.wantState("acme", account.StateReady)
	})
}

func TestAWriteOfTheClientEndsTheWaitsOfItsAccounts(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrolMany(3, auto)
		f.server.always = invalidClient
		f.ticked(3 * time.Hour)
		f.server.mu.Lock()
		f.server.always = nil
		f.server.mu.Unlock()
		f.clients.set(&Client{Client: oauth.Client{Secret: secret("right")}, Revision: "r2"})
		f.ClientWritten(account.DefaultClient)
		f.ticked(5 * time.Second)
		if o := f.Overview(time.Now(), 10); o.States[account.StateReady] != 3 || len(o.Problems) != 0 {
			t.Errorf("%+v", o)
		}
	})
}

// Many servers end an access token in the moment of a refresh.
func TestNothingRefreshesBeforeTheTTLIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.ticked(time.Minute)
		for range 200 {
			a := f.token("acme")
			// A TTL is rounded up to whole seconds.
			for end := time.Now().Add(a.TTL - time.Second); time.Now().Before(end); {
				f.ticked(min(time.Second, time.Until(end)))
				if now := f.token("acme"); now.Token != a.Token {
					t.Fatalf("the token was replaced %s before its ttl was over", time.Until(end))
				}
			}
			f.ticked(time.Second)
		}
	})
}
