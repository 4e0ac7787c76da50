package backend

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

// All tests of this package look for secrets in every answer and in the log. This test
// makes all traffic that could show one, and checks that the search would find it.
func TestNoSecretGetsOut(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 204)
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		everything := func() {
			for _, path := range []string{"config", "clients/default", "accounts/acme", "token/acme", "clients/nobody", "accounts/nobody", "token/nobody"} {
				m.read(path)
			}
			m.list("clients/", nil)
			m.list("accounts/", nil)
			m.write("token/acme", fields{"min_ttl": "4m"})
			m.write("refresh/acme", nil)
			m.write("accounts/acme", fields{"refresh_token": firstToken})
			m.write("accounts/acme", fields{"spare_refresh_token": spareToken})
			m.write("accounts/acme", fields{"refresh_token": spareToken})
			m.write("accounts/acme", fields{"client": "nobody", "refresh_token": "rt-" + canary + "-x"})
			m.pass(time.Hour)
		}
		everything()
		m.pagero.knows(clientSecret)
		everything()
		for _, trouble := range troubles {
			m.pagero.set(trouble.behave)
			everything()
		}
		m.want(m.write("accounts/acme", fields{"refresh_token": secondToken, "spare_refresh_token": "rt-" + canary + "-spare"}), 204)
		m.pagero.set(func(sent post) oauth.Result {
			if sent.token == secondToken {
				return isDead(sent)
			}
			return m.pagero.grant(sent)
		})
		everything()
		m.pagero.set(nil)
		everything()
		for _, v := range []verb{get, put, remove, list} {
			for _, after := range []bool{false, true} {
				// Storage errors name keys, never values.
				m.storage.fail(fault{verb: v, after: after}, fault{verb: v, after: after, err: errors.New("disk full")})
				everything()
				m.storage.mend()
				m.restart()
			}
		}
		m.storage.fail(fault{verb: put, key: "account/", skip: 1})
		m.read("token/acme")
		m.pass(minute)
		m.storage.mend()
		m.pass(2 * minute)
		m.stop()

		stored := m.stored("account/acme") + m.stored("client/default")
		for _, secret := range []string{"rt-" + canary, "at-" + canary, "cs-" + canary} {
			if !strings.Contains(stored, secret) {
				t.Errorf("%s is not even stored: this test would find nothing", secret)
			}
		}
		for _, line := range []string{"token refreshed", "exchange failed", "grant died", "spare has taken over", "account written", "client written", "not saved yet"} {
			if !strings.Contains(m.log.String(), line) {
				t.Errorf("the log has no line %q: not all kinds of traffic were there", line)
			}
		}
		synctest.Wait()
		for _, event := range []rotation.EventType{
			rotation.EventRefreshed, rotation.EventRefreshFailed, rotation.EventReauthorizationRequired, rotation.EventSpareUsed, rotation.EventWritten,
		} {
			if !strings.Contains(m.sentEvents(), eventPrefix+string(event)+" ") {
				t.Errorf("no event %s was sent: not all kinds of traffic were there", event)
			}
		}
	})
}

// The framework repeats a value that it cannot read in its error, and Vault
// writes the error of an existence check to its log.
func TestSecretsOfTheWrongTypeAreNotRepeated(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		for _, test := range []struct{ path, field string }{
			{"clients/default", "client_secret"},
			{"clients/new", "client_secret"},
			{"accounts/acme", "refresh_token"},
			{"accounts/new", "refresh_token"},
			{"accounts/acme", "spare_refresh_token"},
		} {
			for _, value := range []any{
				fields{"value": firstToken}, []string{firstToken}, []any{fields{"x": clientSecret}}, true, fields{},
			} {
				data := fields{test.field: value}
				m.want(m.write(test.path, data), 400, test.field+" must be a string") // looks at the existence check, too
				checked, _, err := m.HandleExistenceCheck(t.Context(), &logical.Request{
					Operation: logical.CreateOperation, Path: test.path, Data: asJSON(t, data),
				})
				if err == nil || checked {
					t.Errorf("the existence check of %s takes %v", test.path, data)
				}
			}
		}
		m.want(m.do(logical.UpdateOperation, "config", fields{"refresh_token": fields{"x": firstToken}}), 400)
		m.want(m.do(logical.UpdateOperation, "token/acme", fields{"client_secret": fields{"x": clientSecret}}), 400)
	})
}

func TestSecretsThatLookLikeNumbersAreTaken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/default", fields{"client_secret": 12345678901234567}), 204)
		m.want(m.read("token/acme"), 200)
		if got := m.wantPosts(1)[0].secret(); got != "12345678901234567" {
			t.Errorf("the client secret was used as %s", got)
		}
	})
}

// A panic in an exchange must not take the account with it.
func TestPanicInAnExchangeIsAnErrorWithoutSecrets(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.pagero.set(func(post) oauth.Result { panic("simulated") })
		m.want(m.read("token/acme"), 500, `account "acme"`)
		m.pagero.set(nil)
		m.pagero.mu.Lock()
		m.pagero.busy = map[string]bool{}
		m.pagero.mu.Unlock()
		m.pass(2 * minute)
		m.want(m.read("token/acme"), 200)
	})
}
