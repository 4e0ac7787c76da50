package account

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// tended lets time pass, with a kick every minute as Vault gives it.
func (f *fixture) tended(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		f.Tend()
		time.Sleep(min(time.Minute, time.Until(end)))
	}
}

func auto(c *Change) { yes := true; c.AutoRefresh = &yes }

func TestAutoRefreshKeepsATokenThatNoReadWaitsFor(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.tended(time.Minute)
		for range 200 { // two hours
			if _, ok := f.Cached("acme", f.settings, Ask{}); !ok {
				t.Fatal("a read would have waited")
			}
			f.tended(36 * time.Second)
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
		f.tended(3 * time.Hour)
		f.wantPosts()
	})
}

func TestAutoRefreshGoesOnInANewProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for i := range 1000 {
			f.enrol(fmt.Sprintf("other-%d", i))
		}
		f.enrol("zulu", auto)
		f.tended(time.Minute)
		f.Close()
		f.restart("process-2")
		gets := f.storage.count("get")
		f.tended(time.Minute)
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
		f.tended(time.Minute)
		off := false
		if err := f.write("acme", Change{AutoRefresh: &off}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Delete(t.Context(), "beta", false, nil); err != nil {
			t.Fatal(err)
		}
		f.tended(time.Hour)
		f.wantPosts("rt-0", "rt-0")
		if marks, err := f.storage.List(t.Context(), AutoPrefix); err != nil || len(marks) > 0 {
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
		f.server.next(rejected(oauth.CodeInvalidClient))
		f.tended(59 * time.Minute)
		f.wantPosts("rt-0")
		f.tended(3 * time.Minute)
		f.wantPosts("rt-0", "rt-0")
	})
}

func TestDeadAccountIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.server.next(invalidGrant)
		f.tended(10 * time.Hour)
		f.wantPosts("rt-0")
		o := f.Overview(time.Now(), 10)
		if len(o.Problems) != 1 || o.Problems[0].Account != "acme" || !strings.Contains(o.Problems[0].Remedy, "authorize/acme") || o.States[StateDead] != 1 {
			t.Errorf("%+v", o)
		}
	})
}

func TestStandbyDoesNothing(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.readOnly.Store(true)
		gets := f.storage.count("get")
		f.tended(time.Hour)
		f.wantPosts()
		if n := f.storage.count("get") - gets; n != 0 {
			f.t.Errorf("%d reads", n)
		}
		f.readOnly.Store(false)
		f.tended(2 * time.Minute)
		f.wantPosts("rt-0")
	})
}

func TestIdleGrantsAndSparesAreKeptAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = 720 * time.Hour
		f.enrol("acme", withSpare)
		f.tended(640 * time.Hour)
		f.wantPosts()
		f.tended(90 * time.Hour)
		posts := f.server.posts()
		if len(posts) != 2 || len(filter(posts, "rt-0", "spare-0")) != 2 {
			t.Fatalf("presented %q", posts)
		}
		a := f.stored("acme")
		if got := []string{a.Grant.RefreshToken.Reveal(), a.Spare.RefreshToken.Reveal()}; len(filter(got, "rt-1", "rt-2")) != 2 {
			t.Errorf("the tokens are %q", got)
		}
		if a.SpareState() != SpareReady || a.State() != StateReady || a.Spare.Intent != nil {
			t.Errorf("spare %s, state %s", a.SpareState(), a.State())
		}
		f.tended(720 * time.Hour)
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
			f.tended(time.Hour)
		}
		if n := len(f.server.posts()); n != 24 {
			t.Errorf("%d exchanges for 24 readers", n)
		}
	})
}

func TestSpareThatFailsDoesNotTouchTheGrant(t *testing.T) {
	for name, c := range map[string]struct {
		steps []func(context.Context, string) oauth.Result
		spare SpareState
		posts int // of the spare, within ten minutes
		doubt bool
	}{
		"rejected":    {[]func(context.Context, string) oauth.Result{invalidGrant}, SpareNone, 1, false},
		"unreachable": {[]func(context.Context, string) oauth.Result{unreachable}, SpareReady, 2, false},
		"in doubt":    {[]func(context.Context, string) oauth.Result{noAnswer, noAnswer}, SpareReady, 3, false},
		"lost":        {[]func(context.Context, string) oauth.Result{noAnswer, invalidGrant}, SpareNone, 2, true},
		"refused":     {[]func(context.Context, string) oauth.Result{rejected(oauth.CodeInvalidRequest)}, SpareReady, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.settings.KeepaliveInterval = 10 * time.Hour
				f.enrol("acme", withSpare)
				f.tended(8 * time.Hour)
				f.token("acme")
				f.server.next(c.steps...)
				f.tended(2*time.Hour + 10*time.Minute)
				if n := len(f.server.posts()) - 1; n != c.posts {
					t.Errorf("presented %q", f.server.posts())
				}
				a := f.stored("acme")
				if a.SpareState() != c.spare || a.State() != StateReady || a.Grant.RefreshToken.Reveal() != "rt-1" {
					t.Errorf("spare %s, state %s, grant %s", a.SpareState(), a.State(), a.Grant.RefreshToken.Reveal())
				}
				if c.spare == SpareNone && (a.LastError == nil || strings.Contains(a.LastError.Message, "lost in transit") != c.doubt) {
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
		f.tended(50 * time.Minute)
		f.token("acme")
		f.storage.setFault(func(verb, _ string) fault {
			if verb == "put" && len(f.server.posts()) > 1 {
				return fault{err: errDisk}
			}
			return fault{}
		})
		f.tended(12 * time.Minute)
		if a := f.account("acme"); !a.Unsaved {
			t.Fatalf("no rescue copy, presented %q", f.server.posts())
		}
		if o := f.Overview(time.Now(), 10); o.Unsaved != 1 {
			t.Errorf("%+v", o)
		}
		f.storage.setFault(nil)
		f.tended(2 * time.Minute)
		if got := f.stored("acme").Spare.RefreshToken.Reveal(); got != "rt-2" {
			t.Errorf("the spare is %s", got)
		}
	})
}

func TestPanicInAnExchangeOfTheSpareLeavesTheGrantAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = time.Hour
		f.enrol("acme", withSpare)
		f.tended(50 * time.Minute)
		f.token("acme")
		f.server.next(func(context.Context, string) oauth.Result { panic("simulated") })
		f.tended(12 * time.Minute)
		if a := f.account("acme"); a.State() != StateReady || a.Spare == nil {
			t.Errorf("state %s, spare %v", a.State(), a.Spare)
		}
	})
}

// brokenClients has a defect in what comes after an exchange.
type brokenClients struct{ *clients }

func (brokenClients) SecretWorked(context.Context, string, string) error { panic("simulated") }

func TestPanicAfterAnExchangeOfTheSpareKeepsItsNewToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = time.Hour
		f.enrol("acme", withSpare)
		f.tended(50 * time.Minute)
		f.token("acme")
		f.clients.client.PreviousSecret = secret("old secret")
		f.Clients = brokenClients{f.clients}
		f.tended(12 * time.Minute)
		if !strings.Contains(f.log.String(), "panic in an exchange") {
			t.Fatal("nothing went wrong")
		}
		f.Clients = f.clients
		f.tended(time.Hour)
		if presented := filter(f.server.posts(), "spare-0"); len(presented) != 1 {
			t.Errorf("the spare's token was presented %d times: %q", len(presented), f.server.posts())
		}
		if got := f.stored("acme").Spare.RefreshToken.Reveal(); got == "spare-0" || got == "rt-2" {
			t.Errorf("the spare is %s: it was not refreshed again", got)
		}
	})
}

func TestSurveyReadsAShareAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for i := range 20_000 {
			a, _, err := Change{RefreshToken: secret(fmt.Sprint("rt-", i))}.Apply("x", nil, clock())
			if err != nil {
				t.Fatal(err)
			}
			f.storage.entries[StoragePrefix+fmt.Sprintf("account-%05d", i)] = encode(a)
		}
		for minute := 1; minute <= 31; minute++ {
			before := f.storage.count("get")
			f.tended(time.Minute)
			if n := f.storage.count("get") - before; n > 670 {
				t.Fatalf("%d accounts were read in minute %d", n, minute)
			}
		}
		o := f.Overview(time.Now(), 10)
		if !o.Surveyed || o.Known != 20_000 || o.States[StateNew] != 20_000 {
			t.Errorf("after half an hour: known %d, surveyed %v, %v", o.Known, o.Surveyed, o.States)
		}
		slots := 0
		f.table.slots.Range(func(any, any) bool { slots++; return true })
		if slots > 0 {
			t.Errorf("%d accounts are in memory", slots)
		}
	})
}

func TestSurveyGoesOnWhereTheStorageFailedAndPassesOverWhatItCannotRead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.enrol("beta")
		f.storage.entries[StoragePrefix+"alien"] = []byte(`{"version":99}`)
		f.restart("process-2")
		f.storage.failing(errDisk, "get")
		f.tended(5 * time.Minute)
		f.wantPosts()
		f.storage.setFault(nil)
		f.tended(2 * time.Minute)
		f.wantPosts("rt-0")
		if o := f.Overview(time.Now(), 10); !o.Surveyed || o.Known != 2 {
			t.Errorf("%+v", o)
		}
	})
}

func TestSurveyPassesOverAnAccountThatTheStorageDoesNotGive(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for _, name := range []string{"acme", "beta", "zulu"} {
			f.enrol(name)
		}
		f.restart("process-2")
		f.storage.setFault(func(verb, key string) fault {
			if verb == "get" && key == StoragePrefix+"acme" {
				return fault{err: errDisk}
			}
			return fault{}
		})
		f.tended(3 * time.Minute)
		if o := f.Overview(time.Now(), 10); o.Surveyed || o.Known != 2 {
			t.Errorf("while one account cannot be read: %+v", o)
		}
		f.storage.setFault(nil)
		f.tended(2 * time.Minute)
		if o := f.Overview(time.Now(), 10); !o.Surveyed || o.Known != 3 {
			t.Errorf("when it can be read again: %+v", o)
		}
	})
}

func TestStatusFollowsEveryChange(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.AuthorizationLifetime = 100 * 24 * time.Hour
		f.enrol("acme")
		f.enrol("beta", withSpare)
		f.tended(time.Minute)
		want := func(what string, ok func(Overview) bool) {
			t.Helper()
			if o := f.Overview(time.Now().Add(90*24*time.Hour), 10); !ok(o) {
				t.Errorf("%s: %+v", what, o)
			}
		}
		want("enrolled", func(o Overview) bool {
			return o.Surveyed && o.States[StateNew] == 2 && o.Spares[SpareReady] == 1 && len(o.Ending) == 0 && len(o.Problems) == 0
		})
		f.token("acme")
		want("read", func(o Overview) bool { return o.States[StateNew] == 1 && o.States[StateReady] == 1 })
		f.server.next(rejected(oauth.CodeInvalidClient))
		f.refused("beta", KindClient)
		want("refused", func(o Overview) bool {
			return o.States[StateFailing] == 1 && len(o.Problems) == 1 && strings.Contains(o.Problems[0].Remedy, "clients/default")
		})
		if _, err := f.Delete(t.Context(), "beta", false, nil); err != nil {
			t.Fatal(err)
		}
		want("deleted", func(o Overview) bool { return o.Known == 1 && len(o.Problems) == 0 })
		f.tended(11 * 24 * time.Hour)
		want("old", func(o Overview) bool { return len(o.Ending) == 1 && !o.Ending["acme"].IsZero() })
	})
}

func TestPanicOfTheBackgroundWorkDoesNotEndTheProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var broken atomic.Bool
		settings := f.Settings
		f.Settings = func(ctx context.Context) (Settings, error) {
			if broken.Load() {
				panic("a defect")
			}
			return settings(ctx)
		}
		f.enrol("acme", auto)
		f.tended(time.Minute)
		broken.Store(true)
		f.tended(10 * time.Minute)
		broken.Store(false)
		f.tended(2 * time.Minute)
		if _, ok := f.Cached("acme", f.settings, Ask{}); !ok {
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
			writable = f.Writable
		)
		f.Writable = func() error {
			// Tend asks first, what begins the chore asks next.
			if broken.Load() && asked.Add(1)%2 == 0 {
				panic("a defect")
			}
			return writable()
		}
		f.enrol("acme", auto)
		broken.Store(true)
		f.tended(2 * maxChores * time.Minute)
		broken.Store(false)
		synctest.Wait()
		if n := strings.Count(f.log.String(), "panic in the background work"); n <= maxChores {
			t.Fatalf("%d panics", n)
		}
		f.tended(3 * time.Minute)
		if _, ok := f.Cached("acme", f.settings, Ask{}); !ok {
			t.Error("the account is not refreshed any more")
		}
	})
}

// The aim of the engine's scale: ten thousand accounts whose tokens live ten
// minutes, an hour long, and no read ever waits.
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
			c := Change{RefreshToken: secret(fmt.Sprint("rt-of-", i))}
			auto(&c)
			a, _, err := c.Apply("x", nil, clock())
			if err != nil {
				t.Fatal(err)
			}
			f.storage.entries[StoragePrefix+names[i]] = encode(a)
			f.storage.entries[AutoPrefix+names[i]] = []byte("{}")
		}
		f.Tend()
		time.Sleep(4 * time.Minute) // 10,000 at 50 a second
		for range 60 {
			f.Tend()
			for _, name := range names {
				if _, ok := f.Cached(name, f.settings, Ask{}); !ok {
					t.Fatalf("a read of %s would have waited at %s: %+v; %d exchanges", name, time.Now(), f.account(name), len(f.server.posts()))
				}
			}
			time.Sleep(time.Minute)
		}
		if posts := len(f.server.posts()); posts > 100_000 {
			t.Errorf("%d exchanges", posts)
		}
	})
}
