package token

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestWhatDoesNotExistIs404WithAMessage(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.Do(http.MethodGet, "token/nobody", nil).WantError(http.StatusNotFound, "nobody", "accounts/nobody")
	f.Do(http.MethodPost, "refresh/nobody", nil).WantError(http.StatusNotFound, "nobody")
	f.Do(http.MethodGet, "accounts/nobody", nil).WantError(http.StatusNotFound, "nobody")
	f.Do(http.MethodGet, "clients/nobody", nil).WantError(http.StatusNotFound, "nobody")
}

func TestAnAccountWhoseClientIsMissingIs404ThatNamesTheClient(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.Do(http.MethodDelete, "clients/default", nil)
	f.Do(http.MethodGet, "token/acme", nil).WantError(http.StatusNotFound, "acme", "default")
	f.Write("clients/default", f.Client())
	f.AccessToken("acme")
	f.WantExchanges(1)
}

func TestUnknownFieldsAreRefused(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	for _, c := range []struct{ method, path, field string }{
		{http.MethodPost, "config", "no_such_field"},
		{http.MethodPost, "clients/default", "no_such_field"},
		{http.MethodPost, "clients/new", "clientsecret"},
		{http.MethodPost, "accounts/acme", "no_such_field"},
		{http.MethodPost, "token/acme", "no_such_field"},
		{http.MethodPost, "refresh/acme", "no_such_field"},
	} {
		f.Do(c.method, c.path, fixture.Fields{c.field: "true"}).WantError(http.StatusBadRequest, c.field)
	}
	f.Do(http.MethodGet, "accounts/acme?no_such_field=1", nil).WantError(http.StatusBadRequest, "no_such_field")
	f.WantExchanges(0)
}

// Bank-Vaults adds "version=-1" to the query of every read, whatever the engine.
func TestUnknownParametersOfATokenReadAreIgnored(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	for range 2 { // by an exchange, from memory
		answer := f.Do(http.MethodGet, "token/acme?version=-1&secret-of-mine=nothing-to-see", nil)
		answer.WantStatus(http.StatusOK)
		answer.WantWarning(`"secret-of-mine", "version"`)
		if answer.Text("access_token") == "" || strings.Contains(string(answer.Raw), "nothing-to-see") {
			t.Errorf("the answer is %s", answer.Raw)
		}
	}
	f.WantExchanges(1)
}

// Peppol ids and tagged mail addresses are names. What cannot be one gets a message.
func TestNamesOfAccounts(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	for _, name := range []string{"0007:5567321707", "svc+prod@example.com", "a.b-c_d"} {
		f.Write("accounts/"+name, fixture.Fields{"refresh_token": f.Login("alice")})
		f.AccessToken(name)
		f.CLIOutput("read", "MOUNT/token/"+name)
		f.CLIOutput("delete", "MOUNT/accounts/"+name)
	}
	for _, path := range []string{"accounts/a..b", "accounts/a/b", "accounts/-a", "accounts/a%20b", "token/a..b", "refresh/a..b", "authorize/a..b", "clients/a..b", "clients/a:b"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if answer := f.Do(method, path, fixture.Fields{"min_ttl": "1m"}); answer.Status != http.StatusMethodNotAllowed {
				answer.WantError(http.StatusBadRequest, "may have letters (A to Z, a to z), digits and _")
			}
		}
	}
}

// A secret that is written to the wrong field gets into no answer, into no log of Vault
// and, in clear text, into no audit log. (Vault's audit log shows the keys of a map.)
func TestValuesInTheWrongFieldAreNotRepeated(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	secret := "a-" + strings.ToLower(rand.Text())
	for _, path := range []string{"config", "clients/default", "clients/new", "accounts/acme", "accounts/new", "token/acme", "authorize/acme"} {
		for _, field := range []string{"min_ttl", "ttl", "auto_refresh", "client", "token_url", "allowed_hosts", "redirect_uris", "client_id", "prompt", "spare", "unknown"} {
			for _, value := range []any{"https://" + secret + "/", secret + "..", []string{secret + ".."}, map[string]string{"x": secret}} {
				answer := f.Do(http.MethodPost, path, fixture.Fields{field: value})
				if answer.Status < 300 {
					continue
				}
				answer.WantStatus(http.StatusBadRequest)
				if strings.Contains(string(answer.Raw), secret) {
					t.Errorf("%s of %s: %s", field, path, answer.Raw)
				}
			}
		}
	}
	f.WantNotLogged(map[string]string{"value": secret})
}

func TestHostsThatAreNotAllowedAreRefused(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	for url, part := range map[string]string{
		"https://evil.example.com/oauth/v2/oauth-token":         "allowed_hosts",
		"https://pageroonline.com.example.com/oauth-token":      "allowed_hosts",
		"http://sso.pageroonline.com/oauth/v2/oauth-token":      "https",
		"https://user:secret@sso.pageroonline.com/oauth-token":  "token_url",
		"ftp://127.0.0.1/oauth-token":                           "token_url",
		"https://127.0.0.1:1/oauth-token#fragment":              "token_url",
		"//sso.pageroonline.com/oauth/v2/oauth-token":           "token_url",
		"https://sso.pageroonline.com:port/oauth/v2/oauth-toke": "token_url",
	} {
		client := f.Client()
		client["token_url"] = url
		f.Do(http.MethodPost, "clients/other", client).WantError(http.StatusBadRequest, part)
	}
	f.Do(http.MethodGet, "clients/other", nil).WantStatus(http.StatusNotFound)
}

func TestAHostThatIsNoLongerAllowedGetsNoRequest(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.Write("config", fixture.Fields{"allowed_hosts": "*.pageroonline.com"})
	f.Do(http.MethodGet, "token/acme", nil).WantError(http.StatusBadRequest, "acme", "allowed_hosts")
	f.WantExchanges(0)
	f.Write("config", fixture.Fields{"allowed_hosts": fixture.AllowedHosts})
	f.AccessToken("acme")
}

func TestAnotherHostNeedsTheClientSecretAgain(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.Write("config", fixture.Fields{"allowed_hosts": fixture.AllowedHosts + ",localhost"})
	elsewhere := fixture.Fields{"token_url": "https://localhost:1/oauth/v2/oauth-token"}
	f.Do(http.MethodPost, "clients/default", elsewhere).WantError(http.StatusBadRequest, "client_secret")
	elsewhere["client_secret"] = "another-secret"
	f.Write("clients/default", elsewhere)
}

func TestAWrongClientSecretIs400AndSpendsNothing(t *testing.T) {
	t.Parallel()
	f := fixture.New(t)
	wrong := f.Client()
	wrong["client_secret"] = "not-the-secret"
	f.Write("clients/default", wrong)
	f.FirstRefreshToken = f.Login("alice")
	f.Write("accounts/acme", fixture.Fields{"refresh_token": f.FirstRefreshToken})

	a := f.Do(http.MethodGet, "token/acme", nil)
	a.WantError(http.StatusBadRequest, "acme", "invalid_client", "clients/default")
	wantNoSecretIn(f, a)
	if state := f.Read("accounts/acme"); state.Text("state") != "failing" ||
		!strings.Contains(state.Text("last_error"), "invalid_client") {
		t.Errorf("the account is %v", state.Data)
	}

	f.Write("clients/default", fixture.Fields{"client_secret": sandbox.DefaultClientSecret})
	f.WantAPIAccepts(f.AccessToken("acme"))
	if stats := f.Sandbox.Stats(); stats.Exchanges["ok"] != 1 || stats.Replays != 0 {
		t.Errorf("the server counted %+v", stats)
	}
}

func TestTheOldClientSecretServesUntilTheNewOneWorks(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.Write("clients/default", fixture.Fields{"client_secret": "the-next-secret"})
	f.WantAPIAccepts(f.AccessToken("acme")) // with the old one
	fixture.Must(t, f.Sandbox.SetClientSecret(sandbox.DefaultClientID, "the-next-secret"))
	f.Write("refresh/acme", nil)
	f.WantAPIAccepts(f.AccessToken("acme"))
	if stats := f.Sandbox.Stats(); stats.Exchanges["ok"] != 2 || stats.Replays != 0 {
		t.Errorf("the server counted %+v", stats)
	}
}

func TestADeadTokenIsNotPresentedAgainUntilANewOneIsWritten(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fixture.Must(t, f.Sandbox.RevokeGrant(f.FirstRefreshToken))

	for range 3 {
		a := f.Do(http.MethodGet, "token/acme", nil)
		a.WantError(http.StatusBadRequest, "acme", "accounts/acme")
		if len(a.Errors) > 0 && !strings.HasPrefix(a.Errors[0], "reauthorization required") {
			t.Errorf("the message is %q", a.Errors[0])
		}
		wantNoSecretIn(f, a)
	}
	f.WantExchanges(1)
	if state := f.Read("accounts/acme").Text("state"); state != "reauthorization_required" {
		t.Errorf("the state is %s", state)
	}

	f.Write("accounts/acme", fixture.Fields{"refresh_token": f.Login("alice")})
	f.WantAPIAccepts(f.AccessToken("acme"))
	f.WantExchanges(2)
}

func TestAnUnreachableServerIs503WithoutATokenAndAWarningWithOne(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fixture.Must(t, f.Sandbox.Pause())
	a := f.Do(http.MethodGet, "token/acme", nil)
	a.WantError(http.StatusServiceUnavailable, "acme", "nothing was sent", "next attempt")
	wantNoSecretIn(f, a)

	fixture.Must(t, f.Sandbox.Resume())
	f.Write("refresh/acme", nil) // a forced refresh does not wait for the next attempt
	token := f.AccessToken("acme")

	fixture.Must(t, f.Sandbox.Pause())
	f.Do(http.MethodPost, "refresh/acme", nil).WantError(http.StatusServiceUnavailable, "acme")
	if got := f.AccessToken("acme"); got != token {
		t.Error("the token that still works was not returned")
	}
	fixture.Must(t, f.Sandbox.Resume())
	f.WantExchanges(1)
}

func TestAFailingRefreshIsAWarningWhileTheTokenWorks(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(20*time.Second)) // the window is the last 10 s
	first := f.Read("token/acme")
	fixture.Must(t, f.Sandbox.Pause())
	var inWindow fixture.Answer
	f.WaitFor("a refresh that fails", func() bool {
		inWindow = f.Read("token/acme")
		return len(inWindow.Warnings) > 0
	})
	if inWindow.Text("access_token") != first.Text("access_token") {
		t.Error("another token was returned")
	}
	if ttl := inWindow.Integer("ttl"); ttl < 3 {
		t.Errorf("ttl %d: for Vault Secrets Operator, 2 or less means that a rotation is about to happen", ttl)
	}
}

func TestAServerThatFailsLeavesTheAccountInDoubtAndRecovers(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fault, err := f.Sandbox.SetFault(sandbox.Fault{Action: sandbox.ActionStatus, Status: http.StatusBadGateway})
	fixture.Must(t, err)
	f.Do(http.MethodGet, "token/acme", nil).WantError(http.StatusServiceUnavailable, "acme", "in doubt")
	if state := f.Read("accounts/acme").Text("state"); state != "in_doubt" {
		t.Errorf("the state is %s", state)
	}
	fault.Clear()
	var token fixture.Answer
	f.WaitFor("the account to recover", func() bool {
		token = f.Do(http.MethodGet, "token/acme", nil)
		return token.Status == http.StatusOK
	})
	f.WantAPIAccepts(token.Text("access_token"))
	if stats := f.Sandbox.Stats(); stats.Replays != 0 || stats.Exchanges["ok"] != 1 {
		t.Errorf("the server counted %+v", stats)
	}
}

// wantNoSecretIn asserts that the answer contains no secret of the fixture.
func wantNoSecretIn(f *fixture.Fixture, a fixture.Answer) {
	f.T.Helper()
	for _, secret := range []string{f.FirstRefreshToken, sandbox.DefaultClientSecret, "not-the-secret"} {
		if secret != "" && strings.Contains(string(a.Raw), secret) {
			f.T.Errorf("%s: the answer contains a secret: %s", a.Request, a.Raw)
		}
	}
}
