package sandbox_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestTokensSayWhoseTheyAre(t *testing.T) {
	for _, test := range []struct {
		format     sandbox.AccessTokenFormat
		user       string
		scope      string
		accessJWT  bool
		hasIDToken bool
	}{
		{sandbox.AccessTokenJWT, "alice", "", true, false},
		{sandbox.AccessTokenJWT, "bob", "openid", true, true},
		{sandbox.AccessTokenOpaque, "alice", "", false, false},
		{sandbox.AccessTokenOpaque, "bob", "openid", false, true},
	} {
		t.Run(string(test.format)+" "+test.scope, func(t *testing.T) {
			srv := start(t, sandbox.Config{AccessToken: test.format})
			got, err := post(testContext(t), client(t, srv), srv.TokenURL(), url.Values{
				"grant_type": {"password"}, "username": {test.user}, "password": {test.user + "-password"}, "scope": {test.scope},
			}, byDefault)
			if err != nil || got.status != http.StatusOK || got.Claims != "publicid" {
				t.Fatalf("HTTP %d, claims %q, %v", got.status, got.Claims, err)
			}
			for name, token := range map[string]string{"access": got.Access, "id": got.ID} {
				if want := name == "access" && test.accessJWT || name == "id" && test.hasIDToken; want != (strings.Count(token, ".") == 2) {
					t.Errorf("%s token %q: want a JWT: %t", name, token, want)
				} else if !want {
					continue
				}
				claims := claimsOf(t, token)
				if claims["sub"] != test.user || claims["publicid"] != sandbox.PublicID(test.user) || claims["iss"] != srv.URL() ||
					claims["exp"].(float64)-claims["iat"].(float64) < 600 {
					t.Errorf("%s token: claims %v", name, claims)
				}
			}
			if got := callAPI(t, srv, got.Access); got.StatusCode != http.StatusOK {
				t.Errorf("the API answers HTTP %d", got.StatusCode)
			}
		})
	}
}

func TestAccessTokensCanEndWithTheRefresh(t *testing.T) {
	refreshAgain := func(t *testing.T, srv *sandbox.Server, token string) { t.Helper(); mustRefresh(t, srv, token) }
	revoke := func(t *testing.T, srv *sandbox.Server, token string) {
		t.Helper()
		if err := srv.RevokeGrant(token); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		cfg    sandbox.Config
		then   func(*testing.T, *sandbox.Server, string)
		status int // of the API for the access token from before
	}{
		{"kept, refresh", sandbox.Config{}, refreshAgain, http.StatusOK},
		{"kept, revocation", sandbox.Config{}, revoke, http.StatusOK},
		{"ended, refresh", sandbox.Config{EndAccessTokens: true}, refreshAgain, http.StatusUnauthorized},
		{"ended, revocation", sandbox.Config{EndAccessTokens: true}, revoke, http.StatusUnauthorized},
		{"ended, opaque", sandbox.Config{EndAccessTokens: true, AccessToken: sandbox.AccessTokenOpaque}, refreshAgain, http.StatusUnauthorized},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := start(t, test.cfg)
			first := mustRefresh(t, srv, login(t, srv, "alice"))
			if got := callAPI(t, srv, first.Access); got.StatusCode != http.StatusOK {
				t.Errorf("at first: HTTP %d", got.StatusCode)
			}
			test.then(t, srv, first.Refresh)
			if got := callAPI(t, srv, first.Access); got.StatusCode != test.status {
				t.Errorf("afterwards: HTTP %d, want %d", got.StatusCode, test.status)
			}
		})
	}
}
