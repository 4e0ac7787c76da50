package backend

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestAuthorizeRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.want(m.write("clients/none", minimalClient), 204)
		m.want(m.write("clients/default", with(minimalClient, fields{"redirect_uris": redirectURI})), 204)
		m.want(m.write("clients/two", with(minimalClient, fields{"redirect_uris": redirectURI + ",http://127.0.0.1:9999/cb"})), 204)
		for _, test := range []struct {
			data   fields
			status int
			text   string
		}{
			{fields{"client": "nobody"}, 404, "the client that the request names does not exist"},
			{fields{"client": "none"}, 400, "has no redirect_uris"},
			{fields{"client": "two"}, 400, "say which one"},
			{fields{"redirect_uri": "https://evil.example.com/v1/pagero/callback"}, 400, "is not one of the redirect_uris"},
			{fields{"redirect_uri": redirectURI + "/"}, 400, "is not one of the redirect_uris"},
			{fields{"redirect_uri": redirectURI + "?next=https://evil.example.com"}, 400, "is not one of the redirect_uris"},
			{fields{"ttl": "25h"}, 400, "ttl"},
			{fields{"ttl": "0"}, 400, "ttl"},
			{fields{"ttl": "-1s"}, 400, "ttl"},
			{fields{"response_mode": "fragment"}, 400, "response_mode"},
			{fields{"prompt": "create"}, 400, "prompt"},
		} {
			a := m.want(m.do(logical.UpdateOperation, "authorize/acme", test.data), test.status, test.text)
			if test.status == 400 && !strings.Contains(a.text, "acme") && !strings.Contains(a.text, "ttl") {
				t.Errorf("the account is not named: %s", a)
			}
		}
		if keys, err := m.storage.List(t.Context(), "login/"); err != nil || len(keys) > 0 {
			t.Errorf("%q, %v", keys, err)
		}
		m.want(m.do(logical.UpdateOperation, "authorize/acme", fields{"client": "two", "redirect_uri": redirectURI}), 200)
	})
}

func TestAuthorizeGoesToAllowedHostsOnly(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("config", fields{"allowed_hosts": "other.example.com"}), 204)
		m.want(m.do(logical.UpdateOperation, "authorize/acme", nil), 400, "acme", "allowed_hosts")
	})
}

func TestAuthorizeTakesTheAccountsClient(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("clients/other", fields{"client_id": "other-app", "client_secret": clientSecret, "redirect_uris": redirectURI}), 204)
		m.want(m.write("accounts/acme", fields{"client": "other", "refresh_token": firstToken, "spare_refresh_token": spareToken}), 204)
		if l := m.authorizeAccount(nil); l.Get("client_id") != "other-app" {
			t.Errorf("%v", l)
		}
		// Another client's login takes the account over, without the old client's spare.
		l := m.authorizeAccount(fields{"client": "default"})
		m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne}), 200)
		m.wantData(m.read("accounts/acme"), fields{"client": "default", "spare": "none"})
	})
}
