package backend

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestRefreshRunsTheGrantWhateverTheTokensAge(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		first := m.want(m.read("token/acme"), 200)
		m.pass(time.Second)
		a := m.want(m.write("refresh/acme", nil), 200)
		m.wantData(a, fields{
			"state": "ready", "refresh_count": 2, "last_refresh_time": "2000-01-01T00:00:01Z", "access_token_expire_time": "2000-01-01T00:10:01Z",
		})
		m.wantPosts(2)
		if m.want(m.read("token/acme"), 200).token() == first.token() {
			t.Error("readers still get the old token")
		}
		m.wantPosts(0)
	})
}

func TestRefreshAnswersWithTheAccountAndWithoutAToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		refreshed := m.want(m.write("refresh/acme", nil), 200) // the harness looks for the token
		account := m.want(m.read("accounts/acme"), 200)
		if !maps.Equal(refreshed.data, account.data) {
			t.Errorf("%s and %s", refreshed, account)
		}
	})
}

func TestRefreshFailsAsATokenReadDoes(t *testing.T) {
	t.Parallel()
	for _, test := range troubles {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, m *mount) {
				m.enrol()
				m.want(m.write("refresh/acme", nil), 200)
				m.wantPosts(1)
				// A valid token is no answer to a request for an exchange.
				m.pagero.set(test.behave)
				m.want(m.write("refresh/acme", nil), test.status, append([]string{`account "acme"`}, test.texts...)...)
				m.wantPosts(test.posts)
				// A back-off and a death are overridden, once a call.
				m.want(m.write("refresh/acme", nil), test.status)
				m.wantPosts(1)
				m.pagero.set(nil)
				m.wantData(m.want(m.write("refresh/acme", nil), 200), fields{"state": "ready", "refresh_count": 2})
				m.wantPosts(1)
				m.wantNoWarning(m.want(m.read("token/acme"), 200))
			})
		})
	}
}

func TestRefreshOfADeadAccountTriesOnceACall(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.pagero.set(isDead)
		m.want(m.read("token/acme"), 400)
		m.wantPosts(1)
		for range 3 {
			m.want(m.write("refresh/acme", nil), 400, "reauthorization required")
			m.wantPosts(1)
			m.want(m.read("token/acme"), 400, "reauthorization required")
			m.wantPosts(0)
		}
		m.restart()
		m.want(m.write("refresh/acme", nil), 400, "reauthorization required")
		m.wantPosts(1)
	})
}

func TestRefreshJoinsAnExchangeUnderWay(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.pagero.answersAfter(2 * time.Second)
		var callers sync.WaitGroup
		for _, path := range []string{"refresh/acme", "token/acme", "refresh/acme", "token/acme", "refresh/acme"} {
			callers.Go(func() {
				if a := m.do(logical.UpdateOperation, path, nil); a.status != 200 {
					t.Errorf("%s", a)
				}
			})
		}
		callers.Wait()
		m.wantPosts(1)
		m.wantData(m.read("accounts/acme"), fields{"refresh_count": 1})
	})
}

func TestRefreshOfWhatDoesNotExist(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.want(m.write("refresh/nobody", nil), 404, "nobody", "accounts/nobody")
		m.want(m.read("token/nobody"), 404, "nobody", "accounts/nobody")
		m.want(m.write("token/nobody", nil), 404, "nobody")
		m.want(m.read("accounts/nobody"), 404, "nobody")
		m.enrol()
		m.want(m.delete("clients/default"), 204)
		m.want(m.write("refresh/acme", nil), 404, `account "acme"`, `client "default" does not exist`, "clients/default")
		m.wantPosts(0)
	})
}

func TestRefreshIsAnUpdateAndNothingElse(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		for _, op := range []logical.Operation{logical.ReadOperation, logical.DeleteOperation, logical.ListOperation, logical.CreateOperation, logical.PatchOperation} {
			m.want(m.do(op, "refresh/acme", nil), 405)
		}
		m.want(m.write("refresh/acme", fields{"min_ttl": "1m"}), 400, "min_ttl")
		m.wantPosts(0)
		operations := slices.Sorted(maps.Keys(m.Route("refresh/acme").Operations))
		if !slices.Equal(operations, []logical.Operation{logical.UpdateOperation}) {
			t.Errorf("the operations are %v", operations)
		}
	})
}
