package security

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestNoSecretIsLogged uses every path with success and with failure. No secret may be in the audit log or in Vault's log,
// which contains the plugin's log and is at trace level.
func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	secrets := map[string]string{
		"first refresh token": f.FirstRefreshToken,
		"client secret":       "canary-client-secret",
		"wrong secret":        "canary-wrong-secret",
		"spare refresh token": f.Login("carol"),
	}
	fixture.Must(t, f.Sandbox.SetClientSecret(sandbox.DefaultClientID, secrets["client secret"]))
	f.Write("clients/default", fixture.Fields{"client_secret": secrets["client secret"]})
	f.Do(http.MethodPost, "accounts/acme", fixture.Fields{"spare_refresh_token": secrets["spare refresh token"]})
	secrets["first access token"] = f.AccessToken("acme")
	f.Write("refresh/acme", nil)
	secrets["second access token"] = f.AccessToken("acme")
	newest, err := f.Sandbox.CurrentRefreshToken(f.FirstRefreshToken)
	fixture.Must(t, err)
	secrets["newest refresh token"] = newest

	f.Write("clients/wrong", f.Client())
	f.Write("clients/wrong", fixture.Fields{"client_secret": secrets["wrong secret"]})
	f.Write("accounts/wrong", fixture.Fields{"client": "wrong", "refresh_token": f.Login("bob")})
	f.Do(http.MethodGet, "token/wrong", nil)
	f.Do(http.MethodPost, "accounts/acme", fixture.Fields{"refresh_token": secrets["first refresh token"], "unknown": 1})
	for _, body := range []string{
		`{"error":"server_error","error_description":"` + newest + `"}`, // echoes the token
		`{"access_token":"` + newest,                                    // truncated JSON
	} {
		fault, err := f.Sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionStatus, Status: http.StatusInternalServerError, Body: body})
		fixture.Must(t, err)
		f.Do(http.MethodPost, "refresh/acme", nil)
		fault.Clear()
	}
	fixture.Must(t, f.Sandbox.RevokeGrant(f.FirstRefreshToken))
	f.Do(http.MethodPost, "refresh/acme", nil)
	f.Do(http.MethodGet, "token/acme", nil)
	fixture.Must(t, f.Node.Reload(f.Ctx, f.Mount+"/"))
	f.Read("accounts/acme")

	f.WantNotLogged(secrets)
}

// TestNoSecretOfALoginGetsOut does the same for logins. It also checks the pages.
func TestNoSecretOfALoginGetsOut(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	var answers, accessTokens []string
	note := func(pages ...sandbox.Page) {
		for _, page := range pages {
			if strings.HasPrefix(page.URL.String(), f.CallbackURL()) {
				answers = append(answers, page.Body)
			}
		}
	}
	for mode, user := range map[string]string{"query": "alice", "form_post": "bob"} {
		note(f.Visit(f.Authorize(user, fixture.Fields{"spare": true, "response_mode": mode}))...)
		accessTokens = append(accessTokens, f.AccessToken(user))
	}
	back := f.LogInUpToCallback(f.Authorize("acme", nil))
	echo, err := f.Sandbox.SetFault(sandbox.Fault{
		When: sandbox.FaultAfter, Count: 1, Action: sandbox.ActionBody, Status: http.StatusBadRequest,
		Body: `{"error":"{{refresh_token}}","error_description":"{{access_token}} {{refresh_token}}"}`,
	})
	fixture.Must(t, err)
	note(f.GetCallback(back), f.GetCallback(back))
	if echo.Hits() != 1 {
		t.Error("the answer with tokens in the wrong fields was not sent")
	}
	broken, err := f.Sandbox.SetFault(sandbox.Fault{When: sandbox.FaultAfter, Count: 1, Action: sandbox.ActionTruncate, Bytes: 60})
	fixture.Must(t, err)
	note(f.GetCallback(f.LogInUpToCallback(f.Authorize("acme", nil))))
	if broken.Hits() != 1 {
		t.Error("the truncated answer was not sent")
	}
	kept := fixture.Credentials()
	kept["keep_password"] = true
	f.Write("accounts/acme", kept)
	f.Sandbox.RevokeUser(sandbox.DefaultUsername)
	f.Write("refresh/acme", nil)
	accessTokens = append(accessTokens, f.AccessToken("acme")) // after a login with the kept password
	fixture.Must(t, f.Node.Reload(f.Ctx, f.Mount+"/"))
	answers = append(answers, string(f.Read("accounts/acme").Raw), string(f.Do(http.MethodDelete, "accounts/bob", nil).Raw))
	fixture.Must(t, f.Sandbox.Pause())
	answers = append(answers, string(f.Do(http.MethodDelete, "accounts/acme", nil).Raw))

	secrets := f.LoginSecrets()
	if newest, err := f.Sandbox.UserRefreshToken(sandbox.DefaultUsername); err != nil || !strings.HasPrefix(newest, fixture.RefreshTokenPrefix) {
		t.Fatalf("refresh tokens begin with something else: %v", err)
	}
	if len(secrets) < 9 { // three, and the verifiers of six codes
		t.Fatalf("there are too few secrets to look for: %d", len(secrets))
	}
	for i, token := range accessTokens {
		secrets[fmt.Sprintf("access token %d", i)] = token
	}
	if len(answers) < 8 {
		t.Fatalf("there are too few answers to look at: %d", len(answers))
	}
	for _, text := range answers {
		for what, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("an answer contains the %s:\n%s", what, text)
			}
		}
	}
	f.WantNotLogged(secrets)
}
