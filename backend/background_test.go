package backend

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
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

// Vault holds a lock that all other work waits for while it calls periodic. A question
// to Vault is a round trip.
func TestTickWaitsForNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"auto_refresh": true}), 204)
		m.pagero.answersAfter(10 * time.Second)
		m.system.answersAfter(time.Second)
		began, asked := time.Now(), m.system.count()
		if err := m.Initialize(t.Context(), &logical.InitializationRequest{Storage: m.storage}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := m.periodic(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(began) > 0 || m.system.count() != asked {
			t.Errorf("it took %s and asked %d questions", time.Since(began), m.system.count()-asked)
		}
		m.pass(20 * time.Second)
		m.wantPosts(1)
	})
}

// Vault calls Initialize when it starts the plugin. A server with a grace period answers
// the same refresh token again for some seconds only.
func TestDoubtOfAKilledProcessIsSettledAtTheStart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.tended(minute) // the mark that the plugin runs is written
		m.pagero.answersAfter(time.Hour)
		killed := m.backend
		go func() {
			_, _ = killed.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "token/acme"})
		}()
		m.pass(time.Second)
		defer killed.Cleanup(t.Context())

		// Whatever it does from here on, the next process does not see it.
		m.storage = m.storage.snapshot(t)
		m.pagero = &pagero{t: t, spent: map[string]bool{}, busy: map[string]bool{}}
		m.backend = m.start(m.storage)
		if err := m.Initialize(t.Context(), &logical.InitializationRequest{Storage: m.storage}); err != nil {
			t.Fatal(err)
		}
		m.pass(25 * time.Second) // the intent's own time, and 2 s more
		m.wantPosts(1)
		m.wantData(m.read("accounts/acme"), fields{"state": "ready"})
	})
}

func TestWrittenClientEndsTheWaitsOfItsAccountsWithoutAReader(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"auto_refresh": true}), 204)
		m.pagero.set(rejects(oauth.CodeInvalidClient, 401))
		m.tended(30 * minute)
		m.pagero.take()
		m.pagero.set(nil)
		m.want(m.write("clients/default", fields{"client_secret": clientSecret + "-right"}), 204)
		m.pass(2 * time.Second)
		m.wantPosts(1)
		m.wantData(m.read("accounts/acme"), fields{"state": "ready"})
	})
}

func TestDeletedClientAndItsReturnAreSeenWithoutAReader(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"auto_refresh": true}), 204)
		m.want(m.delete("clients/default"), 204)
		m.tended(2 * minute)
		m.wantPosts(0)
		m.wantData(m.read("accounts/acme"), fields{"state": "failing"})
		m.want(m.write("clients/default", minimalClient), 204)
		m.pass(2 * time.Second)
		m.wantPosts(1)
		m.wantData(m.read("accounts/acme"), fields{"state": "ready"})
	})
}

func TestWrittenConfigEndsTheWaitsForAllowedHosts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"auto_refresh": true}), 204)
		allow := func(hosts string) { m.want(m.write("config", fields{"allowed_hosts": hosts}), 204) }
		for name, again := range map[string]func(){
			"written": func() { allow("*.pageroonline.com") },
			"reset":   func() { m.want(m.delete("config"), 204) },
		} {
			allow("other.example")
			m.want(m.write("refresh/acme", nil), 400, "allowed_hosts")
			m.tended(11 * minute)
			m.wantPosts(0)
			again()
			m.pass(2 * time.Second)
			if n := len(m.pagero.take()); n != 1 {
				t.Errorf("%s: %d exchanges", name, n)
			}
		}
	})
}
