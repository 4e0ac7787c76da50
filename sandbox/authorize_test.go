package sandbox_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

const (
	redirectURI = "http://127.0.0.1:8200/v1/pagero/callback"
	verifier    = "a-verifier-of-at-least-forty-three-characters-0123456789"
)

func authorizeQuery() url.Values {
	sum := sha256.Sum256([]byte(verifier))
	return url.Values{
		"response_type":         {"code"},
		"client_id":             {sandbox.DefaultClientID},
		"redirect_uri":          {redirectURI},
		"state":                 {"the state & more"},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(sum[:])},
		"code_challenge_method": {"S256"},
	}
}

// browser is an HTTP client with cookies that stops at redirects.
type browser struct {
	t   *testing.T
	srv *sandbox.Server
	c   *http.Client
}

func newBrowser(t *testing.T, srv *sandbox.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, srv)
	c.Jar = jar
	return &browser{t: t, srv: srv, c: c}
}

// page is what a browser received.
type page struct {
	status   int
	header   http.Header
	body     string
	location url.Values // the query of the redirect, if it is one
}

func (b *browser) do(r *http.Request) page {
	b.t.Helper()
	answer, err := b.c.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	p := page{status: answer.StatusCode, header: answer.Header, body: string(body)}
	if location := answer.Header.Get("Location"); location != "" {
		if !strings.HasPrefix(location, redirectURI+"?") {
			b.t.Fatalf("redirect to %q", location)
		}
		if p.location, err = url.ParseQuery(strings.TrimPrefix(location, redirectURI+"?")); err != nil {
			b.t.Fatal(err)
		}
	}
	return p
}

func (b *browser) open(query url.Values) page {
	b.t.Helper()
	r, err := http.NewRequestWithContext(testContext(b.t), http.MethodGet, b.srv.AuthorizeURL()+"?"+query.Encode(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

var formAction = regexp.MustCompile(`<form method="post" action="([^"]+)">`)

// press fills in the login page's form and presses a button.
func (b *browser) press(p page, username, password, button string) page {
	b.t.Helper()
	action := formAction.FindStringSubmatch(p.body)
	if action == nil {
		b.t.Fatalf("HTTP %d is no login page", p.status)
	}
	form := url.Values{"username": {username}, "password": {password}, "button": {button}}
	r, err := http.NewRequestWithContext(testContext(b.t), http.MethodPost,
		b.srv.URL()+html.UnescapeString(action[1]), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// logIn opens the authorization URL, logs alice in, and returns the redirect's query.
func (b *browser) logIn(query url.Values) url.Values {
	b.t.Helper()
	p := b.press(b.open(query), "alice", "alice-password", "login")
	if p.location.Get("code") == "" {
		b.t.Fatalf("HTTP %d without a code, error %q", p.status, p.location.Get("error"))
	}
	return p.location
}

func exchangeCode(t *testing.T, srv *sandbox.Server, code, verifier string) reply {
	t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}}
	if verifier != "" {
		form.Set("code_verifier", verifier)
	}
	got, err := post(testContext(t), client(t, srv), srv.TokenURL(), form, byDefault)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLoginThroughThePage(t *testing.T) {
	srv := start(t, sandbox.Config{})
	query := authorizeQuery()
	query.Set("scope", "openid")
	query.Set("nonce", "a-nonce-of-some-length")
	b := newBrowser(t, srv)

	asked := b.open(query)
	if asked.status != http.StatusOK || strings.Contains(asked.body, "<script") || !strings.Contains(asked.body, "viewport") {
		t.Errorf("login page: HTTP %d\n%s", asked.status, asked.body)
	}
	got := b.press(asked, "alice", "alice-password", "login").location
	if got.Get("state") != query.Get("state") || got.Get("iss") != srv.URL() || len(got) != 3 {
		t.Errorf("the redirect has %v, want code, state and iss", got)
	}
	tokens := exchangeCode(t, srv, got.Get("code"), verifier)
	if tokens.status != http.StatusOK || tokens.Refresh == "" {
		t.Fatalf("code exchange: HTTP %d, error %q", tokens.status, tokens.Error)
	}
	if claims := claimsOf(t, tokens.ID); claims["nonce"] != query.Get("nonce") || claims["sub"] != "alice" {
		t.Errorf("id_token claims: %v", claims)
	}
	if n := srv.Stats().Logins["ok"]; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	mustRefresh(t, srv, tokens.Refresh)
}

func TestSecondAuthorizationIsSilentUnlessLoginIsAskedFor(t *testing.T) {
	srv := start(t, sandbox.Config{})
	b := newBrowser(t, srv)
	query := authorizeQuery()

	none := maps.Clone(query)
	none.Set("prompt", "none")
	if got := b.open(none); got.location.Get("error") != "login_required" {
		t.Errorf("prompt=none before the login: HTTP %d, %v", got.status, got.location)
	}
	b.logIn(query)
	if got := b.open(query); got.location.Get("code") == "" {
		t.Errorf("second authorization: HTTP %d, want a redirect with a code", got.status)
	}
	query.Set("prompt", "login")
	b.logIn(query) // fails unless there is a page with a form
	if got := newBrowser(t, srv).open(authorizeQuery()); got.status != http.StatusOK {
		t.Errorf("another browser: HTTP %d, want the login page", got.status)
	}
}

func TestLoginCanBeCancelled(t *testing.T) {
	srv := start(t, sandbox.Config{})
	b := newBrowser(t, srv)
	got := b.press(b.open(authorizeQuery()), "", "", "cancel").location
	if got.Get("error") != "access_denied" || got.Get("state") != "the state & more" || got.Get("iss") != srv.URL() || got.Has("code") {
		t.Errorf("the redirect has %v", got)
	}
}

func TestWrongPasswordAsksAgain(t *testing.T) {
	srv := start(t, sandbox.Config{})
	b := newBrowser(t, srv)
	again := b.press(b.open(authorizeQuery()), `alice"><i>`, "wrong", "login")
	if again.status != http.StatusForbidden || !strings.Contains(again.body, `role="alert"`) || strings.Contains(again.body, "<i>") {
		t.Errorf("HTTP %d\n%s", again.status, again.body)
	}
	if got := b.press(again, "alice", "alice-password", "login"); got.location.Get("code") == "" {
		t.Errorf("the second try: HTTP %d", got.status)
	}
}

func TestPKCE(t *testing.T) {
	srv := start(t, sandbox.Config{})
	b := newBrowser(t, srv)

	code := b.logIn(authorizeQuery()).Get("code")
	wantError(t, exchangeCode(t, srv, code, strings.Repeat("x", 43)), http.StatusBadRequest, "invalid_grant")
	// fosite deletes the challenge at the first try. Without one, a request without a verifier would pass.
	wantError(t, exchangeCode(t, srv, code, ""), http.StatusBadRequest, "invalid_grant")
	if got := exchangeCode(t, srv, code, verifier); got.status != http.StatusOK {
		t.Errorf("with the verifier: HTTP %d, error %q", got.status, got.Error)
	}

	plain := authorizeQuery()
	plain.Set("code_challenge", verifier)
	plain.Set("code_challenge_method", "plain")
	if got := b.open(plain); got.location.Get("error") != "invalid_request" {
		t.Errorf("method plain: HTTP %d, %v", got.status, got.location)
	}
}

func TestCodeWorksOnce(t *testing.T) {
	srv := start(t, sandbox.Config{})
	code := newBrowser(t, srv).logIn(authorizeQuery()).Get("code")
	tokens := exchangeCode(t, srv, code, verifier)
	wantError(t, exchangeCode(t, srv, code, verifier), http.StatusBadRequest, "invalid_grant")
	// RFC 6749 section 4.1.2: the tokens of the code are revoked
	wantError(t, refresh(t, srv, tokens.Refresh), http.StatusBadRequest, "invalid_grant")
}

func TestCodeExpires(t *testing.T) {
	clock := newClock()
	srv := start(t, sandbox.Config{Now: clock.now})
	code := newBrowser(t, srv).logIn(authorizeQuery()).Get("code")
	clock.advance(time.Minute)
	wantError(t, exchangeCode(t, srv, code, verifier), http.StatusBadRequest, "invalid_grant")
}

func TestCodeNeedsItsRedirectURI(t *testing.T) {
	srv := start(t, sandbox.Config{})
	code := newBrowser(t, srv).logIn(authorizeQuery()).Get("code")
	got, err := post(testContext(t), client(t, srv), srv.TokenURL(), url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier},
		"redirect_uri": {"http://127.0.0.1/callback"},
	}, byDefault)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, got, http.StatusBadRequest, "invalid_grant")
}

func TestFormPostResponseMode(t *testing.T) {
	srv := start(t, sandbox.Config{})
	b := newBrowser(t, srv)
	query := authorizeQuery()
	query.Set("response_mode", "form_post")
	got := b.press(b.open(query), "alice", "alice-password", "login")
	action := formAction.FindStringSubmatch(got.body)
	if got.status != http.StatusOK || action == nil || html.UnescapeString(action[1]) != redirectURI {
		t.Fatalf("HTTP %d\n%s", got.status, got.body)
	}
	fields := url.Values{}
	for _, field := range regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(got.body, -1) {
		fields.Set(field[1], html.UnescapeString(field[2]))
	}
	if fields.Get("state") != query.Get("state") || fields.Get("iss") != srv.URL() {
		t.Errorf("the form has %v", fields)
	}
	if tokens := exchangeCode(t, srv, fields.Get("code"), verifier); tokens.status != http.StatusOK {
		t.Errorf("code exchange: HTTP %d, error %q", tokens.status, tokens.Error)
	}
}

func TestTheIssuerCanBeOmitted(t *testing.T) {
	srv := start(t, sandbox.Config{OmitIssuer: true})
	if got := newBrowser(t, srv).logIn(authorizeQuery()); got.Has("iss") {
		t.Errorf("the redirect has iss %q", got.Get("iss"))
	}
}

func TestStateIsOptional(t *testing.T) {
	srv := start(t, sandbox.Config{})
	query := authorizeQuery()
	query.Del("state")
	got := newBrowser(t, srv).logIn(query)
	if got.Has("state") {
		t.Errorf("the redirect has state %q", got.Get("state"))
	}
	if tokens := exchangeCode(t, srv, got.Get("code"), verifier); tokens.status != http.StatusOK {
		t.Errorf("code exchange: HTTP %d, error %q", tokens.status, tokens.Error)
	}
}

func TestBadAuthorizationRequests(t *testing.T) {
	srv := start(t, sandbox.Config{})
	tests := []struct {
		name, param, value string
		redirected         string // the error code on the redirect; "" means a page
	}{
		{"unknown client", "client_id", "nobody", ""},
		{"unregistered redirect URI", "redirect_uri", "http://127.0.0.1:8200/elsewhere", ""},
		{"redirect URI of another host", "redirect_uri", "https://example.com/callback", ""},
		{"response mode", "response_mode", "web_message", ""},
		{"response type", "response_type", "token", "unsupported_response_type"},
		{"scope", "scope", "everything", "invalid_scope"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			query := authorizeQuery()
			query.Set(test.param, test.value)
			got := newBrowser(t, srv).open(query)
			if got.location.Get("error") != test.redirected {
				t.Errorf("redirected with error %q, want %q", got.location.Get("error"), test.redirected)
			}
			if test.redirected == "" && got.status != http.StatusBadRequest {
				t.Errorf("HTTP %d, want a page with 400", got.status)
			}
		})
	}
	query := authorizeQuery()
	query.Add("state", "another")
	if got := newBrowser(t, srv).open(query); got.status != http.StatusBadRequest {
		t.Errorf("parameter given twice: HTTP %d, want 400", got.status)
	}
}

func TestAnyLoopbackPortMatches(t *testing.T) {
	srv := start(t, sandbox.Config{})
	query := authorizeQuery()
	query.Set("redirect_uri", "http://127.0.0.1:45678/v1/pagero/callback")
	if got := newBrowser(t, srv).open(query); got.status != http.StatusOK {
		t.Errorf("HTTP %d, want the login page", got.status)
	}
}
