package rotation

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

func TestCachedReadTakesNoLockAndNoStorage(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.enrol("beta")
		f.token("acme")
		f.token("beta")
		f.server.next(grantAfter(10 * time.Second))
		go f.Refresh(t.Context(), "acme") //nolint:errcheck // hangs on purpose
		synctest.Wait()
		before := f.storage.count("get") + f.storage.count("put")
		start := time.Now()
		for _, name := range []string{"acme", "beta"} {
			if _, ok := f.Cached(name, f.settings, account.ReadRequest{}); !ok {
				t.Errorf("%s is not answered from memory while acme's exchange hangs", name)
			}
			f.token(name)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("cached reads waited %s", d)
		}
		if n := f.storage.count("get") + f.storage.count("put") - before; n != 0 {
			t.Errorf("cached reads cost %d storage operations", n)
		}
	})
}

func TestReaderWithALivingTokenWaitsAFewSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.token("acme")
		time.Sleep(500 * time.Second)
		f.server.next(grantAfter(10 * time.Second))
		start := time.Now()
		a := f.token("acme")
		if d := time.Since(start); d != staleWait {
			t.Errorf("waited %s, want %s", d, staleWait)
		}
		if a.Token.Token.Reveal() != "at-for-rt-0" || len(a.Warnings) != 1 || a.TTL != 3*time.Second {
			t.Errorf("got %+v", a)
		}
		time.Sleep(10 * time.Second)
		if a := f.token("acme"); a.Token.Token.Reveal() != "at-for-rt-1" {
			t.Errorf("got %+v", a)
		}
		f.wantPosts("rt-0", "rt-1")
	})
}

// Of those who read again and again while an exchange hangs each would otherwise wait
// the full time at each read.
func TestReadersWithALivingTokenDoNotWaitForAnExchangeThatTakesLong(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.token("acme")
		time.Sleep(500 * time.Second)
		f.server.next(grantAfter(10 * time.Second))
		f.token("acme")
		for range 3 {
			start := time.Now()
			a := f.token("acme")
			if d := time.Since(start); d != 0 {
				t.Errorf("waited %s for an exchange that has taken %s", d, staleWait)
			}
			if a.Token.Token.Reveal() != "at-for-rt-0" || len(a.Warnings) != 1 || a.TTL != 3*time.Second {
				t.Errorf("got %+v", a)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		if a := f.token("acme"); a.Token.Token.Reveal() != "at-for-rt-1" {
			t.Errorf("got %+v", a)
		}
		f.wantPosts("rt-0", "rt-1")
	})
}

func TestRereadAfterTheTTLReturnsAnotherToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		for range 50 {
			first := f.token("acme")
			time.Sleep(first.TTL - time.Millisecond)
			if again := f.token("acme"); again.Token != first.Token {
				t.Fatal("the token was replaced before its ttl was over")
			}
			time.Sleep(time.Second + time.Millisecond)
			if next := f.token("acme"); next.Token == first.Token {
				t.Fatal("the same token 1 s after its ttl")
			}
		}
	})
}

func TestReadersOfShortLivedTokensDoNotReplaceThemOnEveryRead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.server.lifetime = 2 * time.Second
		f.enrol("acme")
		for range 100 {
			f.token("acme")
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(f.server.posts()); n > 11 {
			t.Errorf("%d exchanges in 10 s with tokens of 2 s", n)
		}
	})
}

func TestRefreshOnReadExchangesAtEveryRead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", func(c *account.Change) { c.Settings = func(s *account.Settings) { s.RefreshOnRead = true } })
		for range 3 {
			f.token("acme")
			f.token("acme") // shares it
			time.Sleep(10 * time.Second)
		}
		f.wantPosts("rt-0", "rt-1", "rt-2")
		f.server.next(grantAfter(time.Second))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { f.token("acme") })
		}
		wg.Wait()
		f.wantPosts("rt-0", "rt-1", "rt-2", "rt-3")
		time.Sleep(10 * time.Second)
		f.server.next(unreachable)
		if a := f.token("acme"); len(a.Warnings) != 1 {
			t.Errorf("a failed refresh on read gives no warning: %+v", a)
		}
	})
}

func TestUnknownNamesLeaveNothingInMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.refused("nobody", account.KindNotFound)
		if f.cache.find("nobody") != nil {
			t.Error("a read of an unknown account made a slot")
		}
	})
}

func TestUnreadableEntryIsLeftAsItIs(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for name, entry := range map[string]string{"broken": `{"version":1,"grant"`, "newer": `{"version":99}`, "empty": ``} {
			f.storage.entries[StoragePrefix+name] = []byte(entry)
			e := f.refused(name, account.KindStorage)
			if strings.Contains(e.Error(), entry) && entry != "" {
				t.Errorf("the error shows the entry: %v", e)
			}
			if string(f.storage.entries[StoragePrefix+name]) != entry {
				t.Errorf("%s was overwritten", name)
			}
		}
	})
}

func TestInvalidatedAccountIsReadAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.token("acme")
		other := f.stored("acme")
		other.MinTTL = 42 * time.Second
		f.storage.entries[StoragePrefix+"acme"] = account.Encode(other)
		if got := f.account("acme").MinTTL; got != 0 {
			t.Fatalf("min_ttl %s before the invalidation", got)
		}
		f.Invalidate("acme")
		if got := f.account("acme").MinTTL; got != 42*time.Second {
			t.Errorf("min_ttl %s after the invalidation", got)
		}
	})
}

func TestInvalidationBeatsAReadUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.restart("process-2") // with an empty memory
		defer f.Close()
		f.storage.faulty("get", fault{delay: time.Second})
		go f.Get(t.Context(), "acme") //nolint:errcheck // it fills the cache, or must not
		synctest.Wait()
		f.Invalidate("acme")
		time.Sleep(2 * time.Second)
		if s := f.cache.find("acme"); s != nil && s.cached.Load() != nil {
			t.Error("a read that began before an invalidation was kept")
		}
	})
}

func TestReadersDoNotWaitForEachOthersAccounts(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("slow")
		f.enrol("fast")
		f.server.next(grantAfter(10 * time.Second))
		go f.Token(t.Context(), "slow", account.ReadRequest{}) //nolint:errcheck // hangs on purpose
		synctest.Wait()
		start := time.Now()
		f.token("fast")
		if d := time.Since(start); d > 0 {
			t.Errorf("fast waited %s for slow", d)
		}
	})
}
