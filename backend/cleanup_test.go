package backend

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoginExpires(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"ttl": "1h"})
		m.pass(time.Hour)
		m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne}), 400, "not known here any more")
		m.wantPosts(0)

		later := m.authorizeAccount(fields{"ttl": "24h"})
		if keys, err := m.storage.List(t.Context(), "login/"); err != nil || len(keys) != 2 {
			t.Fatalf("%q, %v", keys, err)
		}
		if err := m.periodic(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if keys, err := m.storage.List(t.Context(), "login/"); err != nil || len(keys) != 1 {
			t.Errorf("%q, %v: what has expired is removed, and nothing else", keys, err)
		}
		m.wantPage(m.visit(fields{"state": later.Get("state"), "code": codeOne}), 200)
	})
}

func TestCleanupIsRareAndEndsWithTheMount(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		kicks := func(n int) int {
			before := m.storage.count()
			for range n {
				if err := m.periodic(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				m.pass(minute)
			}
			return m.storage.count() - before
		}
		kicks(10) // the accounts are scanned, once
		if n := kicks(100); n != 10 {
			t.Errorf("the storage was used %d times in 100 minutes", n)
		}
		m.stop()
		if n := kicks(20); n != 0 {
			t.Errorf("the storage was used %d times after the end", n)
		}
	})
}

func TestPanicOfTheCleanupDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.authorizeAccount(fields{"ttl": "1m"})
		m.pass(2 * minute)
		works := m.logins.Now
		m.logins.Now = func() time.Time { panic("simulated") }
		if err := m.periodic(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m.logins.Now = works
		if !strings.Contains(m.log.String(), "panic in the background work") {
			t.Fatal("nothing went wrong")
		}
		m.tended(11 * minute)
		if keys, err := m.storage.List(t.Context(), "login/"); err != nil || len(keys) > 0 {
			t.Errorf("%q, %v: the cleanup has not gone on", keys, err)
		}
	})
}
