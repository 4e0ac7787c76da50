package acceptance

import (
	"net/http"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestWhoMayReadOneTokenMayDoNothingElse(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.write("accounts/other", fields{"refresh_token": s.login("bob")})
	reader := s.as(`path "MOUNT/token/acme" { capabilities = ["read"] }`)

	s.wantAPIAccepts(reader.accessToken("acme"))

	for _, c := range []struct {
		method, path string
		body         fields
	}{
		{http.MethodGet, "token/other", nil},
		{http.MethodPost, "token/acme", fields{"min_ttl": "5m"}},
		{http.MethodPost, "refresh/acme", nil},
		{http.MethodGet, "accounts/acme", nil},
		{http.MethodGet, "accounts?list=true", nil},
		{http.MethodPost, "accounts/acme", fields{"refresh_on_read": true}},
		{http.MethodDelete, "accounts/acme", nil},
		{http.MethodGet, "clients/default", nil},
		{http.MethodGet, "clients?list=true", nil},
		{http.MethodPost, "clients/default", fields{"client_secret": "x"}},
		{http.MethodGet, "config", nil},
		{http.MethodPost, "config", fields{"allowed_hosts": "*"}},
	} {
		reader.do(c.method, c.path, c.body).wantError(http.StatusForbidden, "permission denied")
	}
	s.wantExchanges(1)
}

func TestCreateAndUpdateAreToldApart(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	for _, c := range []struct {
		path string // of things that do not exist yet, one for each policy
		old  string // of one that exists
		body fields
		also fields // for an update of old
	}{
		{"clients/new", "clients/default", s.client(), fields{"auth_method": "client_secret_basic"}},
		{
			"accounts/new", "accounts/acme",
			fields{"refresh_token": s.login("carol")},
			fields{"refresh_on_read": false},
		},
	} {
		rules := func(capability string) *stage {
			return s.as(`path "MOUNT/` + c.path + `" { capabilities = ["` + capability + `"] }
				path "MOUNT/` + c.old + `" { capabilities = ["` + capability + `"] }`)
		}
		creator, updater := rules("create"), rules("update")

		updater.do(http.MethodPost, c.path, c.body).wantError(http.StatusForbidden, "permission denied")
		creator.do(http.MethodPost, c.old, c.also).wantError(http.StatusForbidden, "permission denied")
		updater.write(c.old, c.also)
		creator.write(c.path, c.body)
		creator.do(http.MethodPost, c.path, c.also).wantError(http.StatusForbidden, "permission denied")
		updater.write(c.path, c.also)
	}
}

func TestAnUnauthenticatedRequestIsRefused(t *testing.T) {
	t.Parallel()
	s := newStageIn(t, shared, sandbox.Config{})
	s.enrol()
	nobody := *s
	nobody.token = ""
	for _, path := range []string{"token/acme", "accounts/acme", "clients/default", "config"} {
		if a := nobody.do(http.MethodGet, path, nil); a.status != http.StatusForbidden {
			t.Errorf("%s: status %d", path, a.status)
		}
	}
	s.wantExchanges(0)
}
