package oauth

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

const (
	code     = "code-canary"
	verifier = "verifier-canary"
	password = "pass word-canary&"
)

func TestEachGrantSendsItsFormOnce(t *testing.T) {
	for _, c := range []struct {
		name, path, body string
		run              func(context.Context, *Exchanger, Client) Result
	}{
		{
			"authorization code", "/oauth/v2/oauth-token",
			"grant_type=authorization_code&code=code-canary&redirect_uri=https%3A%2F%2Fvault.example%2Fv1%2Fpagero%2Fcallback&code_verifier=verifier-canary",
			func(ctx context.Context, e *Exchanger, c Client) Result {
				return e.RedeemCode(ctx, c, Code{NewSecret(code), "https://vault.example/v1/pagero/callback", NewSecret(verifier)})
			},
		},
		{
			"password", "/oauth/v2/oauth-token",
			"grant_type=password&username=alice%40example.com&password=pass+word-canary%26",
			func(ctx context.Context, e *Exchanger, c Client) Result {
				return e.LogIn(ctx, c, Credentials{"alice@example.com", NewSecret(password)})
			},
		},
		{
			"revocation", "/oauth/v2/oauth-revoke", "token=_1XBPWQQ_presented-canary",
			func(ctx context.Context, e *Exchanger, c Client) Result {
				return e.Revoke(ctx, c, NewSecret(presented))
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newRawServer(t, nil, func(p *peer) {
				answering(httpAnswer(http.StatusOK, normalAnswer))(p)
				p.untilClosed()
			})
			client := testClient(server.url)
			client.RevokeURL = strings.Replace(server.url, "oauth-token", "oauth-revoke", 1)
			if result := c.run(t.Context(), &Exchanger{}, client); result.Outcome != Succeeded {
				t.Fatalf("%v: %s", result.Outcome, result.Reason)
			}
			server.sees(t, 1, 1)
			request := string(server.requests[0])
			if !strings.HasPrefix(request, "POST "+c.path+" HTTP/1.1\r\n") || !strings.HasSuffix(request, "\r\n\r\n"+c.body) {
				t.Errorf("the request is\n%s\nnot a POST to %s of\n%s", request, c.path, c.body)
			}
		})
	}
}

func TestRevocationIsReadFromTheStatus(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   Outcome
	}{
		"empty":              {httpAnswer(http.StatusOK, ""), Succeeded},
		"a page":             {httpAnswer(http.StatusOK, "<html>"), Succeeded},
		"refused client":     {httpAnswer(http.StatusUnauthorized, `{"error":"invalid_client"}`), Rejected},
		"unknown token type": {httpAnswer(http.StatusBadRequest, `{"error":"unsupported_token_type"}`), Refused},
		"tokens":             {httpAnswer(http.StatusBadRequest, normalAnswer), Refused},
		"no such method":     {httpAnswer(http.StatusNotFound, ""), Refused},
		"server out of use":  {httpAnswer(http.StatusServiceUnavailable, ""), InDoubt},
	} {
		t.Run(name, func(t *testing.T) {
			server := newRawServer(t, nil, func(p *peer) {
				answering(c.answer)(p)
				p.untilClosed()
			})
			client := testClient("")
			client.RevokeURL = server.url
			result := (&Exchanger{}).Revoke(t.Context(), client, NewSecret(presented))
			if result.Outcome != c.want || (c.want != Succeeded) != (result.Reason != "") || result.Tokens != (Tokens{}) {
				t.Errorf("%v: %q", result.Outcome, result.Reason)
			}
		})
	}
}

// A probe must not spend anything: its refresh token is nobody's, and differs.
func TestProbePresentsATokenThatWasNeverIssued(t *testing.T) {
	server := newRawServer(t, nil, answering(httpAnswer(http.StatusBadRequest, `{"error":"invalid_grant"}`)))
	for range 2 {
		result := (&Exchanger{}).Probe(t.Context(), testClient(server.url))
		if result.Outcome != Rejected || result.Code != CodeInvalidGrant || !result.Readable() {
			t.Errorf("got %v, %s, readable %t", result.Outcome, result.Code, result.Readable())
		}
	}
	server.sees(t, 2, 2)
	form := regexp.MustCompile(`\r\n\r\ngrant_type=refresh_token&refresh_token=([A-Za-z0-9_-]{43})$`)
	one, two := form.FindSubmatch(server.requests[0]), form.FindSubmatch(server.requests[1])
	if one == nil || two == nil || bytes.Equal(one[1], two[1]) {
		t.Errorf("the requests are\n%s\n%s", server.requests[0], server.requests[1])
	}
}

func TestAnswerInOAuthIsReadable(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   bool
	}{
		{200, normalAnswer, true},
		{500, normalAnswer, true},
		{400, `{"error":"invalid_grant"}`, true},
		{200, `{"error":"invalid_grant"}`, true},
		{401, `{"error":"invalid_client"}`, true},
		{503, `{"error":"temporarily_unavailable"}`, true},
		{429, `{"error":"slow_down"}`, true},
		{429, `{"error":"canary"}`, false},
		{429, "<html>", false},
		{400, `{"error":"canary"}`, false},
		{404, "<html>", false},
		{302, "", false},
		{200, "<html>", false},
		{200, "{}", false},
		{500, `{"error":"Internal Server Error"}`, false},
		{502, "<html>", false},
	} {
		result := resultOf(&http.Response{StatusCode: c.status, Body: io.NopCloser(strings.NewReader(c.body))})
		if result.Readable() != c.want {
			t.Errorf("%d %s: readable %t", c.status, c.body, result.Readable())
		}
	}
	for _, outcome := range []Outcome{InDoubt, NotSent, Refused, Unreadable} {
		if (Result{Outcome: outcome}).Readable() {
			t.Errorf("%v is readable", outcome)
		}
	}
}

func TestAuthorizationURLHasTheParametersAndTheChallenge(t *testing.T) {
	// The verifier and its challenge are those of RFC 7636, appendix B.
	request := AuthorizationRequest{
		ClientID: "our app", RedirectURI: "https://vault.example/v1/pagero/callback", State: NewSecret("state"),
		Verifier: NewSecret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
	}
	got, err := request.URL("https://sso.example/authorize?tenant=1")
	if err != nil {
		t.Fatal(err)
	}
	want := "https://sso.example/authorize?client_id=our+app&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" +
		"&code_challenge_method=S256&redirect_uri=https%3A%2F%2Fvault.example%2Fv1%2Fpagero%2Fcallback&response_type=code&state=state&tenant=1"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	request.Scope, request.Prompt, request.ResponseMode = "all openid", "login", "form_post"
	got, err = request.URL("https://sso.example/authorize")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"scope": "all openid", "prompt": "login", "response_mode": "form_post"} {
		if u.Query().Get(name) != value {
			t.Errorf("%s is %q", name, u.Query().Get(name))
		}
	}
	if strings.Contains(got, request.Verifier.Reveal()) {
		t.Error("the verifier is in the URL")
	}
}

func TestRandomTextsAreLongAndDiffer(t *testing.T) {
	one, two := NewRandom().Reveal(), NewRandom().Reveal()
	if len(one) != 43 || one == two || url.QueryEscape(one) != one {
		t.Errorf("%q, %q", one, two)
	}
}
