package sandbox_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestBadConfigurationsAreRefused(t *testing.T) {
	for name, cfg := range map[string]sandbox.Config{
		"all interfaces":       {Addr: ":0"},
		"another interface":    {Addr: "0.0.0.0:0"},
		"another host":         {Addr: "example.com:0"},
		"no port":              {Addr: "127.0.0.1"},
		"fractional lifetime":  {AccessTokenLifetime: time.Second / 2},
		"replay mode":          {Replay: "ignore"},
		"grace period":         {ReplayGrace: -1},
		"access token":         {AccessToken: "saml"},
		"tie mode":             {TieSessions: "knot"},
		"client without name":  {Clients: []sandbox.Client{{Secret: "s"}}},
		"authentication":       {Clients: []sandbox.Client{{ID: "c", Secret: "s", AuthMethod: "none"}}},
		"user without passwrd": {Users: []sandbox.User{{Username: "u"}}},
	} {
		srv, err := sandbox.Start(cfg)
		if err == nil {
			t.Cleanup(func() { _ = srv.Close() })
			t.Errorf("%s: the sandbox started", name)
		}
	}
}

func TestOnlyModernTLSAndHTTP1(t *testing.T) {
	srv := start(t, sandbox.Config{})
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(srv.CACertPEM()) {
		t.Fatal("the CA is not PEM")
	}
	addr := strings.TrimPrefix(srv.URL(), "https://")
	for _, name := range []string{"127.0.0.1", "::1", "localhost"} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: name, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
			t.Errorf("%s: protocol %q, want http/1.1", name, got)
		}
		_ = conn.Close()
	}
	if conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
	if _, err := http.Get(srv.TokenURL()); err == nil {
		t.Error("a client that does not know the CA was served")
	}
}

func TestPauseRefusesConnectionsAndKeepsTheGrants(t *testing.T) {
	srv := start(t, sandbox.Config{})
	token, address := login(t, srv, "alice"), srv.URL()
	if err := srv.Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := post(testContext(t), client(t, srv), srv.TokenURL(), refreshForm(token), byDefault); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("while paused: error %v, want a refused connection", err)
	}
	if err := srv.Resume(); err != nil {
		t.Fatal(err)
	}
	if srv.URL() != address {
		t.Errorf("the URL changed from %s to %s", address, srv.URL())
	}
	mustRefresh(t, srv, token)
}

func TestClosedServerStaysClosed(t *testing.T) {
	srv := start(t, sandbox.Config{})
	for range 2 {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := srv.Resume(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("error %v, want http.ErrServerClosed", err)
	}
}

func TestLoginNeedsAKnownClientAndUser(t *testing.T) {
	srv := start(t, sandbox.Config{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, try := range map[string]func() (string, error){
		"client":  func() (string, error) { return srv.Login(t.Context(), "nobody", "alice") },
		"user":    func() (string, error) { return srv.Login(t.Context(), sandbox.DefaultClientID, "nobody") },
		"context": func() (string, error) { return srv.Login(ended, sandbox.DefaultClientID, "alice") },
	} {
		if _, err := try(); err == nil {
			t.Errorf("%s: the login succeeded", name)
		}
	}
	if err := srv.AddUser(sandbox.User{Username: "dave", Password: "dave-password"}); err != nil {
		t.Fatal(err)
	}
	mustRefresh(t, srv, login(t, srv, "dave"))
}

// logBuffer collects log lines from many goroutines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestLogFollowsTheRotationWithoutSecrets(t *testing.T) {
	var out logBuffer
	srv := start(t, sandbox.Config{
		Faults: true,
		Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	secrets := []string{sandbox.DefaultClientSecret, "alice-password", "a-wrong-secret", "a-wrong-password", verifier}

	first := login(t, srv, "alice")
	second := mustRefresh(t, srv, first)
	callAPI(t, srv, second.Access)
	refresh(t, srv, first) // a replay
	code := newBrowser(t, srv).logIn(authorizeQuery()).Get("code")
	third := exchangeCode(t, srv, code, verifier)
	c, ctx := client(t, srv), testContext(t)
	for _, form := range []url.Values{
		{"grant_type": {"password"}, "username": {"alice"}, "password": {"a-wrong-password"}},
		{"grant_type": {"password"}, "username": {"a-wrong-password"}, "password": {"alice"}}, // swapped
	} {
		if _, err := post(ctx, c, srv.TokenURL(), form, byDefault); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := post(ctx, c, srv.TokenURL(), refreshForm(third.Refresh), basic(sandbox.DefaultClientID, "a-wrong-secret")); err != nil {
		t.Fatal(err)
	}
	setFault(t, srv, sandbox.Fault{Action: sandbox.ActionDrop, When: sandbox.FaultAfter, Count: 1})
	_, _ = post(ctx, c, srv.TokenURL(), refreshForm(third.Refresh), byDefault) // fails: it is dropped
	fourth, err := srv.CurrentRefreshToken(third.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := post(ctx, c, srv.RevokeURL(), url.Values{"token": {fourth}}, byDefault); err != nil {
		t.Fatal(err)
	}

	log := out.String()
	secrets = append(secrets, first, second.Refresh, second.Access, third.Refresh, third.Access, fourth, code)
	for _, secret := range secrets {
		if secret == "" || strings.Contains(log, secret) || strings.Contains(log, url.QueryEscape(secret)) {
			t.Errorf("the log holds secret %q", secret)
		}
	}
	for _, want := range []string{
		fmt.Sprintf("refresh_token=%s next_refresh_token=%s", sandbox.TokenHash(first)[:8], sandbox.TokenHash(second.Refresh)[:8]),
		"grant_type=refresh_token client_id=sandbox-client user=alice",
		"result=ok status=200", "result=invalid_grant status=400", "result=invalid_client status=401",
		"fault=after:drop result=ok status=0", "path=/oauth/v2/oauth-revoke", "duration=",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if lines, want := strings.Count(log, "\n"), 11; lines != want {
		t.Errorf("%d lines, want one for each of %d requests:\n%s", lines, want, log)
	}
}

func TestHundredThousandGrants(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: 100,000 grants are too many for -short")
	}
	const n, perGrant = 100_000, 1024 // bytes
	srv := start(t, sandbox.Config{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var last string
	for range n {
		last = login(t, srv, "alice")
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := (after.HeapAlloc - before.HeapAlloc) / n; used > perGrant {
		t.Errorf("a grant takes %d bytes, want at most %d", used, perGrant)
	}
	mustRefresh(t, srv, last)
}
