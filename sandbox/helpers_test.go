package sandbox_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// patience is the time limit of a test for what should happen at once.
const patience = 30 * time.Second

// start runs a sandbox until the end of the test.
func start(t *testing.T, cfg sandbox.Config) *sandbox.Server {
	t.Helper()
	srv, err := sandbox.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("closing the sandbox: %v", err)
		}
	})
	return srv
}

// client returns an HTTP client that follows no redirects.
func client(t *testing.T, srv *sandbox.Server) *http.Client {
	t.Helper()
	c := srv.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// reply is an answer of the token endpoint.
type reply struct {
	status  int
	header  http.Header
	raw     string
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"`
	Scope   string `json:"scope"`
	Claims  string `json:"claims"`
	ID      string `json:"id_token"`
	Error   string `json:"error"`
}

// authorization sets a request's client credentials.
type authorization func(*http.Request, url.Values)

func basic(id, secret string) authorization {
	return func(r *http.Request, _ url.Values) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

func inForm(id, secret string) authorization {
	return func(_ *http.Request, form url.Values) {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
}

var byDefault = basic(sandbox.DefaultClientID, sandbox.DefaultClientSecret)

// post sends a form and returns the answer, or the error of the transport.
func post(ctx context.Context, c *http.Client, target string, form url.Values, auth authorization) (reply, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, nil)
	if err != nil {
		return reply{}, err
	}
	if auth != nil {
		auth(r, form)
	}
	body := form.Encode()
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := c.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	out := reply{status: answer.StatusCode, header: answer.Header}
	raw, err := io.ReadAll(answer.Body)
	out.raw = string(raw)
	if err != nil {
		return out, err
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			return out, fmt.Errorf("answer is not JSON: %w", err)
		}
	}
	return out, nil
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// refresh runs the refresh grant and fails the test if there is no answer.
func refresh(t *testing.T, srv *sandbox.Server, token string) reply {
	t.Helper()
	out, err := post(testContext(t), client(t, srv), srv.TokenURL(), refreshForm(token), byDefault)
	if err != nil {
		t.Fatalf("refresh: %v", err)
	}
	return out
}

func mustRefresh(t *testing.T, srv *sandbox.Server, token string) reply {
	t.Helper()
	out := refresh(t, srv, token)
	if out.status != http.StatusOK {
		t.Fatalf("refresh: HTTP %d, error %q, want 200", out.status, out.Error)
	}
	return out
}

func wantError(t *testing.T, got reply, status int, code string) {
	t.Helper()
	if got.status != status || got.Error != code {
		t.Errorf("answer is HTTP %d with error %q, want %d with %q", got.status, got.Error, status, code)
	}
}

func login(t *testing.T, srv *sandbox.Server, username string) string {
	t.Helper()
	token, err := srv.Login(t.Context(), sandbox.DefaultClientID, username)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// callAPI calls the protected API and returns the answer, with its body closed.
func callAPI(t *testing.T, srv *sandbox.Server, token string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), http.MethodGet, srv.DocumentsURL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client(t, srv).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	return answer
}

// claimsOf reads a JWT's claims without checking its signature.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
