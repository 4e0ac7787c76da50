package backend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// Each question to Vault is a round trip, and so is each operation on its storage:
// an exchange asks once, reads the account and the client, and writes twice.
func TestTokenReadThatExchangesAsksVaultOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		m.pass(10 * minute)
		operations, questions := m.storage.count(), m.system.count()
		m.want(m.read("token/acme"), 200)
		m.wantPosts(2)
		if n := m.system.count() - questions; n != 1 {
			t.Errorf("it took %d questions to Vault", n)
		}
		if n := m.storage.count() - operations; n != 4 {
			t.Errorf("it took %d storage operations", n)
		}
	})
}

func TestTokenReadersWhoJoinAnExchangeCostVaultNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		m.pass(10 * minute)
		m.pagero.answersAfter(time.Second)
		var readers sync.WaitGroup
		read := func() {
			if a := m.read("token/acme"); a.status != 200 || len(a.warnings) > 0 {
				t.Error(a)
			}
		}
		readers.Go(read)
		synctest.Wait()
		operations, questions := m.storage.count(), m.system.count()
		for range 50 {
			readers.Go(read)
		}
		synctest.Wait()
		if n := m.storage.count() + m.system.count() - operations - questions; n != 0 {
			t.Errorf("joining took %d round trips", n)
		}
		readers.Wait()
		m.wantPosts(2)
		if n := m.storage.count() - operations; n != 1 { // the exchange's own write
			t.Errorf("it took %d storage operations", n)
		}
		if n := m.system.count() - questions; n != 0 {
			t.Errorf("it took %d questions to Vault", n)
		}
		metrics := m.want(m.read("metrics"), 200).page
		if want := `pagero_token_reads_total{source="exchange"} 52`; !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not say %s", want)
		}
	})
}

// A reader that has a valid token does not wait for a whole exchange, even if another
// reader began it.
func TestTokenReaderWithALivingTokenJoinsForAFewSeconds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		m.pass(9 * minute)
		m.pagero.answersAfter(10 * time.Second)
		go m.read("token/acme")
		synctest.Wait()
		start := time.Now()
		a := m.want(m.read("token/acme"), 200)
		if d := time.Since(start); d > 3*time.Second || len(a.warnings) != 1 {
			t.Errorf("after %s: %s", d, a)
		}
		m.wantPosts(2)
	})
}

func TestTokenReaderWhoJoinsAnExchangeAndGoesAwayIsToldSo(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.pagero.answersAfter(5 * time.Second)
		first := make(chan answer, 1)
		go func() { first <- m.read("token/acme") }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		m.want(m.doFor(ctx, logical.ReadOperation, "token/acme", nil), 503, "the request ended before the exchange did")
		if d := time.Since(start); d != time.Second {
			t.Errorf("he was told after %s", d)
		}
		m.want(<-first, 200)
		m.wantPosts(1)
	})
}

func TestTokenReadsAtOnceShareOneExchange(t *testing.T) {
	t.Parallel()
	for _, onRead := range []bool{false, true} {
		for name, behave := range map[string]func(post) oauth.Result{"granted": nil, "dead": isDead, "unreachable": isUnreachable} {
			t.Run(fmt.Sprintf("%s,refresh_on_read=%v", name, onRead), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(t *testing.T, m *mount) {
					m.enrol()
					m.want(m.write("accounts/acme", fields{"refresh_on_read": onRead}), 204)
					m.pagero.answersAfter(time.Second)
					m.pagero.set(behave)
					var (
						readers sync.WaitGroup
						mu      sync.Mutex
						seen    = map[string]bool{}
					)
					for range 50 {
						readers.Go(func() {
							a := m.do(logical.ReadOperation, "token/acme", nil)
							mu.Lock()
							defer mu.Unlock()
							seen[fmt.Sprint(a.status, a.token())] = true
						})
					}
					readers.Wait()
					m.wantPosts(1)
					if len(seen) != 1 {
						t.Errorf("the answers are %v", seen)
					}
				})
			})
		}
	}
}

func TestTokenReaderWhoGoesAwayChangesNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.pagero.answersAfter(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m.want(m.doFor(ctx, logical.ReadOperation, "token/acme", nil), 503, "acme")
		m.pass(10 * time.Second)
		m.want(m.read("token/acme"), 200)
		m.wantPosts(1)
		m.wantData(m.read("accounts/acme"), fields{"refresh_count": 1})
	})
}
