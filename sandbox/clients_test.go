package sandbox_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestClientAuthentication(t *testing.T) {
	const id, secret = "id:with/ä +&", "s%20cr:et +&=ü\""
	srv := start(t, sandbox.Config{Clients: []sandbox.Client{
		{ID: id, Secret: secret},
		{ID: "basic only", Secret: secret, AuthMethod: sandbox.AuthBasic},
		{ID: "post only", Secret: secret, AuthMethod: sandbox.AuthPost},
	}})
	both := func(r *http.Request, form url.Values) {
		basic(id, secret)(r, form)
		inForm(id, secret)(r, form)
	}
	tests := []struct {
		name   string
		owner  string // of the grant
		auth   authorization
		status int
		code   string
	}{
		{"basic", id, basic(id, secret), 200, ""},
		{"post", id, inForm(id, secret), 200, ""},
		{"basic, id in the form too", id, func(r *http.Request, form url.Values) {
			basic(id, secret)(r, form)
			form.Set("client_id", id)
		}, 200, ""},
		{"basic, which is required", "basic only", basic("basic only", secret), 200, ""},
		{"post, which is required", "post only", inForm("post only", secret), 200, ""},
		{"basic, another id in the form", id, func(r *http.Request, form url.Values) {
			basic(id, secret)(r, form)
			form.Set("client_id", "post only")
		}, 400, "invalid_request"},
		{"both", id, both, 400, "invalid_request"},
		{"basic without form-encoding", id, func(r *http.Request, _ url.Values) { r.SetBasicAuth(id, secret) }, 401, "invalid_client"},
		{"basic with a broken escape", id, func(r *http.Request, _ url.Values) { r.SetBasicAuth("%zz", secret) }, 401, "invalid_client"},
		{"basic, wrong secret", id, basic(id, "wrong"), 401, "invalid_client"},
		{"post, wrong secret", id, inForm(id, "wrong"), 401, "invalid_client"},
		{"unknown client", id, basic("nobody", secret), 401, "invalid_client"},
		{"bearer", id, func(r *http.Request, _ url.Values) { r.Header.Set("Authorization", "Bearer x") }, 401, "invalid_client"},
		{"none", id, nil, 401, "invalid_client"},
		{"id alone", id, func(_ *http.Request, form url.Values) { form.Set("client_id", id) }, 401, "invalid_client"},
		{"post instead of basic", "basic only", inForm("basic only", secret), 401, "invalid_client"},
		{"basic instead of post", "post only", basic("post only", secret), 401, "invalid_client"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token, err := srv.Login(t.Context(), test.owner, "alice")
			if err != nil {
				t.Fatal(err)
			}
			got, err := post(testContext(t), client(t, srv), srv.TokenURL(), refreshForm(token), test.auth)
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, got, test.status, test.code)
			challenge := got.header.Get("WWW-Authenticate")
			if strings.HasPrefix(challenge, "Basic ") != (test.code == "invalid_client") {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
			if current, err := srv.CurrentRefreshToken(token); err != nil || (current == token) != (test.status != 200) {
				t.Errorf("the token was spent: %t, error %v", current != token, err)
			}
		})
	}
}

func TestClientSecretCanBeRotated(t *testing.T) {
	srv := start(t, sandbox.Config{})
	token := login(t, srv, "alice")
	if err := srv.SetClientSecret(sandbox.DefaultClientID, "new"); err != nil {
		t.Fatal(err)
	}
	wantError(t, refresh(t, srv, token), http.StatusUnauthorized, "invalid_client")
	got, err := post(testContext(t), client(t, srv), srv.TokenURL(), refreshForm(token), basic(sandbox.DefaultClientID, "new"))
	if err != nil || got.status != http.StatusOK {
		t.Errorf("with the new secret: HTTP %d, %v", got.status, err)
	}
	if err := srv.SetClientSecret("nobody", "x"); err == nil {
		t.Error("the secret of an unknown client was set")
	}
}

func TestRequestsAreRecordedByteForByte(t *testing.T) {
	srv := start(t, sandbox.Config{})
	token := login(t, srv, "alice")
	mustRefresh(t, srv, token)
	requests := srv.Requests()
	if len(requests) != 1 {
		t.Fatalf("%d requests, want 1", len(requests))
	}
	got := requests[0]
	if want := "Basic c2FuZGJveC1jbGllbnQ6c2FuZGJveC1zZWNyZXQ="; got.Header.Get("Authorization") != want {
		t.Errorf("Authorization is not %q", want)
	}
	if want := "grant_type=refresh_token&refresh_token=" + token; string(got.Body) != want {
		t.Errorf("body is %q", got.Body)
	}
	if got.Method != http.MethodPost || got.Path != sandbox.PathToken || got.Proto != "HTTP/1.1" ||
		!got.Done || got.Status != 200 || got.Result != "ok" || got.Time.IsZero() || got.RemoteAddr == "" {
		t.Errorf("recorded %+v", got)
	}
}
