package backend

import (
	"testing"
	"testing/synctest"
	"time"
)

// tended lets time pass. Vault calls periodic every minute.
func (m *mount) tended(d time.Duration) {
	m.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := m.periodic(m.t.Context(), nil); err != nil {
			m.t.Fatal(err)
		}
		m.pass(minute)
	}
}

func TestAutoRefreshIsSwitchedOnAndOff(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.tended(3 * minute)
		m.wantPosts(0)
		m.want(m.write("accounts/acme", fields{"auto_refresh": true}), 204)
		m.wantData(m.read("accounts/acme"), fields{"auto_refresh": true})
		m.tended(60 * minute)
		if n := len(m.pagero.take()); n < 7 || n > 10 {
			t.Errorf("%d exchanges in an hour", n)
		}
		m.restart()
		m.tended(60 * minute)
		if n := len(m.pagero.take()); n < 7 || n > 10 {
			t.Errorf("%d exchanges in an hour after a restart", n)
		}
		m.want(m.write("accounts/acme", fields{"auto_refresh": false}), 204)
		m.tended(60 * minute)
		m.wantPosts(0)
		if keys, err := m.storage.List(t.Context(), "auto/"); err != nil || len(keys) > 0 {
			t.Errorf("%q, %v", keys, err)
		}
	})
}

func TestIdleGrantIsKeptAlive(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 204)
		m.want(m.write("config", fields{"keepalive_interval": "24h"}), 204)
		m.tended(25 * time.Hour)
		m.wantPosts(2)
		m.want(m.write("config", fields{"keepalive_interval": "0"}), 204)
		m.tended(50 * time.Hour)
		m.wantPosts(0)
	})
}

// Vault holds a lock that all other work waits for while it calls periodic.
func TestKickWaitsForNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"auto_refresh": true}), 204)
		m.pagero.answersAfter(10 * time.Second)
		began := time.Now()
		for range 10 {
			if err := m.periodic(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(began) > 0 {
			t.Errorf("it took %s", time.Since(began))
		}
		synctest.Wait()
		m.pass(11 * time.Second)
		m.wantPosts(1)
	})
}
