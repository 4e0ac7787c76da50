package sandbox_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// clock is a clock that only advance moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestAPIChecksTheAccessToken(t *testing.T) {
	clock := newClock()
	srv := start(t, sandbox.Config{Now: clock.now})
	other := start(t, sandbox.Config{Now: clock.now})
	token := mustRefresh(t, srv, login(t, srv, "alice")).Access
	parts := strings.Split(token, ".")

	claims := claimsOf(t, token)
	claims["sub"] = "bob"
	forged, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	withID, err := post(testContext(t), client(t, srv), srv.TokenURL(), url.Values{
		"grant_type": {"password"}, "username": {"alice"}, "password": {"alice-password"}, "scope": {"openid"},
	}, byDefault)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."

	for name, bad := range map[string]string{
		"none":            "",
		"no JWT":          "x",
		"other claims":    parts[0] + "." + base64.RawURLEncoding.EncodeToString(forged) + "." + parts[2],
		"unsigned":        unsigned,
		"another issuer":  mustRefresh(t, other, login(t, other, "alice")).Access,
		"an ID token":     withID.ID,
		"a refresh token": login(t, srv, "alice"),
	} {
		got := callAPI(t, srv, bad)
		if got.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: HTTP %d, WWW-Authenticate %q", name, got.StatusCode, got.Header.Get("WWW-Authenticate"))
		}
	}
	if got := callAPI(t, srv, token); got.StatusCode != http.StatusOK {
		t.Errorf("a good token: HTTP %d", got.StatusCode)
	}
	clock.advance(sandbox.DefaultAccessTokenLifetime - time.Second)
	if got := callAPI(t, srv, token); got.StatusCode != http.StatusOK {
		t.Errorf("a second before its end: HTTP %d", got.StatusCode)
	}
	clock.advance(3 * time.Second)
	if got := callAPI(t, srv, token); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("an expired token: HTTP %d", got.StatusCode)
	}
}

func TestRevocationEndsTheGrant(t *testing.T) {
	srv := start(t, sandbox.Config{Clients: append(sandbox.DefaultClients(), sandbox.Client{ID: "other", Secret: "s"})})
	used := login(t, srv, "alice")
	token := mustRefresh(t, srv, used).Refresh
	revoke := func(token string, auth authorization) reply {
		t.Helper()
		form := url.Values{}
		if token != "" {
			form.Set("token", token)
		}
		got, err := post(testContext(t), client(t, srv), srv.RevokeURL(), form, auth)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	wantError(t, revoke(token, basic(sandbox.DefaultClientID, "wrong")), http.StatusUnauthorized, "invalid_client")
	wantError(t, revoke(token, basic("other", "s")), http.StatusBadRequest, "invalid_grant")
	wantError(t, revoke("", byDefault), http.StatusBadRequest, "invalid_request")
	if got := revoke("_1XBPWQQ_unknown", byDefault); got.status != http.StatusOK || got.raw != "" {
		t.Errorf("unknown token: HTTP %d, body %q", got.status, got.raw)
	}
	token = mustRefresh(t, srv, token).Refresh // it lives so far
	if got := revoke(token, byDefault); got.status != http.StatusOK || got.raw != "" {
		t.Errorf("revocation: HTTP %d, body %q", got.status, got.raw)
	}
	if got := revoke(token, inForm(sandbox.DefaultClientID, sandbox.DefaultClientSecret)); got.status != http.StatusOK {
		t.Errorf("revocation again: HTTP %d", got.status)
	}
	wantError(t, refresh(t, srv, token), http.StatusBadRequest, "invalid_grant")
	if n := srv.Stats().Replays; n != 0 {
		t.Errorf("%d replays, want 0: the newest token of a revoked grant was not used before", n)
	}
	if n := len(srv.RequestsTo(sandbox.EndpointRevoke)); n != 6 {
		t.Errorf("%d revocations recorded, want 6", n)
	}
}

func TestGrantsDieOnDemand(t *testing.T) {
	srv := start(t, sandbox.Config{})
	first, second := login(t, srv, "alice"), login(t, srv, "alice")
	if err := srv.RevokeGrant(first); err != nil {
		t.Fatal(err)
	}
	wantError(t, refresh(t, srv, first), http.StatusBadRequest, "invalid_grant")
	second = mustRefresh(t, srv, second).Refresh
	if n := srv.RevokeUser("alice"); n != 2 {
		t.Errorf("%d grants of alice, want 2", n)
	}
	wantError(t, refresh(t, srv, second), http.StatusBadRequest, "invalid_grant")
	if err := srv.RevokeGrant("unknown"); !errors.Is(err, sandbox.ErrUnknownToken) {
		t.Errorf("error %v, want ErrUnknownToken", err)
	}
}

func TestMetadataNamesTheEndpoints(t *testing.T) {
	srv := start(t, sandbox.Config{})
	answer, err := client(t, srv).Get(srv.URL() + sandbox.PathMetadata)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var metadata struct {
		Issuer string `json:"issuer"`
		Token  string `json:"token_endpoint"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&metadata); err != nil {
		t.Fatal(err)
	}
	if metadata.Issuer != srv.URL() || metadata.Token != srv.TokenURL() {
		t.Errorf("metadata: %+v", metadata)
	}
	keys, err := client(t, srv).Get(metadata.JWKS)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Body.Close()
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.NewDecoder(keys.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 1 || set.Keys[0]["kty"] != "EC" || set.Keys[0]["d"] != "" {
		t.Errorf("the key set has to hold one public EC key and no private part")
	}
}
