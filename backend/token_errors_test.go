package backend

import (
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// troubles are the ways in which an exchange can fail, with the error that a reader
// without a token gets.
var troubles = []struct {
	name   string
	behave func(post) oauth.Result
	status int
	texts  []string
	posts  int // exchanges that the first read makes
	wait   time.Duration
}{
	{"the grant is dead", isDead, 400, []string{"invalid_grant", "log in", "accounts/acme"}, 1, 0},
	{"the client is refused", rejects(oauth.CodeInvalidClient, 401), 400, []string{"invalid_client", "clients/default", "untouched"}, 1, time.Hour},
	{"the client is not authorized", rejects(oauth.CodeUnauthorizedClient, 400), 400, []string{"unauthorized_client", "clients/default"}, 1, time.Hour},
	{"the grant type is not supported", rejects(oauth.CodeUnsupportedGrantType, 400), 400, []string{"unsupported_grant_type"}, 1, time.Hour},
	{"the request is refused", rejects(oauth.CodeInvalidRequest, 400), 400, []string{"invalid_request"}, 1, time.Hour},
	{"the code is not registered", rejects(oauth.CodeOther, 400), 400, []string{"unregistered_error_code"}, 1, time.Hour},
	{"the server is busy", rejects("", 429), 503, []string{"429", "untouched", "next attempt at 2000-"}, 1, time.Second},
	{"the server is not available", rejects(oauth.CodeTemporarilyUnavailable, 400), 503, []string{"temporarily_unavailable"}, 1, time.Second},
	{"the server cannot be reached", isUnreachable, 503, []string{"untouched", "token_url"}, 1, time.Second},
	{"no answer comes", isSilent, 503, []string{"in doubt since 2000-", "exchange_timeout"}, 2, time.Second},
}

func TestTokenErrorsSayWhatHappenedAndAreQuietAfterwards(t *testing.T) {
	t.Parallel()
	for _, test := range troubles {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.enrol()
				m.pagero.set(test.behave)
				a := m.want(m.read("token/acme"), test.status, append([]string{`account "acme"`}, test.texts...)...)
				m.wantPosts(test.posts)
				dead := test.name == "the grant is dead"
				if strings.HasPrefix(a.text, "reauthorization required") != dead {
					t.Errorf("the text begins wrongly: %s", a)
				}
				// The wait survives a restart.
				if again := m.want(m.read("token/acme"), test.status); again.text != a.text && test.wait > time.Second {
					t.Errorf("the second answer is another one: %s", again)
				}
				m.restart()
				m.want(m.read("token/acme"), test.status)
				m.wantPosts(0)

				m.pagero.set(nil)
				if dead {
					m.pass(1000 * time.Hour)
					m.want(m.read("token/acme"), 400, "reauthorization required")
					m.wantPosts(0)
					return
				}
				m.pass(test.wait + 2*minute)
				m.want(m.read("token/acme"), 200)
				if p := m.wantPosts(1)[0]; p.token != firstToken {
					t.Errorf("the exchange was made with %s", p.token)
				}
			})
		})
	}
}

func TestTokenThatStillLivesIsServedWithAWarningWhereItsRefreshFails(t *testing.T) {
	t.Parallel()
	for _, test := range troubles {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.enrol()
				first := m.want(m.read("token/acme"), 200)
				m.pass(481 * time.Second)
				m.pagero.set(test.behave)
				m.pagero.take()
				for range 3 {
					a := m.want(m.read("token/acme"), 200)
					m.wantWarning(a, "2000-01-01T00:10:00Z") // until when the token lives
					if a.token() != first.token() || a.data["ttl"].(int64) < 3 {
						t.Errorf("%s", a)
					}
					for field := range first.data {
						if field != "ttl" && a.data[field] != first.data[field] {
							t.Errorf("%s became %v", field, a.data[field])
						}
					}
				}
				m.wantPosts(test.posts)
				m.pass(119 * time.Second)
				m.want(m.read("token/acme"), test.status)
			})
		})
	}
}

func TestTokenIsServedWhereTheExchangeTakesLong(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		token := m.want(m.read("token/acme"), 200).token()
		m.pass(481 * time.Second)
		m.pagero.answersAfter(10 * time.Second)
		began := time.Now()
		a := m.want(m.read("token/acme"), 200)
		m.wantWarning(a, "background")
		if took := time.Since(began); a.token() != token || took > 3*time.Second {
			t.Errorf("after %s: %s", took, a)
		}
		m.pass(10 * time.Second)
		if m.want(m.read("token/acme"), 200).token() == token {
			t.Error("the exchange has not gone on")
		}
		m.wantPosts(2)
	})
}

func TestTokenWithoutAnAccessTokenInTheAnswerKeepsTheRefreshToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.pagero.set(func(sent post) oauth.Result {
			r := m.pagero.grant(sent)
			r.Tokens.AccessToken = oauth.Secret{}
			return r
		})
		m.want(m.read("token/acme"), 503, "acme", "the refresh token is saved")
		m.pagero.set(nil)
		m.restart()
		m.pass(minute)
		m.want(m.read("token/acme"), 200)
		if posts := m.wantPosts(2); posts[1].token != firstToken+"#1" {
			t.Errorf("the second exchange was made with %s", posts[1].token)
		}
	})
}

func TestTokenOfAnUnsavedPairIsServedWithAWarningUntilItIsSaved(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.storage.fail(fault{verb: put, key: "account/", skip: 1}) // the announcement goes well
		a := m.want(m.read("token/acme"), 200)
		m.wantWarning(a, "not saved yet")
		m.wantWarning(m.want(m.read("token/acme"), 200), "not saved yet")
		m.wantWarning(m.want(m.read("accounts/acme"), 200), "not saved yet")
		m.want(m.write("refresh/acme", nil), 500, "held in memory")
		m.wantPosts(1)
		m.storage.heal()
		m.pass(2 * minute)
		m.restart()
		again := m.want(m.read("token/acme"), 200)
		if again.token() != a.token() {
			t.Errorf("another token came: %s", again)
		}
		m.wantNoWarning(again)
		m.want(m.write("refresh/acme", nil), 200)
		if p := m.wantPosts(1)[0]; p.token != firstToken+"#1" {
			t.Errorf("the second exchange was made with %s", p.token)
		}
	})
}

func TestTokenOfAnEntryThatCannotBeReadIsAnErrorAndLeavesIt(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{
		`{"version":99,"grant":{"refresh_token":"` + firstToken + `"}}`, `{"grant":{"refresh_token":"` + firstToken + `"}}`, firstToken, `{}`,
	} {
		inBubble(t, func(t *testing.T, m *mount) {
			m.enrol()
			m.restart()
			if err := m.storage.Put(t.Context(), entryOf("account/acme", entry)); err != nil {
				t.Fatal(err)
			}
			m.want(m.read("token/acme"), 500, `account "acme"`, "left as it is")
			m.want(m.write("refresh/acme", nil), 500)
			m.want(m.read("accounts/acme"), 500)
			m.want(m.write("accounts/acme", fields{"refresh_token": secondToken}), 500)
			m.wantPosts(0)
			if got := m.stored("account/acme"); got != entry {
				t.Errorf("the entry became %s", got)
			}
			// Only a delete gets rid of it.
			m.wantWarning(m.want(m.delete("accounts/acme"), 200), "was not revoked")
			m.want(m.write("accounts/acme", fields{"refresh_token": secondToken}), 204)
			m.want(m.read("token/acme"), 200)
		})
	}
}
