package sandbox_test

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestRefreshTokenWorksOnce(t *testing.T) {
	srv := start(t, sandbox.Config{Replay: sandbox.ReplayRefuse})
	first := login(t, srv, "alice")
	second := mustRefresh(t, srv, first).Refresh
	if second == first {
		t.Fatal("the refresh returned the same refresh token")
	}
	wantError(t, refresh(t, srv, first), http.StatusBadRequest, "invalid_grant")
	third := mustRefresh(t, srv, second).Refresh

	newest, err := srv.CurrentRefreshToken(first)
	if err != nil || newest != third {
		t.Errorf("CurrentRefreshToken of a used token is not the newest one (error %v)", err)
	}
	if newest, err := srv.UserRefreshToken("alice"); err != nil || newest != third {
		t.Errorf("UserRefreshToken is not the newest one (error %v)", err)
	}
}

func TestReplayRevokesTheGrant(t *testing.T) {
	srv := start(t, sandbox.Config{})
	first, other := login(t, srv, "alice"), login(t, srv, "alice")
	second := mustRefresh(t, srv, first).Refresh
	wantError(t, refresh(t, srv, first), http.StatusBadRequest, "invalid_grant")
	wantError(t, refresh(t, srv, second), http.StatusBadRequest, "invalid_grant")
	if _, err := srv.CurrentRefreshToken(second); !errors.Is(err, sandbox.ErrRevoked) {
		t.Errorf("CurrentRefreshToken: error %v, want ErrRevoked", err)
	}
	mustRefresh(t, srv, other) // the user's other grant lives

	stats := srv.Stats()
	if stats.Replays != 1 || stats.Grants != 1 || stats.RevokedGrants != 1 {
		t.Errorf("%d replays, %d grants, %d revoked; want 1 of each", stats.Replays, stats.Grants, stats.RevokedGrants)
	}
	if stats.Exchanges["ok"] != 2 || stats.Exchanges["invalid_grant"] != 2 {
		t.Errorf("exchanges by result: %v", stats.Exchanges)
	}
	if n := stats.Presented[sandbox.TokenHash(first)]; n != 2 || srv.Presented(first) != n {
		t.Errorf("the first token was presented %d and %d times, want 2", n, srv.Presented(first))
	}
}

func TestReplayIsOnlyRefused(t *testing.T) {
	srv := start(t, sandbox.Config{Replay: sandbox.ReplayRefuse})
	first := login(t, srv, "alice")
	second := mustRefresh(t, srv, first).Refresh
	wantError(t, refresh(t, srv, first), http.StatusBadRequest, "invalid_grant")
	mustRefresh(t, srv, second)
	if n := srv.Stats().Replays; n != 1 {
		t.Errorf("%d replays, want 1", n)
	}
}

// fosite looks a refresh token up first and rotates it later: without a lock for
// each grant, two requests succeed.
func TestOneOfManyConcurrentPresentationsWins(t *testing.T) {
	for _, mode := range []sandbox.ReplayMode{sandbox.ReplayRevoke, sandbox.ReplayRefuse} {
		t.Run(string(mode), func(t *testing.T) {
			const n = 50
			srv := start(t, sandbox.Config{Replay: mode})
			c, ctx, token := client(t, srv), testContext(t), login(t, srv, "alice")

			replies := make([]reply, n)
			begin := make(chan struct{})
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					<-begin
					var err error
					if replies[i], err = post(ctx, c, srv.TokenURL(), refreshForm(token), byDefault); err != nil {
						t.Errorf("request %d: %v", i, err)
					}
				})
			}
			close(begin)
			wg.Wait()

			var winners []reply
			for _, r := range replies {
				if r.status == http.StatusOK {
					winners = append(winners, r)
				} else {
					wantError(t, r, http.StatusBadRequest, "invalid_grant")
				}
			}
			if len(winners) != 1 {
				t.Fatalf("%d of %d presentations won, want 1", len(winners), n)
			}
			if got := srv.Stats().Replays; got != n-1 && mode == sandbox.ReplayRefuse {
				t.Errorf("%d replays, want %d", got, n-1)
			}
			next := refresh(t, srv, winners[0].Refresh)
			if won := next.status == http.StatusOK; won != (mode == sandbox.ReplayRefuse) {
				t.Errorf("after the race the winner's token is answered HTTP %d", next.status)
			}
		})
	}
}

func TestAnswerLooksLikePageros(t *testing.T) {
	srv := start(t, sandbox.Config{})
	got := mustRefresh(t, srv, login(t, srv, "alice"))
	if !regexp.MustCompile(`^_1XBPWQQ_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(got.Refresh) {
		t.Errorf("refresh token has the wrong form")
	}
	if got.Type != "bearer" || got.Expires != 600 || got.Scope != "" || got.Claims == "" || got.ID != "" {
		t.Errorf("token_type %q, expires_in %d, scope %q, claims %q, id_token %q",
			got.Type, got.Expires, got.Scope, got.Claims, got.ID)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Pragma") != "no-cache" {
		t.Errorf("the answer may be stored: %v", got.header)
	}
	claims := claimsOf(t, got.Access)
	if claims["sub"] != "alice" || claims["iss"] != srv.URL() || claims["client_id"] != sandbox.DefaultClientID {
		t.Errorf("access token claims: %v", claims)
	}
}

func TestClaimsCanBeOmitted(t *testing.T) {
	srv := start(t, sandbox.Config{OmitClaims: true})
	if got := mustRefresh(t, srv, login(t, srv, "alice")); got.Claims != "" {
		t.Errorf("claims %q, want none", got.Claims)
	}
}

func TestAccessTokenLifetimeCanBeSet(t *testing.T) {
	srv := start(t, sandbox.Config{AccessTokenLifetime: 5 * time.Second})
	got := mustRefresh(t, srv, login(t, srv, "alice"))
	if got.Expires != 5 {
		t.Errorf("expires_in %d, want 5", got.Expires)
	}
	if err := srv.SetAccessTokenLifetime(7 * time.Second); err != nil {
		t.Fatal(err)
	}
	if got = mustRefresh(t, srv, got.Refresh); got.Expires != 7 {
		t.Errorf("expires_in %d, want 7", got.Expires)
	}
	for _, d := range []time.Duration{0, -time.Second, 1500 * time.Millisecond} {
		if err := srv.SetAccessTokenLifetime(d); err == nil {
			t.Errorf("lifetime %s was accepted", d)
		}
	}
}

func TestPasswordGrant(t *testing.T) {
	srv := start(t, sandbox.Config{})
	c, ctx := client(t, srv), testContext(t)
	form := func(password, scope string) url.Values {
		v := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {password}}
		if scope != "" {
			v.Set("scope", scope)
		}
		return v
	}
	got, err := post(ctx, c, srv.TokenURL(), form("alice-password", "openid"), byDefault)
	if err != nil || got.status != http.StatusOK {
		t.Fatalf("HTTP %d, error %q, %v", got.status, got.Error, err)
	}
	if got.Scope != "openid" || claimsOf(t, got.ID)["aud"] == nil {
		t.Errorf("scope %q, id_token of %d bytes; want openid and one", got.Scope, len(got.ID))
	}
	next := mustRefresh(t, srv, got.Refresh)
	if next.Scope != "openid" || next.ID == "" {
		t.Errorf("after the refresh: scope %q, id_token of %d bytes", next.Scope, len(next.ID))
	}
	for name, form := range map[string]url.Values{
		"wrong password": form("wrong", ""),
		"unknown user":   {"grant_type": {"password"}, "username": {"nobody"}, "password": {"x"}},
	} {
		got, err := post(ctx, c, srv.TokenURL(), form, byDefault)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantError(t, got, http.StatusBadRequest, "invalid_grant")
	}
	if got, err = post(ctx, c, srv.TokenURL(), form("alice-password", "everything"), byDefault); err != nil {
		t.Fatal(err)
	}
	wantError(t, got, http.StatusBadRequest, "invalid_scope")
}

func TestMalformedTokenRequests(t *testing.T) {
	srv := start(t, sandbox.Config{Clients: append(sandbox.DefaultClients(), sandbox.Client{
		ID: "narrow", Secret: "narrow-secret", GrantTypes: []string{sandbox.GrantPassword},
	})})
	token := login(t, srv, "alice")
	twice := refreshForm(token)
	twice.Add("refresh_token", token)
	tests := []struct {
		name   string
		form   url.Values
		auth   authorization
		status int
		code   string
	}{
		{"no form", url.Values{}, byDefault, 400, "invalid_request"},
		{"no grant type", url.Values{"refresh_token": {token}}, byDefault, 400, "invalid_request"},
		{"no refresh token", url.Values{"grant_type": {"refresh_token"}}, byDefault, 400, "invalid_request"},
		{"no code", url.Values{"grant_type": {"authorization_code"}}, byDefault, 400, "invalid_request"},
		{"no password", url.Values{"grant_type": {"password"}, "username": {"alice"}}, byDefault, 400, "invalid_request"},
		{"parameter twice", twice, byDefault, 400, "invalid_request"},
		{"unknown grant type", url.Values{"grant_type": {"client_credentials"}}, byDefault, 400, "unsupported_grant_type"},
		{"unknown refresh token", refreshForm("_1XBPWQQ_none"), byDefault, 400, "invalid_grant"},
		{"unknown code", url.Values{"grant_type": {"authorization_code"}, "code": {"none"}}, byDefault, 400, "invalid_grant"},
		{"grant type not allowed", refreshForm(token), basic("narrow", "narrow-secret"), 400, "unauthorized_client"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := post(testContext(t), client(t, srv), srv.TokenURL(), test.form, test.auth)
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, got, test.status, test.code)
		})
	}
	mustRefresh(t, srv, token) // none of them spent it
}

func TestAnotherClientsRefreshTokenIsRefused(t *testing.T) {
	srv := start(t, sandbox.Config{Clients: append(sandbox.DefaultClients(), sandbox.Client{ID: "other", Secret: "s"})})
	token := login(t, srv, "alice")
	got, err := post(testContext(t), client(t, srv), srv.TokenURL(), refreshForm(token), basic("other", "s"))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, got, http.StatusBadRequest, "invalid_grant")
	mustRefresh(t, srv, token)
}

// fosite fills in some defaults when it first uses them, which is a race if the first requests come at
// the same time.
func TestTheFirstExchangesMayComeAtOnce(t *testing.T) {
	for range 20 {
		srv := start(t, sandbox.Config{})
		var group sync.WaitGroup
		for range 8 {
			token := login(t, srv, "alice")
			group.Go(func() {
				if got := refresh(t, srv, token); got.status != http.StatusOK {
					t.Errorf("HTTP %d: %s", got.status, got.raw)
				}
			})
		}
		group.Wait()
	}
}
