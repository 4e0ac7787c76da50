package backend

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const (
	redirectURI = "https://vault.example.com/v1/pagero/callback"
	issuer      = "https://sso.pageroonline.com/oauth/v2/oauth-anonymous"
	codeOne     = "code-" + canary + "-acme-1"
	codeTwo     = "code-" + canary + "-acme-2"
	thePassword = "pw-" + canary + "-acme"
)

// withLogins sets up the client "default" with a redirect URI.
func (m *mount) withLogins() {
	m.t.Helper()
	m.want(m.write("clients/default", fields{"client_id": "our-app", "client_secret": clientSecret, "redirect_uris": redirectURI}), 204)
}

// authorizeAccount begins a login and returns the parameters of its URL.
func (m *mount) authorizeAccount(data fields) url.Values {
	m.t.Helper()
	return m.loginOf(m.want(m.do(logical.UpdateOperation, "authorize/acme", data), 200))
}

func (m *mount) loginOf(a answer) url.Values {
	m.t.Helper()
	text, _ := a.data["authorization_url"].(string)
	u, err := url.Parse(text)
	if err != nil || u.Host != "sso.pageroonline.com" || u.Query().Get("state") != a.data["state"] {
		m.t.Fatalf("the URL of %s is not one", a)
	}
	return u.Query()
}

// visit is what a browser does after a login: a GET with what the server put
// into the query.
func (m *mount) visit(data fields) answer {
	m.t.Helper()
	return m.do(logical.ReadOperation, "callback", data)
}

func (m *mount) wantPage(a answer, status int, parts ...string) answer {
	m.t.Helper()
	m.want(a, status)
	if !strings.HasPrefix(a.page, "<!DOCTYPE html>") || strings.Contains(a.page, "<script") {
		m.t.Errorf("that is no page: %s", a)
	}
	for _, part := range parts {
		if !strings.Contains(a.page, part) {
			m.t.Errorf("the page lacks %q:\n%s", part, a.page)
		}
	}
	return a
}

func TestLoginConnectsAnAccountThatIsNew(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("clients/default", fields{"scopes": "all,openid"}), 204)
		l := m.authorizeAccount(nil)
		for name, want := range map[string]string{
			"response_type": "code", "client_id": "our-app", "redirect_uri": redirectURI, "scope": "all openid",
			"code_challenge_method": "S256", "prompt": "", "response_mode": "",
		} {
			if l.Get(name) != want {
				t.Errorf("%s is %q, not %q", name, l.Get(name), want)
			}
		}
		m.want(m.read("accounts/acme"), 404)

		m.restart() // a login survives a restart and a failover
		m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne, "session_state": "whatever"}), 200, "acme is connected")
		sent := m.wantPosts(1)[0]
		if sent.token != codeOne || sent.code.RedirectURI != redirectURI || len(sent.code.Verifier.Reveal()) != 43 {
			t.Errorf("%+v", sent)
		}
		token := m.want(m.read("token/acme"), 200).token()
		m.wantPosts(0)
		m.wantData(m.read("accounts/acme"), fields{"state": "ready", "client": "default", "authorized_time": bubbleStart})
		m.restart()
		if m.want(m.read("token/acme"), 200).token() != token {
			t.Error("the token was not saved")
		}
	})
}

func TestLoginLeavesAnAccountAloneUntilItCompletes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.withLogins()
		m.want(m.read("token/acme"), 200)
		before := m.stored("account/acme")
		l := m.authorizeAccount(fields{"prompt": "login"})
		if l.Get("prompt") != "login" || m.stored("account/acme") != before {
			t.Errorf("prompt %q, account %s", l.Get("prompt"), m.stored("account/acme"))
		}
		m.pagero.take()
		m.visit(fields{"state": l.Get("state"), "code": codeOne})
		m.wantData(m.read("accounts/acme"), fields{"refresh_count": 0, "state": "ready"})
		m.want(m.write("refresh/acme", nil), 200)
		if posts := m.wantPosts(2); !strings.HasPrefix(posts[1].token, codeOne+"#") {
			t.Errorf("the exchange was made with %s", posts[1].token)
		}
	})
}

func TestLoginByAFormIsAnsweredWithAPage(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"response_mode": "form_post"})
		if l.Get("response_mode") != "form_post" {
			t.Errorf("%v", l)
		}
		post := fields{"state": l.Get("state"), "code": codeOne}
		m.wantPage(m.do(logical.UpdateOperation, "callback", post), 200, "acme is connected")
		// Even if the login is no longer known.
		m.wantPage(m.do(logical.UpdateOperation, "callback", post), 400, "new link")
		m.wantPosts(1)
	})
}

func TestLoginByACommandIsAnsweredWithData(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true})
		a := m.want(m.do(logical.UpdateOperation, "callback", fields{"state": l.Get("state"), "code": codeOne}), 200)
		m.wantData(a, fields{"account": "acme", "spare": "none", "expire_time": "2000-01-01T00:10:00Z"})
		next := m.loginOf(a)
		a = m.want(m.do(logical.UpdateOperation, "callback", fields{"state": next.Get("state"), "code": codeTwo}), 200)
		m.wantData(a, fields{"account": "acme", "spare": "ready"})
		m.want(m.do(logical.UpdateOperation, "callback", fields{"state": next.Get("state"), "code": codeTwo}), 400, "not known here any more")
		m.wantPosts(2)
	})
}

func TestLoginGetsASpareInTheSameVisit(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true, "prompt": "login"})
		page := m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne}), 200, `http-equiv="refresh"`, "acme is connected").page
		_, text, _ := strings.Cut(page, `content="0; url=`)
		text, _, _ = strings.Cut(text, `"`)
		u, err := url.Parse(strings.ReplaceAll(text, "&amp;", "&"))
		if err != nil {
			t.Fatal(err)
		}
		next := u.Query()
		if next.Get("prompt") != "" || next.Get("state") == l.Get("state") || next.Get("code_challenge") == l.Get("code_challenge") {
			t.Errorf("the second login is %v", next)
		}
		m.wantPage(m.visit(fields{"state": next.Get("state"), "code": codeTwo}), 200, "with a spare grant")
		m.wantData(m.read("accounts/acme"), fields{"spare": "ready"})
		m.pagero.take()
		m.pagero.set(func(p post) oauth.Result {
			if strings.HasPrefix(p.token, codeOne) {
				return isDead(p)
			}
			return m.pagero.grant(p)
		})
		m.want(m.write("refresh/acme", nil), 200)
		m.wantPosts(2)
		m.wantData(m.read("accounts/acme"), fields{"spare": "used"})
	})
}

func TestNoSecretOfALoginGetsOut(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true})
		keys, err := m.storage.List(t.Context(), "login/")
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		entry := m.stored("login/" + keys[0])
		_, verifier, _ := strings.Cut(entry, `"code_verifier":"`)
		verifier, _, _ = strings.Cut(verifier, `"`)
		if len(verifier) != 43 || strings.Contains(entry, l.Get("state")) {
			t.Fatalf("the entry is %s", entry)
		}
		pages := []string{
			m.visit(fields{"state": l.Get("state"), "code": codeOne}).page,
			m.visit(fields{"state": l.Get("state"), "code": codeOne}).page,
			l.Encode(),
		}
		m.stop()
		for _, text := range append(pages, m.log.String(), m.sentEvents()) {
			if strings.Contains(text, verifier) || strings.Contains(text, canary) {
				t.Errorf("a secret is in\n%s", text)
			}
		}
	})
}

// The login for the spare has a time of its own. If it ended with the first one's, it
// would have ended before the browser got there.
func TestSpareLoginHasItsOwnTime(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true, "ttl": "1h"})
		m.pass(time.Hour - time.Second)
		a := m.want(m.do(logical.UpdateOperation, "callback", fields{"state": l.Get("state"), "code": codeOne}), 200)
		m.wantData(a, fields{"spare": "none", "expire_time": "2000-01-01T01:09:59Z"})
		next := m.loginOf(a)
		m.pass(defaultLoginTTL - time.Second)
		m.want(m.do(logical.UpdateOperation, "callback", fields{"state": next.Get("state"), "code": codeTwo}), 200)
		m.wantData(m.read("accounts/acme"), fields{"spare": "ready"})
	})
}
