package acceptance

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A reader is not to force an exchange: neither in the query nor, where his policy has update for
// consul-template's sake, in the body.
func TestAReaderCannotForceAnExchange(t *testing.T) {
	t.Parallel()
	s := newPolicyStage(t)
	rules := repoFile(t, "examples/policies/reader.hcl")
	withUpdate := strings.Replace(rules, `capabilities = ["read"]`, `capabilities = ["read", "update"]`, 1)
	if !strings.Contains(rules, `["read", "update"]`) || withUpdate == rules {
		t.Error("reader.hcl does not say what a template with a parameter needs")
	}
	reader, template := s.as(rules), s.as(withUpdate)
	token := reader.accessToken("acme")
	for _, wish := range []string{"9m", "24h", "8760h"} {
		a := reader.read("token/acme?min_ttl=" + wish)
		a.wantWarning("half")
		b := template.write("token/acme", fields{"min_ttl": wish})
		b.wantWarning("half")
		if a.text("access_token") != token || b.text("access_token") != token {
			t.Errorf("min_ttl=%s brought another token", wish)
		}
	}
	for _, as := range []*stage{reader, template} {
		as.do(http.MethodPost, "refresh/acme", nil).wantError(http.StatusForbidden, "permission denied")
		as.do(http.MethodGet, "token/other", nil).wantError(http.StatusForbidden, "permission denied")
		as.do(http.MethodPost, "token/other", fields{"min_ttl": "1m"}).wantError(http.StatusForbidden, "permission denied")
		as.do(http.MethodPost, "accounts/acme", fields{"refresh_on_read": true}).wantError(http.StatusForbidden, "permission denied")
		// Nor does a name that is spelled in another way lead to another account.
		for _, path := range []string{"token/acme/../other", "token/acme%2f..%2fother", "token//other", "token/ACME", "token/acme/"} {
			if a := as.do(http.MethodGet, path, nil); a.status < 400 || strings.Contains(string(a.raw), "access_token") {
				t.Errorf("%s: status %d: %s", path, a.status, a.raw)
			}
		}
	}
	s.wantExchanges(1)
}

// An enroller does the two things that he is for, from nothing to a token that works, and reads none.
func TestAnEnrollerEnrolsAndReadsNoToken(t *testing.T) {
	t.Parallel()
	s := newPolicyStage(t)
	enroller := s.as(repoFile(t, "examples/policies/enroller.hcl"))

	pages := enroller.visit(enroller.authorize("by-login", fields{"spare": true}))
	s.wantPage(pages[len(pages)-1], http.StatusOK, "connected")
	enroller.write("accounts/by-token", fields{
		"refresh_token": s.login("carol"), "spare_refresh_token": s.login("carol"), "client": "default", "auto_refresh": false, "min_ttl": "3m",
	})
	enroller.write("accounts/by-token", fields{"spare_refresh_token": s.login("carol")})
	for _, account := range []string{"by-login", "by-token"} {
		if spare := enroller.read("accounts/" + account).text("spare"); spare != "ready" {
			t.Errorf("the spare of %s is %q", account, spare)
		}
		enroller.do(http.MethodGet, "token/"+account, nil).wantError(http.StatusForbidden, "permission denied")
		s.wantAPIAccepts(s.accessToken(account))
	}
}

// Vault enforces allowed_parameters for an external plugin, too: whether the account exists or not,
// whatever the case of the letters, and in a form.
func TestAnEnrollersFieldsAreLimited(t *testing.T) {
	t.Parallel()
	s := newPolicyStage(t)
	enroller := s.as(repoFile(t, "examples/policies/enroller.hcl"))
	before := canonical(t, s.read("accounts/acme").Data)
	logins := len(s.sandbox.Requests())
	for _, body := range []fields{
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
			enroller.do(http.MethodPost, "accounts/"+account, body).wantError(http.StatusForbidden, "permission denied")
			also := maps.Clone(body) // beside what is allowed
			also["min_ttl"] = "3m"
			enroller.do(http.MethodPost, "accounts/"+account, also).wantError(http.StatusForbidden, "permission denied")
		}
	}
	form := url.Values{"refresh_on_read": {"true"}}
	request, err := http.NewRequestWithContext(s.ctx, http.MethodPost, s.node.Address+"/v1/pagero/accounts/acme", strings.NewReader(form.Encode()))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Vault-Token", enroller.token)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	must(t, response.Body.Close())
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("a form: status %d", response.StatusCode)
	}
	// In the query of a write nothing counts at all, so nothing can slip through there.
	enroller.write("accounts/acme?refresh_on_read=true", fields{"min_ttl": "0"})
	if after := canonical(t, s.read("accounts/acme").Data); after != before {
		t.Errorf("acme was\n%s\nand is\n%s", before, after)
	}
	if got := len(s.sandbox.Requests()); got != logins {
		t.Errorf("%d requests reached the authorization server", got-logins)
	}
	s.do(http.MethodGet, "accounts/nobody", nil).wantStatus(http.StatusNotFound)
}

// What the files give at sys/ is the plugin operator's alone, and no more than he needs.
func TestRolesHaveNothingOfVaultItself(t *testing.T) {
	t.Parallel()
	s := newPolicyStage(t)
	names, _ := policyTable(t)
	// That he can do what he is for is shown by TestEveryStoredFormIsReadAfterAnUpgrade.
	catalog := "plugins/catalog/secret/" + pluginName + "?version=" + pluginVersion
	operators := map[string]bool{ // what is not refused to him
		"GET mounts": true, "GET mounts/pagero/tune": true, "POST mounts/pagero/tune": true, "GET " + catalog: true,
		"POST plugins/reload/secret/vault-plugin-pagero": true, "POST plugins/reload/backend": true, "POST quotas/rate-limit/pagero-callback": true,
	}
	for role, as := range s.roles(names) {
		sys := *as
		sys.mount = "sys"
		for _, c := range []struct {
			method, path string
			body         fields
		}{
			{http.MethodGet, "mounts", nil},
			{http.MethodGet, "mounts/pagero/tune", nil},
			{http.MethodGet, catalog, nil},
			{http.MethodPost, "mounts/pagero/tune", fields{"description": "x"}},
			{http.MethodPost, "plugins/reload/secret/vault-plugin-pagero", nil},
			{http.MethodPost, "plugins/reload/backend", fields{"mounts": "pagero/"}},
			// With a question mark, for a name of its own: other mounts than his.
			{http.MethodPost, "plugins/reload/backend?", fields{"mounts": "secret/"}},
			{http.MethodPost, "plugins/reload/backend?", fields{"mounts": []string{"pagero/", "secret/"}}},
			{http.MethodPost, "plugins/reload/backend?", fields{"plugin": "kv"}},
			{http.MethodPost, "quotas/rate-limit/pagero-callback", fields{"path": "pagero/callback", "rate": 1000}},
			{http.MethodPost, "quotas/rate-limit/another", fields{"rate": 1000}},
			{http.MethodDelete, "mounts/pagero", nil},
			{http.MethodDelete, "mounts/secret", nil},
			{http.MethodPost, "mounts/secret/tune", fields{"description": "x"}},
			{http.MethodPost, "remount", fields{"from": "pagero", "to": "elsewhere"}},
			{http.MethodPost, "plugins/catalog/secret/another", fields{"sha256": "00", "command": "x"}},
			{http.MethodPost, "plugins/reload/secret/another", nil},
			{http.MethodGet, "policies/acl?list=true", nil},
			{http.MethodPost, "policies/acl/more", fields{"policy": `path "*" { capabilities = ["sudo"] }`}},
			{http.MethodGet, "raw/core/mounts", nil},
			{http.MethodPost, "seal", nil},
			{http.MethodPost, "audit/more", fields{"type": "file"}},
		} {
			request := c.method + " " + c.path
			a := sys.do(c.method, c.path, c.body)
			switch {
			case operators[request] && role == "plugin-operator":
				if a.status >= 300 {
					t.Errorf("%s: %s: status %d: %s", role, request, a.status, a.raw)
				}
			case a.status != http.StatusForbidden:
				t.Errorf("%s: %s %v: status %d: %s", role, request, c.body, a.status, a.raw)
			}
		}
	}
}
