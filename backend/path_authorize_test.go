package backend

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
			{fields{"client": "nobody"}, 404, `the client "nobody" does not exist`},
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

func TestIssuerIsAnURL(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		for _, bad := range []string{"pagero", "http://sso.pageroonline.com", issuer + "?x=1", issuer + "#x"} {
			m.want(m.write("clients/default", fields{"issuer": bad}), 400, "issuer")
		}
		m.want(m.write("clients/default", fields{"issuer": issuer}), 204)
		m.wantData(m.read("clients/default"), fields{"issuer": issuer})
	})
}

func TestPasswordEnrolsAnAccount(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword + "\n", "min_ttl": "1m"}), 204)
		posts := m.wantPosts(2) // for the spare, too
		if posts[0].username != "alice" || posts[0].token != thePassword {
			t.Errorf("%+v", posts[0])
		}
		m.wantData(m.read("accounts/acme"), fields{"state": "ready", "spare": "ready", "keep_password": false, "min_ttl": 60})
		if strings.Contains(m.stored("account/acme"), `"credentials"`) {
			t.Error("the password is kept")
		}
		m.want(m.read("token/acme"), 200)
		m.wantPosts(0)
	})
}

// Who is told that the login goes on in the background must find that it did, also
// where it had not begun yet.
func TestPasswordEnrolsAnAccountWhoseWriterGoesAwayWhileItWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/other", minimalClient), 204)
		m.pagero.answersAfter(5 * time.Second)
		go m.read("token/acme")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		change := fields{"username": "alice", "password": thePassword, "client": "other"}
		m.want(m.doFor(ctx, logical.UpdateOperation, "accounts/acme", change), 503, "acme", "goes on in the background")
		m.pass(minute)
		m.wantData(m.read("accounts/acme"), fields{"client": "other", "state": "ready", "refresh_count": 0})
	})
}

func TestPasswordIsKeptWhereThatIsWanted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword, "keep_password": true}), 204)
		m.wantData(m.read("accounts/acme"), fields{"keep_password": true})
		if !strings.Contains(m.stored("account/acme"), `"password":"`+thePassword+`"`) {
			t.Error("the password is not kept")
		}
		m.wantPosts(2)
		m.want(m.write("accounts/acme", fields{"min_ttl": "1m"}), 204)
		m.wantData(m.read("accounts/acme"), fields{"keep_password": true})
		// Written again, as by Terraform, it gets no other grant.
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword, "keep_password": true}), 204)
		m.wantPosts(0)
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword + "-new"}), 204)
		m.wantPosts(2)
		m.wantData(m.read("accounts/acme"), fields{"keep_password": true})
		m.want(m.write("accounts/acme", fields{"keep_password": false}), 204)
		m.wantData(m.read("accounts/acme"), fields{"keep_password": false})
		if strings.Contains(m.stored("account/acme"), `"credentials"`) {
			t.Error("the password is still kept")
		}
	})
}

func TestPasswordRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		before := m.stored("account/acme")
		for _, test := range []struct {
			data fields
			text string
		}{
			{fields{"username": "alice"}, "go together"},
			{fields{"password": thePassword}, "go together"},
			{fields{"username": " ", "password": thePassword}, "go together"},
			{fields{"username": "alice", "password": "\n"}, "go together"},
			{fields{"username": "alice", "password": thePassword, "refresh_token": secondToken}, "either them or refresh tokens"},
			{fields{"keep_password": true}, "needs the username and the password"},
			{fields{"revoke": false}, "goes with delete"},
		} {
			m.want(m.write("accounts/acme", test.data), 400, "acme", test.text)
		}
		m.pagero.set(isDead)
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword}), 400, "refused the username or the password")
		m.wantPosts(1)
		if m.stored("account/acme") != before {
			m.t.Errorf("the account has changed to %s", m.stored("account/acme"))
		}
	})
}

func TestDeleteRevokesTheGrants(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 204)
		m.want(m.delete("accounts/acme"), 204)
		if got := strings.Join(m.pagero.revoked, " "); got != firstToken+" "+spareToken {
			t.Errorf("revoked %s", got)
		}

		m.pagero.revoked = nil
		m.want(m.write("accounts/acme", fields{"refresh_token": secondToken}), 204)
		m.want(m.do(logical.DeleteOperation, "accounts/acme", fields{"revoke": "false"}), 204)
		if len(m.pagero.revoked) > 0 {
			t.Errorf("revoked %q", m.pagero.revoked)
		}

		m.pagero.away = true
		m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 204)
		m.wantWarning(m.want(m.delete("accounts/acme"), 200), "was not revoked")
		m.want(m.read("accounts/acme"), 404)

		// Another server's tokens do not go to Pagero.
		m.pagero.revoked, m.pagero.away = nil, false
		m.want(m.write("config", fields{"allowed_hosts": "*.pageroonline.com,sso.example.com"}), 204)
		elsewhere := fields{"client_secret": clientSecret, "token_url": "https://sso.example.com/token"}
		m.want(m.write("clients/default", elsewhere), 204)
		m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 204)
		m.wantWarning(m.want(m.delete("accounts/acme"), 200), "no revoke_url that may be used")
		if len(m.pagero.revoked) > 0 {
			t.Errorf("revoked %q at another server", m.pagero.revoked)
		}
		m.want(m.write("clients/default", fields{"client_secret": clientSecret, "revoke_url": "https://sso.example.com/revoke"}), 204)
		m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 204)
		m.want(m.delete("accounts/acme"), 204)

		m.pagero.revoked = nil
		m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 204)
		m.want(m.write("config", fields{"allowed_hosts": "other.example.com"}), 204)
		m.wantWarning(m.want(m.delete("accounts/acme"), 200), "allowed_hosts")
		if len(m.pagero.revoked) > 0 {
			t.Errorf("revoked %q at a host that is not allowed", m.pagero.revoked)
		}
	})
}
