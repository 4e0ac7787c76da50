package examples

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

// A reader must not be able to force an exchange, neither with the query nor with the body. Readers with a template need the
// capability update.
func TestAReaderCannotForceAnExchange(t *testing.T) {
	t.Parallel()
	f := newPolicyFixture(t)
	rules := document.Read(t, "examples/policies/reader.hcl")
	withUpdate := strings.Replace(rules, `capabilities = ["read"]`, `capabilities = ["read", "update"]`, 1)
	if !strings.Contains(rules, `["read", "update"]`) || withUpdate == rules {
		t.Error("reader.hcl does not say what a template with a parameter needs")
	}
	reader, template := f.WithPolicy(rules), f.WithPolicy(withUpdate)
	token := reader.AccessToken("acme")
	for _, wish := range []string{"9m", "24h", "8760h"} {
		a := reader.Read("token/acme?min_ttl=" + wish)
		a.WantWarning("half")
		b := template.Write("token/acme", fixture.Fields{"min_ttl": wish})
		b.WantWarning("half")
		if a.Text("access_token") != token || b.Text("access_token") != token {
			t.Errorf("min_ttl=%s brought another token", wish)
		}
	}
	for _, as := range []*fixture.Fixture{reader, template} {
		as.Do(http.MethodPost, "refresh/acme", nil).WantError(http.StatusForbidden, "permission denied")
		as.Do(http.MethodGet, "token/other", nil).WantError(http.StatusForbidden, "permission denied")
		as.Do(http.MethodPost, "token/other", fixture.Fields{"min_ttl": "1m"}).WantError(http.StatusForbidden, "permission denied")
		as.Do(http.MethodPost, "accounts/acme", fixture.Fields{"refresh_on_read": true}).WantError(http.StatusForbidden, "permission denied")
		// Another spelling of the path does not lead to another account.
		for _, path := range []string{"token/acme/../other", "token/acme%2f..%2fother", "token//other", "token/ACME", "token/acme/"} {
			if a := as.Do(http.MethodGet, path, nil); a.Status < 400 || strings.Contains(string(a.Raw), "access_token") {
				t.Errorf("%s: status %d: %s", path, a.Status, a.Raw)
			}
		}
	}
	f.WantExchanges(1)
}

// An enroller can enrol accounts in both ways, and cannot read their tokens.
func TestAnEnrollerEnrolsAndReadsNoToken(t *testing.T) {
	t.Parallel()
	f := newPolicyFixture(t)
	enroller := f.WithPolicy(document.Read(t, "examples/policies/enroller.hcl"))

	pages := enroller.Visit(enroller.Authorize("by-login", fixture.Fields{"spare": true}))
	f.WantPage(pages[len(pages)-1], http.StatusOK, "connected")
	enroller.Write("accounts/by-token", fixture.Fields{
		"refresh_token": f.Login("carol"), "spare_refresh_token": f.Login("carol"), "client": "default", "auto_refresh": false, "min_ttl": "3m",
	})
	enroller.Write("accounts/by-token", fixture.Fields{"spare_refresh_token": f.Login("carol")})
	for _, account := range []string{"by-login", "by-token"} {
		if spare := enroller.Read("accounts/" + account).Text("spare"); spare != "ready" {
			t.Errorf("the spare of %s is %q", account, spare)
		}
		enroller.Do(http.MethodGet, "token/"+account, nil).WantError(http.StatusForbidden, "permission denied")
		f.WantAPIAccepts(f.AccessToken(account))
	}
}

// Vault enforces allowed_parameters for external plugins, too: whether or not the account exists, in any letter case, and in
// a form.
func TestAnEnrollersFieldsAreLimited(t *testing.T) {
	t.Parallel()
	f := newPolicyFixture(t)
	enroller := f.WithPolicy(document.Read(t, "examples/policies/enroller.hcl"))
	before := fixture.Canonical(t, f.Read("accounts/acme").Data)
	logins := len(f.Sandbox.Requests())
	for _, body := range []fixture.Fields{
		{"username": "alice", "password": "alice-password"},
		{"username": "alice"},
		{"password": "x"},
		{"keep_password": true},
		{"refresh_on_read": true},
		{"Refresh_On_Read": true},
		{"REFRESH_ON_READ": true},
		{"revoke": false},
		{"unknown": 1},
	} {
		for _, account := range []string{"acme", "nobody"} {
			enroller.Do(http.MethodPost, "accounts/"+account, body).WantError(http.StatusForbidden, "permission denied")
			also := maps.Clone(body) // together with an allowed parameter
			also["min_ttl"] = "3m"
			enroller.Do(http.MethodPost, "accounts/"+account, also).WantError(http.StatusForbidden, "permission denied")
		}
	}
	form := url.Values{"refresh_on_read": {"true"}}
	request, err := http.NewRequestWithContext(f.Ctx, http.MethodPost, f.Node.Address+"/v1/pagero/accounts/acme", strings.NewReader(form.Encode()))
	fixture.Must(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Vault-Token", enroller.Token)
	response, err := http.DefaultClient.Do(request)
	fixture.Must(t, err)
	fixture.Must(t, response.Body.Close())
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("a form: status %d", response.StatusCode)
	}
	// The query of a write has no effect, so it is no way around the policy.
	enroller.Write("accounts/acme?refresh_on_read=true", fixture.Fields{"min_ttl": "0"})
	if after := fixture.Canonical(t, f.Read("accounts/acme").Data); after != before {
		t.Errorf("acme was\n%s\nand is\n%s", before, after)
	}
	if got := len(f.Sandbox.Requests()); got != logins {
		t.Errorf("%d requests reached the authorization server", got-logins)
	}
	f.Do(http.MethodGet, "accounts/nobody", nil).WantStatus(http.StatusNotFound)
}

// Only the plugin operator has access to sys/, and no more than necessary.
func TestRolesHaveNoAccessToVaultItself(t *testing.T) {
	t.Parallel()
	f := newPolicyFixture(t)
	names, _ := policyTable(t)
	// TestEveryStoredFormIsReadAfterAnUpgrade shows that the policy is sufficient.
	catalog := "plugins/catalog/secret/" + fixture.PluginName + "?version=" + fixture.PluginVersion
	operators := map[string]bool{ // what the plugin operator may do
		"GET mounts": true, "GET mounts/pagero/tune": true, "POST mounts/pagero/tune": true, "GET " + catalog: true,
		"POST plugins/reload/secret/vault-plugin-pagero": true, "POST plugins/reload/backend": true, "POST quotas/rate-limit/pagero-callback": true,
	}
	for role, as := range asRoles(f, names) {
		sys := *as
		sys.Mount = "sys"
		for _, c := range []struct {
			method, path string
			body         fixture.Fields
		}{
			{http.MethodGet, "mounts", nil},
			{http.MethodGet, "mounts/pagero/tune", nil},
			{http.MethodGet, catalog, nil},
			{http.MethodPost, "mounts/pagero/tune", fixture.Fields{"description": "x"}},
			{http.MethodPost, "plugins/reload/secret/vault-plugin-pagero", nil},
			{http.MethodPost, "plugins/reload/backend", fixture.Fields{"mounts": "pagero/"}},
			// Other mounts. The question mark makes these requests differ from the allowed one.
			{http.MethodPost, "plugins/reload/backend?", fixture.Fields{"mounts": "secret/"}},
			{http.MethodPost, "plugins/reload/backend?", fixture.Fields{"mounts": []string{"pagero/", "secret/"}}},
			{http.MethodPost, "plugins/reload/backend?", fixture.Fields{"plugin": "kv"}},
			{http.MethodPost, "quotas/rate-limit/pagero-callback", fixture.Fields{"path": "pagero/callback", "rate": 1000}},
			{http.MethodPost, "quotas/rate-limit/another", fixture.Fields{"rate": 1000}},
			{http.MethodDelete, "mounts/pagero", nil},
			{http.MethodDelete, "mounts/secret", nil},
			{http.MethodPost, "mounts/secret/tune", fixture.Fields{"description": "x"}},
			{http.MethodPost, "remount", fixture.Fields{"from": "pagero", "to": "elsewhere"}},
			{http.MethodPost, "plugins/catalog/secret/another", fixture.Fields{"sha256": "00", "command": "x"}},
			{http.MethodPost, "plugins/reload/secret/another", nil},
			{http.MethodGet, "policies/acl?list=true", nil},
			{http.MethodPost, "policies/acl/more", fixture.Fields{"policy": `path "*" { capabilities = ["sudo"] }`}},
			{http.MethodGet, "raw/core/mounts", nil},
			{http.MethodPost, "seal", nil},
			{http.MethodPost, "audit/more", fixture.Fields{"type": "file"}},
		} {
			request := c.method + " " + c.path
			a := sys.Do(c.method, c.path, c.body)
			switch {
			case operators[request] && role == "plugin-operator":
				if a.Status >= 300 {
					t.Errorf("%s: %s: status %d: %s", role, request, a.Status, a.Raw)
				}
			case a.Status != http.StatusForbidden:
				t.Errorf("%s: %s %v: status %d: %s", role, request, c.body, a.Status, a.Raw)
			}
		}
	}
}
