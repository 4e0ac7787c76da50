package rotation

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestAccountsThatOnlyChoresTouchDoNotStayInMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.KeepaliveInterval = 24 * time.Hour
		for i := range 20 {
			f.enrol(fmt.Sprint("account-", i))
		}
		f.restart("process-2")
		f.ticked(72 * time.Hour)
		if n := len(f.server.posts()); n < 40 {
			t.Errorf("%d exchanges", n)
		}
		if cached := f.cached(); len(cached) > 2 {
			t.Errorf("in memory: %v", cached)
		}
	})
}

// cached returns the names of the accounts that are in memory.
func (f *fixture) cached() (names []string) {
	f.cache.entries.Range(func(name, s any) bool {
		if s.(*entry).cached.Load() != nil {
			names = append(names, name.(string))
		}
		return true
	})
	slices.Sort(names)
	return names
}

func TestAccountsThatNobodyReadsLeaveMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.server.lifetime = 24 * time.Hour
		for _, name := range []string{"read", "left"} {
			f.enrol(name)
			f.token(name)
		}
		f.enrol("auto", auto)
		f.ticked(time.Minute)
		for range 9 {
			if _, ok := f.Cached("read", f.settings, account.ReadRequest{}); !ok {
				t.Error("an account that is read has left memory")
			}
			f.ticked(5 * time.Minute)
		}
		if cached := f.cached(); !slices.Equal(cached, []string{"auto", "read"}) {
			t.Errorf("in memory: %v", cached)
		}
		posts, gets := len(f.server.posts()), f.storage.count("get")
		f.token("left")
		f.token("left")
		if n := f.storage.count("get") - gets; n != 1 {
			t.Errorf("%d storage reads for an account that came back into memory", n)
		}
		if n := len(f.server.posts()); n != posts {
			t.Error("an account that left memory lost its token")
		}
	})
}

func TestWhatTheStorageDoesNotHaveStaysInMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.afterPost(errDisk, false)
		token := f.token("acme")
		f.ticked(5 * evictInterval)
		f.storage.setFault(nil)
		f.ticked(evictInterval)
		if a := f.account("acme"); a.Unsaved || a.Access.Token != token.Token.Token {
			t.Errorf("the rescue copy was not saved: %+v", a)
		}
	})
}

func TestDeathThatIsNotSavedStaysInMemory(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(rejected(oauth.CodeInvalidGrant))
		f.afterPost(errDisk, false)
		f.refused("acme", account.KindDead)
		f.ticked(5 * evictInterval)
		f.wantState("acme", account.StateDead)
		f.refused("acme", account.KindDead)
		f.wantPosts("rt-0")
	})
}

// slowReader is a storage whose answers to reads are on the way for a while.
type slowReader struct {
	*memory
	slow atomic.Bool
}

func (s *slowReader) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.memory.Get(ctx, key)
	if s.slow.Load() {
		time.Sleep(time.Second)
	}
	return value, err
}

func TestReadThatBeganBeforeAnEvictionIsNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.cache.evictUnused()
		storage := &slowReader{memory: f.storage}
		f.store.storage = storage
		storage.slow.Store(true)
		go f.Get(t.Context(), "acme") //nolint:errcheck // it reads what is old in a moment
		synctest.Wait()
		storage.slow.Store(false)
		f.enrol("acme", func(c *account.Change) { c.RefreshToken = secret("rt-newer") })
		f.cache.evictUnused()
		time.Sleep(2 * time.Second)
		if cached := f.cached(); len(cached) > 0 {
			t.Error("a read that began before a write and an eviction was kept")
		}
	})
}
