package acceptance

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestWhatDoesNotExistIs404WithAMessage(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.do(http.MethodGet, "token/nobody", nil).wantError(http.StatusNotFound, "nobody", "accounts/nobody")
	s.do(http.MethodPost, "refresh/nobody", nil).wantError(http.StatusNotFound, "nobody")
	s.do(http.MethodGet, "accounts/nobody", nil).wantError(http.StatusNotFound, "nobody")
	s.do(http.MethodGet, "clients/nobody", nil).wantError(http.StatusNotFound, "nobody")
}

func TestAnAccountWhoseClientIsMissingIs404ThatNamesTheClient(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.do(http.MethodDelete, "clients/default", nil)
	s.do(http.MethodGet, "token/acme", nil).wantError(http.StatusNotFound, "acme", "default")
	s.write("clients/default", s.client())
	s.accessToken("acme")
	s.wantExchanges(1)
}

func TestUnknownFieldsAreRefused(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	for _, c := range []struct{ method, path, field string }{
		{http.MethodPost, "config", "no_such_field"},
		{http.MethodPost, "clients/default", "no_such_field"},
		{http.MethodPost, "clients/new", "clientsecret"},
		{http.MethodPost, "accounts/acme", "no_such_field"},
		{http.MethodPost, "token/acme", "no_such_field"},
		{http.MethodPost, "refresh/acme", "no_such_field"},
	} {
		s.do(c.method, c.path, fields{c.field: "true"}).wantError(http.StatusBadRequest, c.field)
	}
	s.do(http.MethodGet, "token/acme?no_such_field=1", nil).wantError(http.StatusBadRequest, "no_such_field")
	s.wantExchanges(0)
}

func TestHostsThatAreNotAllowedAreRefused(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
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
		client := s.client()
		client["token_url"] = url
		s.do(http.MethodPost, "clients/other", client).wantError(http.StatusBadRequest, part)
	}
	s.do(http.MethodGet, "clients/other", nil).wantStatus(http.StatusNotFound)
}

func TestAHostThatIsNoLongerAllowedGetsNoRequest(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.write("config", fields{"allowed_hosts": "*.pageroonline.com"})
	s.do(http.MethodGet, "token/acme", nil).wantError(http.StatusBadRequest, "acme", "allowed_hosts")
	s.wantExchanges(0)
	s.write("config", fields{"allowed_hosts": allowedHosts})
	s.accessToken("acme")
}

func TestAnotherHostNeedsTheClientSecretAgain(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.write("config", fields{"allowed_hosts": allowedHosts + ",localhost"})
	elsewhere := fields{"token_url": "https://localhost:1/oauth/v2/oauth-token"}
	s.do(http.MethodPost, "clients/default", elsewhere).wantError(http.StatusBadRequest, "client_secret")
	elsewhere["client_secret"] = "another-secret"
	s.write("clients/default", elsewhere)
}

func TestAWrongClientSecretIs400AndSpendsNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	wrong := s.client()
	wrong["client_secret"] = "not-the-secret"
	s.write("clients/default", wrong)
	s.first = s.login("alice")
	s.write("accounts/acme", fields{"refresh_token": s.first})

	a := s.do(http.MethodGet, "token/acme", nil)
	a.wantError(http.StatusBadRequest, "acme", "invalid_client", "clients/default")
	s.wantNoSecretIn(a)
	if state := s.read("accounts/acme"); state.text("state") != "failing" ||
		!strings.Contains(state.text("last_error"), "invalid_client") {
		t.Errorf("the account is %v", state.Data)
	}

	s.write("clients/default", fields{"client_secret": sandbox.DefaultClientSecret})
	s.wantAPIAccepts(s.accessToken("acme"))
	if stats := s.sandbox.Stats(); stats.Exchanges["ok"] != 1 || stats.Replays != 0 {
		t.Errorf("the server counted %+v", stats)
	}
}

func TestTheOldClientSecretServesUntilTheNewOneWorks(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.write("clients/default", fields{"client_secret": "the-next-secret"})
	s.wantAPIAccepts(s.accessToken("acme")) // with the old one
	must(t, s.sandbox.SetClientSecret(sandbox.DefaultClientID, "the-next-secret"))
	s.write("refresh/acme", nil)
	s.wantAPIAccepts(s.accessToken("acme"))
	if stats := s.sandbox.Stats(); stats.Exchanges["ok"] != 2 || stats.Replays != 0 {
		t.Errorf("the server counted %+v", stats)
	}
}

func TestADeadTokenIsNotPresentedAgainUntilANewOneIsWritten(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	must(t, s.sandbox.RevokeGrant(s.first))

	for range 3 {
		a := s.do(http.MethodGet, "token/acme", nil)
		a.wantError(http.StatusBadRequest, "acme", "accounts/acme")
		if len(a.Errors) > 0 && !strings.HasPrefix(a.Errors[0], "reauthorization required") {
			t.Errorf("the message is %q", a.Errors[0])
		}
		s.wantNoSecretIn(a)
	}
	s.wantExchanges(1)
	if state := s.read("accounts/acme").text("state"); state != "reauthorization_required" {
		t.Errorf("the state is %s", state)
	}

	s.write("accounts/acme", fields{"refresh_token": s.login("alice")})
	s.wantAPIAccepts(s.accessToken("acme"))
	s.wantExchanges(2)
}

func TestAnUnreachableServerIs503WithoutATokenAndAWarningWithOne(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	must(t, s.sandbox.Pause())
	a := s.do(http.MethodGet, "token/acme", nil)
	a.wantError(http.StatusServiceUnavailable, "acme", "nothing was sent", "next attempt")
	s.wantNoSecretIn(a)

	must(t, s.sandbox.Resume())
	s.write("refresh/acme", nil) // an operator need not wait for the next attempt
	token := s.accessToken("acme")

	must(t, s.sandbox.Pause())
	s.do(http.MethodPost, "refresh/acme", nil).wantError(http.StatusServiceUnavailable, "acme")
	if got := s.accessToken("acme"); got != token {
		t.Error("the token that still works was not returned")
	}
	must(t, s.sandbox.Resume())
	s.wantExchanges(1)
}

func TestAFailingRefreshIsAWarningWhileTheTokenWorks(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	must(t, s.sandbox.SetAccessTokenLifetime(20*time.Second)) // the window is the last 10 s
	first := s.read("token/acme")
	must(t, s.sandbox.Pause())
	var inWindow answer
	s.waitFor("a refresh that fails", func() bool {
		inWindow = s.read("token/acme")
		return len(inWindow.Warnings) > 0
	})
	if inWindow.text("access_token") != first.text("access_token") {
		t.Error("another token was returned")
	}
	if ttl := inWindow.integer("ttl"); ttl < 3 {
		t.Errorf("ttl %d: Vault Secrets Operator takes 2 and less for a rotation to come", ttl)
	}
}

func TestAServerThatFailsLeavesTheAccountInDoubtAndRecovers(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	fault, err := s.sandbox.SetFault(sandbox.Fault{Action: sandbox.ActionStatus, Status: http.StatusBadGateway})
	must(t, err)
	s.do(http.MethodGet, "token/acme", nil).wantError(http.StatusServiceUnavailable, "acme", "in doubt")
	if state := s.read("accounts/acme").text("state"); state != "in_doubt" {
		t.Errorf("the state is %s", state)
	}
	fault.Clear()
	var token answer
	s.waitFor("the account to recover", func() bool {
		token = s.do(http.MethodGet, "token/acme", nil)
		return token.status == http.StatusOK
	})
	s.wantAPIAccepts(token.text("access_token"))
	if stats := s.sandbox.Stats(); stats.Replays != 0 || stats.Exchanges["ok"] != 1 {
		t.Errorf("the server counted %+v", stats)
	}
}

// wantNoSecretIn asserts that the answer has no secret of the stage in it.
func (s *stage) wantNoSecretIn(a answer) {
	s.t.Helper()
	for _, secret := range []string{s.first, sandbox.DefaultClientSecret, "not-the-secret"} {
		if secret != "" && strings.Contains(string(a.raw), secret) {
			s.t.Errorf("%s: the answer contains a secret: %s", a.request, a.raw)
		}
	}
}
