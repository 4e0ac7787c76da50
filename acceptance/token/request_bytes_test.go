package token

import (
	"encoding/base64"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// oddClient has an ID and a secret that must be form-encoded (RFC 6749, section 2.3.1).
var oddClient = sandbox.Client{ID: "cl ient:1", Secret: "p+w%/ü&="}

func TestTheTokenRequestIsByteForByteAsDocumented(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
	}
	for _, c := range []struct {
		name, method  string
		client        sandbox.Client
		authorization string
		rest          string // the form after the refresh token
	}{
		{"basic by default", "", sandbox.DefaultClients()[0], basic("sandbox-client", "sandbox-secret"), ""},
		{"basic", "client_secret_basic", oddClient, basic("cl+ient%3A1", "p%2Bw%25%2F%C3%BC%26%3D"), ""},
		{
			"post", "client_secret_post", oddClient, "",
			"&client_id=cl+ient%3A1&client_secret=p%2Bw%25%2F%C3%BC%26%3D",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := fixture.NewIn(t, fixture.SharedVault(t), sandbox.Config{Clients: []sandbox.Client{c.client}})
			client := f.Client()
			client["client_id"], client["client_secret"] = c.client.ID, c.client.Secret
			if c.method != "" {
				client["auth_method"] = c.method
			}
			f.Write("clients/default", client)
			refreshToken, err := f.Sandbox.Login(f.Ctx, c.client.ID, sandbox.DefaultUsername)
			fixture.Must(t, err)
			f.Write("accounts/acme", fixture.Fields{"refresh_token": refreshToken})
			f.AccessToken("acme")

			requests := f.Sandbox.Requests()
			if len(requests) != 1 {
				t.Fatalf("%d requests, want 1", len(requests))
			}
			r := requests[0]
			line := r.Method + " " + r.Path + "?" + r.Query + " " + r.Proto
			if want := "POST /oauth/v2/oauth-token? HTTP/1.1"; line != want {
				t.Errorf("request line %q, want %q", line, want)
			}
			want := "grant_type=refresh_token&refresh_token=" + refreshToken + c.rest
			if got := string(r.Body); got != want {
				t.Errorf("form %q, want %q", got, want)
			}
			for name, want := range map[string]string{
				"Content-Type":    form,
				"Accept":          "application/json",
				"Authorization":   c.authorization,
				"Connection":      "close", // no keep-alive
				"Accept-Encoding": "identity",
				"Cookie":          "",
			} {
				if got := r.Header.Get(name); got != want || len(r.Header.Values(name)) > 1 {
					t.Errorf("header %s: %q, want %q", name, r.Header.Values(name), want)
				}
			}
		})
	}
}
