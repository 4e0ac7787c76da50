package acceptance

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// canonical returns the data as text, for comparison.
func canonical(t *testing.T, data map[string]any) string {
	t.Helper()
	text, err := json.Marshal(data)
	must(t, err)
	return string(text)
}

// TestNoSecretIsLogged uses every path, in success and failure, and looks for every secret in
// Vault's log, which is at trace level and has the plugin's, and in the audit log.
func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	secrets := map[string]string{
		"first refresh token": s.first,
		"client secret":       "canary-client-secret",
		"wrong secret":        "canary-wrong-secret",
		"spare refresh token": s.login("carol"),
	}
	must(t, s.sandbox.SetClientSecret(sandbox.DefaultClientID, secrets["client secret"]))
	s.write("clients/default", fields{"client_secret": secrets["client secret"]})
	s.do(http.MethodPost, "accounts/acme", fields{"spare_refresh_token": secrets["spare refresh token"]})
	secrets["first access token"] = s.accessToken("acme")
	s.write("refresh/acme", nil)
	secrets["second access token"] = s.accessToken("acme")
	newest, err := s.sandbox.CurrentRefreshToken(s.first)
	must(t, err)
	secrets["newest refresh token"] = newest

	s.write("clients/wrong", s.client())
	s.write("clients/wrong", fields{"client_secret": secrets["wrong secret"]})
	s.write("accounts/wrong", fields{"client": "wrong", "refresh_token": s.login("bob")})
	s.do(http.MethodGet, "token/wrong", nil)
	s.do(http.MethodPost, "accounts/acme", fields{"refresh_token": secrets["first refresh token"], "unknown": 1})
	for _, body := range []string{
		`{"error":"server_error","error_description":"` + newest + `"}`, // echoes what it was sent
		`{"access_token":"` + newest,                                    // truncated JSON
	} {
		fault, err := s.sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionStatus, Status: http.StatusInternalServerError, Body: body})
		must(t, err)
		s.do(http.MethodPost, "refresh/acme", nil)
		fault.Clear()
	}
	must(t, s.sandbox.RevokeGrant(s.first))
	s.do(http.MethodPost, "refresh/acme", nil)
	s.do(http.MethodGet, "token/acme", nil)
	must(t, s.node.Reload(s.ctx, s.mount+"/"))
	s.read("accounts/acme")

	for name, file := range map[string]string{"Vault's log": s.node.LogFile(), "the audit log": s.node.AuditLog()} {
		content, err := os.ReadFile(file)
		must(t, err)
		if !strings.Contains(string(content), s.mount) {
			t.Errorf("%s does not mention the mount: nothing was logged", name)
		}
		for what, secret := range secrets {
			if strings.Contains(string(content), secret) {
				t.Errorf("%s contains the %s", name, what)
			}
		}
	}
}
