package backend

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

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

func TestAccountDeleteForgetsIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		m.want(m.delete("accounts/acme"), 204)
		m.want(m.delete("accounts/acme"), 204)
		m.want(m.read("token/acme"), 404, "acme", "accounts/acme")
		m.want(m.write("refresh/acme", nil), 404, "acme", "accounts/acme")
		m.want(m.read("accounts/acme"), 404, "acme", "accounts/acme")
		m.want(m.list("accounts/", nil), 404)
		if m.stored("account/acme") != "" {
			t.Error("the entry is still there")
		}
		m.wantPosts(1)
		m.want(m.write("accounts/acme", fields{"refresh_token": secondToken}), 204)
		m.want(m.read("token/acme"), 200)
	})
}
