package rotation

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

func tokenOf(text string) account.Change { return account.Change{RefreshToken: secret(text)} }

func spareOf(text string) account.Change { return account.Change{SpareRefreshToken: secret(text)} }

// wantHeld writes to beta and wants to hear that acme holds the token.
func (f *fixture) wantHeld(c account.Change, field string) {
	f.t.Helper()
	err := f.write("beta", c)
	var e *account.Error
	if !errors.As(err, &e) || e.Kind != account.KindInvalid || e.Account != "beta" || !strings.Contains(e.Text, `the account "acme" holds this `+field+" already") {
		f.t.Errorf("%v", err)
	}
}

func (f *fixture) wantWritten(name string, c account.Change) {
	f.t.Helper()
	if err := f.write(name, c); err != nil {
		f.t.Error(err)
	}
}

func TestATokenOfAnotherAccountIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", withSpare)
		f.wantHeld(tokenOf("rt-0"), "refresh_token")
		f.wantHeld(tokenOf("spare-0"), "refresh_token")
		f.enrol("beta")
		f.wantHeld(spareOf("rt-0"), "spare_refresh_token")
		f.token("acme")
		for _, held := range []string{"rt-0", "rt-1", "spare-0"} { // rt-0 is spent, and would end the grant
			f.wantHeld(tokenOf(held), "refresh_token")
			f.wantHeld(spareOf(held), "spare_refresh_token")
		}
		f.wantHeld(account.Change{RefreshToken: secret("new"), SpareRefreshToken: secret("spare-0")}, "spare_refresh_token")
		f.token("beta")
		f.wantPosts("rt-0", "rt-0 of beta")
		// The account that holds them may write them again.
		for _, again := range []string{"rt-0", "rt-1"} {
			warnings, err := f.Write(t.Context(), "acme", tokenOf(again))
			if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "written before") {
				t.Errorf("%q, %v", warnings, err)
			}
		}
		f.wantWritten("gamma", tokenOf("new"))
	})
}

func TestATokenIsFreeOnceNoAccountHoldsIt(t *testing.T) {
	for name, leave := range map[string]func(f *fixture){
		"the account is deleted": func(f *fixture) {
			if _, err := f.Delete(f.t.Context(), "acme", false); err != nil {
				f.t.Error(err)
			}
		},
		"the grant is replaced, and the new one has worked": func(f *fixture) {
			f.wantWritten("acme", tokenOf("another"))
			f.wantHeld(tokenOf("rt-0"), "refresh_token") // it waits until then
			f.token("acme")
		},
		"another node has deleted the account": func(f *fixture) {
			f.storage.mu.Lock()
			delete(f.storage.entries, StoragePrefix+"acme")
			f.storage.mu.Unlock()
			f.Invalidate("acme")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(_ *testing.T, f *fixture) {
				f.enrol("acme")
				f.wantHeld(tokenOf("rt-0"), "refresh_token")
				leave(f)
				f.wantWritten("beta", tokenOf("rt-0"))
			})
		})
	}
}

func TestAScanLearnsWhichTokensAreHeld(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrol("acme")
		f.token("acme")
		f.Close()
		f.restart("process-2")
		f.Tick()
		synctest.Wait()
		f.wantHeld(tokenOf("rt-0"), "refresh_token")
		f.wantHeld(tokenOf("rt-1"), "refresh_token")
	})
}

func TestATokenThatWasNotWrittenIsFree(t *testing.T) {
	for _, late := range []bool{false, true} {
		inBubble(t, func(t *testing.T, f *fixture) {
			f.storage.setFault(func(verb, key string) fault {
				if verb == "put" && key == StoragePrefix+"acme" {
					return fault{err: errDisk, late: late}
				}
				return fault{}
			})
			if f.write("acme", tokenOf("rt-0")) == nil {
				t.Error("acme was written")
			}
			f.storage.setFault(nil)
			if late { // the write has taken effect: a reader finds out
				f.account("acme")
				f.wantHeld(tokenOf("rt-0"), "refresh_token")
				return
			}
			f.wantWritten("beta", tokenOf("rt-0"))
		})
	}
}

func TestTwoAccountsCannotBeGivenATokenAtTheSameTime(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.storage.faulty("put", fault{delay: time.Second})
		var (
			writes sync.WaitGroup
			mu     sync.Mutex
			given  []string
		)
		for _, name := range []string{"acme", "beta", "gamma", "delta"} {
			writes.Go(func() {
				if f.write(name, tokenOf("rt-0")) == nil {
					mu.Lock()
					defer mu.Unlock()
					given = append(given, name)
				}
			})
		}
		writes.Wait()
		if len(given) != 1 {
			t.Errorf("the token was given to %q", given)
		}
	})
}

// What the index knows of tokens does not grow with exchanges, writes and deletes.
func TestTheIndexForgetsTokensThatAreGone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for _, name := range []string{"acme", "beta"} {
			f.enrol(name)
			for range 5 {
				if _, err := f.Refresh(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := len(f.index.holders); n != 4 { // of each account the first token and the newest
			t.Errorf("%d tokens are known", n)
		}
		for _, name := range []string{"acme", "beta"} {
			if _, err := f.Delete(t.Context(), name, true); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(f.index.holders); n != 0 {
			t.Errorf("%d tokens are known of no account", n)
		}
	})
}
