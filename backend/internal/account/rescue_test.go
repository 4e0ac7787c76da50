package account

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// A node that closes after it has lost the lead may be able to write again, when another one
// has led meanwhile.
func TestRescueCopyGivesWayToWhatAnotherNodeWasTold(t *testing.T) {
	for name, c := range map[string]struct {
		written func(a Account) *Account // by the other node; nil: it deleted the account
		stays   bool
	}{
		"enrolled anew":             {written: func(a Account) *Account { return granted(a, clock()) }, stays: true},
		"another spare":             {written: func(a Account) *Account { return spared(a, clock()) }, stays: true},
		"by a clock that is behind": {written: func(a Account) *Account { return granted(a, clock().Add(-time.Hour)) }, stays: true},
		"the spare took over":       {written: func(a Account) *Account { a.Grant = *a.Spare; a.Spare = nil; return &a }, stays: true},
		"deleted":                   {written: func(Account) *Account { return nil }, stays: true},
		"the old token was rejected": {written: func(a Account) *Account {
			a.Spare, a.Grant.Death = nil, &Death{Time: clock(), Code: oauth.CodeInvalidGrant}
			return &a
		}},
		"nothing": {written: func(a Account) *Account { return &a }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.enrol("acme", withSpare)
				f.afterPost(errDisk, false)
				f.token("acme")
				written := c.written(*f.stored("acme"))
				f.storage.mu.Lock()
				if delete(f.storage.entries, StoragePrefix+"acme"); written != nil {
					f.storage.entries[StoragePrefix+"acme"] = encode(written)
				}
				f.storage.mu.Unlock()
				f.storage.setFault(nil)
				time.Sleep(2 * maxBackOff)
				synctest.Wait()
				if o := f.Overview(time.Now(), 10); o.Unsaved != 0 {
					t.Errorf("%d rescue copies are counted", o.Unsaved)
				}

				f.storage.mu.Lock()
				entry, there := f.storage.entries[StoragePrefix+"acme"]
				f.storage.mu.Unlock()
				switch {
				case !c.stays:
					if got := f.stored("acme").Grant.RefreshToken.Reveal(); got != "rt-1" {
						t.Errorf("the copy was not saved: stored %s", got)
					}
				case there != (written != nil) || there && string(entry) != string(encode(written)):
					t.Errorf("overwritten: %s", entry)
				case written == nil:
					f.refused("acme", KindNotFound)
				default:
					if a := f.account("acme"); a.Unsaved || !a.Grant.RefreshToken.Equal(written.Grant.RefreshToken) {
						t.Errorf("readers are shown %+v", a)
					}
				}
				if told := strings.Contains(f.log.String(), "is given up"); told != c.stays {
					t.Errorf("the log tells of a copy given up: %t", told)
				}
			})
		})
	}
}

func TestRescueCopyOfALoginIsSaved(t *testing.T) {
	enrolled := Account{}.withGrant(secret("old"), clock()).withSpare(secret("spare"), clock())
	for name, c := range map[string]struct{ copied, stored *Account }{
		"of an account that the login makes": {copied: granted(Account{}, clock())},
		// The node that enrolled it has a clock that is ahead.
		"in place of a grant":             {copied: granted(enrolled, clock().Add(-time.Hour)), stored: &enrolled},
		"in place of a spare":             {copied: spared(enrolled, clock().Add(-time.Hour)), stored: &enrolled},
		"of which an earlier Put held":    {copied: granted(enrolled, clock()), stored: granted(enrolled, clock())},
		"after a write that did not hold": {copied: granted(enrolled.withGrant(secret("between"), clock()), clock()), stored: &enrolled},
	} {
		if c.copied.overtakenBy(c.stored) {
			t.Errorf("%s: it gives way", name)
		}
	}
}

func granted(a Account, at time.Time) *Account {
	a = a.withGrant(secret("new"), at)
	return &a
}

func spared(a Account, at time.Time) *Account {
	a = a.withSpare(secret("new"), at)
	return &a
}
