package sandbox_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// refreshRaw runs the refresh grant and returns the answer with the body as it was sent.
func refreshRaw(t *testing.T, srv *sandbox.Server, token string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), http.MethodPost, srv.TokenURL(), strings.NewReader(refreshForm(token).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	byDefault(r, nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c := client(t, srv)
	c.Transport.(*http.Transport).DisableCompression = true
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, body
}

func unpack(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	var (
		reader io.Reader = bytes.NewReader(body)
		err    error
	)
	switch encoding {
	case "gzip":
		reader, err = gzip.NewReader(reader)
	case "deflate":
		reader, err = zlib.NewReader(reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err = io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestPresets has each preset strike a refresh token that works.
func TestPresets(t *testing.T) {
	tests := map[string]struct {
		status int
		packed string // how the body is really compressed
		tokens bool   // the body has the next refresh token
		spent  bool
		part   string            // of the body
		header map[string]string // "" means that there is none
	}{
		"gzip":                {status: 200, packed: "gzip", tokens: true, spent: true, header: map[string]string{"Content-Encoding": "gzip"}},
		"gzip-unnamed":        {status: 200, packed: "gzip", tokens: true, spent: true, header: map[string]string{"Content-Encoding": ""}},
		"deflate":             {status: 200, packed: "deflate", tokens: true, spent: true, header: map[string]string{"Content-Encoding": "deflate"}},
		"large-headers":       {status: 200, tokens: true, spent: true},
		"tokens-in-500":       {status: 500, tokens: true, spent: true},
		"token-type":          {status: 200, tokens: true, spent: true, part: `"token_type":"jwt-bearer"`},
		"date-skew":           {status: 200, tokens: true, spent: true},
		"garble":              {status: 200, spent: true, part: "<html>", header: map[string]string{"Content-Type": "text/html"}},
		"gateway-404":         {status: 404, part: `"error":"Not Found"`},
		"unauthorized-client": {status: 401, part: "unauthorized_client"},
		"rate-limit":          {status: 400, part: "access_denied"},
		"retry-after":         {status: 429, header: map[string]string{"Retry-After": "5"}},
		// These leave a token that works alone.
		"dead-in-200":          {status: 200, tokens: true, spent: true},
		"dead-invalid-request": {status: 200, tokens: true, spent: true},
		"dead-access-denied":   {status: 200, tokens: true, spent: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			srv := start(t, sandbox.Config{Faults: true, Replay: sandbox.ReplayRefuse})
			fault, err := sandbox.Preset(name)
			if err != nil {
				t.Fatal(err)
			}
			fault.Count = 1
			setFault(t, srv, fault)
			token := login(t, srv, "alice")
			answer, sent := refreshRaw(t, srv, token)
			body := unpack(t, test.packed, sent)
			var tokens reply
			_ = json.Unmarshal(body, &tokens) // no tokens if it is not JSON
			if answer.StatusCode != test.status || (tokens.Refresh != "") != test.tokens || !strings.Contains(string(body), test.part) {
				t.Errorf("HTTP %d, body %q", answer.StatusCode, body)
			}
			for header, want := range test.header {
				if got := answer.Header.Get(header); got != want {
					t.Errorf("header %s is %q, want %q", header, got, want)
				}
			}
			if told := srv.Requests()[0].Told; told != test.tokens {
				t.Errorf("recorded as told: %t", told)
			}
			if current, err := srv.CurrentRefreshToken(token); err != nil || (current != token) != test.spent {
				t.Errorf("the token is spent: %t, %v", current != token, err)
			}
		})
	}
}

func TestAnswersToDeadTokens(t *testing.T) {
	for name, want := range map[string]struct {
		status int
		code   string
	}{
		"dead-in-200":          {200, "invalid_grant"},
		"dead-invalid-request": {400, "invalid_request"},
		"dead-access-denied":   {400, "access_denied"},
	} {
		srv := start(t, sandbox.Config{Faults: true})
		fault, err := sandbox.Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		handle := setFault(t, srv, fault)
		token := login(t, srv, "alice")
		next := mustRefresh(t, srv, token).Refresh
		srv.RevokeUser("alice")
		wantError(t, refresh(t, srv, next), want.status, want.code)
		if handle.Hits() != 1 {
			t.Errorf("%s: %d hits, want 1", name, handle.Hits())
		}
	}
}

func TestSizeOfHeadersAndSkewOfTheDate(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	setFault(t, srv, sandbox.Fault{
		When: sandbox.FaultAfter, Action: sandbox.ActionAlter, HeaderBytes: 10_000, DateSkew: 5 * time.Minute,
	})
	answer, _ := refreshRaw(t, srv, login(t, srv, "alice"))
	size := 0
	for _, value := range answer.Header.Values("Set-Cookie") {
		size += len("Set-Cookie: ") + len(value) + len("\r\n")
	}
	if size != 10_000 {
		t.Errorf("the added headers have %d bytes", size)
	}
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if skew := time.Until(date); err != nil || skew < 4*time.Minute || skew > 5*time.Minute {
		t.Errorf("the date is off by %s, %v", skew, err)
	}
}

func TestUnknownPreset(t *testing.T) {
	if _, err := sandbox.Preset("none"); err == nil || !strings.Contains(err.Error(), "gateway-404") {
		t.Errorf("error %v, want one that lists the presets", err)
	}
}
