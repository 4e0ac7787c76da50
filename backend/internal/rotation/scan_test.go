package rotation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestScanReadsAShareAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for i := range 20_000 {
			a, _, err := account.Change{RefreshToken: secret(fmt.Sprint("rt-", i))}.Apply("x", nil, clock())
			if err != nil {
				t.Fatal(err)
			}
			f.storage.entries[StoragePrefix+fmt.Sprintf("account-%05d", i)] = account.Encode(a)
		}
		for minute := 1; minute <= 31; minute++ {
			before := f.storage.count("get")
			f.ticked(time.Minute)
			if n := f.storage.count("get") - before; n > 670 {
				t.Fatalf("%d accounts were read in minute %d", n, minute)
			}
		}
		o := f.Overview(time.Now(), 10)
		if !o.ScanComplete || o.Known != 20_000 || o.States[account.StateNew] != 20_000 {
			t.Errorf("after half an hour: known %d, scanned %v, %v", o.Known, o.ScanComplete, o.States)
		}
		slots := 0
		f.cache.entries.Range(func(any, any) bool { slots++; return true })
		if slots > 0 {
			t.Errorf("%d accounts are in memory", slots)
		}
	})
}

func TestScanGoesOnWhereTheStorageFailedAndPassesOverWhatItCannotRead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", auto)
		f.enrol("beta")
		f.storage.entries[StoragePrefix+"alien"] = []byte(`{"version":99}`)
		f.restart("process-2")
		f.storage.failing(errDisk, "get")
		f.ticked(5 * time.Minute)
		f.wantPosts()
		f.storage.setFault(nil)
		f.ticked(2 * time.Minute)
		f.wantPosts("rt-0")
		if o := f.Overview(time.Now(), 10); !o.ScanComplete || o.Known != 3 || len(o.Problems) != 1 || o.Problems[0].Account != "alien" {
			t.Errorf("%+v", o)
		}
	})
}

func TestScanPassesOverAnAccountThatTheStorageDoesNotGive(t *testing.T) {
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
		f.ticked(3 * time.Minute)
		if o := f.Overview(time.Now(), 10); o.ScanComplete || o.Known != 2 {
			t.Errorf("while one account cannot be read: %+v", o)
		}
		f.storage.setFault(nil)
		f.ticked(2 * time.Minute)
		if o := f.Overview(time.Now(), 10); !o.ScanComplete || o.Known != 3 {
			t.Errorf("when it can be read again: %+v", o)
		}
	})
}

func TestStatusFollowsEveryChange(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.AuthorizationLifetime = 100 * 24 * time.Hour
		f.enrol("acme")
		f.enrol("beta", withSpare)
		f.ticked(time.Minute)
		want := func(what string, ok func(Overview) bool) {
			t.Helper()
			if o := f.Overview(time.Now().Add(90*24*time.Hour), 10); !ok(o) {
				t.Errorf("%s: %+v", what, o)
			}
		}
		want("enrolled", func(o Overview) bool {
			return o.ScanComplete && o.States[account.StateNew] == 2 && o.Spares[account.SpareReady] == 1 && len(o.Ending) == 0 && len(o.Problems) == 0
		})
		f.token("acme")
		want("read", func(o Overview) bool { return o.States[account.StateNew] == 1 && o.States[account.StateReady] == 1 })
		f.server.next(rejected(oauth.CodeInvalidClient))
		f.refused("beta", account.KindClient)
		want("refused", func(o Overview) bool {
			return o.States[account.StateFailing] == 1 && len(o.Problems) == 1 && strings.Contains(o.Problems[0].Remedy, "clients/default")
		})
		if _, err := f.Delete(t.Context(), "beta", false); err != nil {
			t.Fatal(err)
		}
		want("deleted", func(o Overview) bool { return o.Known == 1 && len(o.Problems) == 0 })
		f.ticked(11 * 24 * time.Hour)
		want("old", func(o Overview) bool { return len(o.Ending) == 1 && !o.Ending["acme"].IsZero() })
	})
}

func TestAWriteOfTheConfigForgetsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.server.always = invalidGrant
		for _, name := range f.enrolMany(500) {
			f.refused(name, account.KindDead)
		}
		f.ticked(5 * time.Minute)
		f.settings.MinTTL = 3 * time.Minute
		for range 5 {
			f.ticked(time.Minute)
			if o := f.Overview(time.Now(), 1000); len(o.Problems) != 500 || o.States[account.StateDead] != 500 || !o.ScanComplete {
				t.Fatalf("%d problems, %v", len(o.Problems), o.States)
			}
		}
	})
}
