package rotation

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// A node that closes after it has lost the lead may be able to write again, when
// another node has led meanwhile.
func TestRescueCopyGivesWayToWhatAnotherNodeHasWritten(t *testing.T) {
	for name, c := range map[string]struct {
		written func(a account.Account) *account.Account // by the other node
		stays   bool
	}{
		"enrolled anew": {written: func(a account.Account) *account.Account {
			return applied(&a, account.Change{RefreshToken: secret("new")}, clock())
		}, stays: true},
		"another spare": {written: func(a account.Account) *account.Account {
			return applied(&a, account.Change{SpareRefreshToken: secret("new")}, clock())
		}, stays: true},
		"by a clock that is behind": {written: func(a account.Account) *account.Account {
			return applied(&a, account.Change{RefreshToken: secret("new")}, clock().Add(-time.Hour))
		}, stays: true},
		"the spare took over": {written: func(a account.Account) *account.Account {
			a.Generation += 2
			a.RetiredHashes = append(a.RetiredHashes, a.Grants[0].FirstTokenHash)
			a.Grants = a.Grants[1:]
			return &a
		}, stays: true},
		"only settings": {written: func(a account.Account) *account.Account {
			return applied(&a, account.Change{Settings: func(s *account.Settings) { s.MinTTL = time.Minute }}, clock())
		}},
		"nothing": {written: func(a account.Account) *account.Account { return &a }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.enrol("acme", withSpare)
				f.afterPost(errDisk, false)
				f.token("acme")
				written := c.written(*f.stored("acme"))
				f.storage.mu.Lock()
				f.storage.entries[StoragePrefix+"acme"] = account.Encode(written)
				f.storage.mu.Unlock()
				f.storage.setFault(nil)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if o := f.Overview(time.Now(), 10); o.Unsaved != 0 {
					t.Errorf("%d rescue copies are counted", o.Unsaved)
				}

				f.storage.mu.Lock()
				entry := string(f.storage.entries[StoragePrefix+"acme"])
				f.storage.mu.Unlock()
				if c.stays {
					if entry != string(account.Encode(written)) {
						t.Errorf("overwritten: %s", entry)
					}
					if a := f.account("acme"); a.Unsaved || !a.Grants[0].RefreshToken.Equal(written.Grants[0].RefreshToken) {
						t.Errorf("readers are shown %+v", a)
					}
				} else if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
					t.Errorf("the copy was not saved: stored %s", got)
				}
				if said := strings.Contains(f.log.String(), "is given up"); said != c.stays {
					t.Errorf("the log says that a copy was given up: %t", said)
				}
			})
		})
	}
}

// applied returns the account after a write by another node.
func applied(a *account.Account, c account.Change, at time.Time) *account.Account {
	a, _, err := c.Apply("acme", a, at)
	if err != nil {
		panic(err)
	}
	a.Generation++
	return a
}

// File storage on a volume that goes away has no entry; and another node may have
// deleted the account.
func TestRescueCopyOutlivesAStorageThatHasNoEntry(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.afterPost(errDisk, false)
		f.token("acme")
		f.storage.mu.Lock()
		entry := f.storage.entries[StoragePrefix+"acme"]
		delete(f.storage.entries, StoragePrefix+"acme")
		f.storage.mu.Unlock()
		f.storage.setFault(nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		f.storage.mu.Lock()
		if f.storage.entries[StoragePrefix+"acme"] != nil {
			t.Error("the copy was written although the entry is gone")
		}
		f.storage.entries[StoragePrefix+"acme"] = entry // the volume is back
		f.storage.mu.Unlock()
		if a := f.account("acme"); !a.Unsaved {
			t.Error("the copy was forgotten")
		}
		time.Sleep(2 * time.Minute)
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s", got)
		}
	})
}

func TestRescueCopyOfALoginThatMadeTheAccountIsSaved(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.storage.failing(errDisk, "put")
		f.logIn("acme", byCode())
		f.storage.setFault(nil)
		time.Sleep(2 * time.Minute)
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s", got)
		}
	})
}

// A write that was given up may commit late, and a storage may answer with an old copy.
// Memory knows what was saved last, and wins.
func TestStorageThatGoesBackBringsBackNoSpentToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.token("acme")
		f.storage.mu.Lock()
		old := f.storage.entries[StoragePrefix+"acme"]
		f.storage.mu.Unlock()
		time.Sleep(9 * time.Minute)
		f.token("acme")
		f.storage.mu.Lock()
		f.storage.entries[StoragePrefix+"acme"] = old
		f.storage.mu.Unlock()
		time.Sleep(9 * time.Minute)
		f.token("acme")
		f.wantPosts("rt-0", "rt-1", "rt-2")
		if a := f.stored("acme"); a.RefreshCount != 3 {
			t.Errorf("the storage has %d refreshes", a.RefreshCount)
		}
		if !strings.Contains(f.log.String(), "the storage holds an older state of the account than was saved") {
			t.Error(f.log.String())
		}
	})
}
