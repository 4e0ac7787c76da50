package oauth

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	broke    = "the connection broke before an answer came"
	timedOut = "no answer came within the exchange_timeout"
)

func TestLostAnswerLeavesInDoubt(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(p *peer, pass func())
		reason string
	}{
		{"closed before reading", func(*peer, func()) {}, broke},
		{"closed after the request", func(p *peer, _ func()) { p.request() }, broke},
		{"reset after the request", func(p *peer, _ func()) { p.request(); p.reset() }, broke},
		{"cut status line", func(p *peer, _ func()) { answering("HTTP/1.1 20")(p) }, broke},
		{"cut headers", func(p *peer, _ func()) { answering("HTTP/1.1 200 OK\r\nContent-Type: app")(p) }, broke},
		{"reset in the headers", func(p *peer, _ func()) { answering("HTTP/1.1 200 OK\r\nConte")(p); p.reset() }, broke},
		{"answer that is not HTTP", func(p *peer, _ func()) { answering("SSH-2.0-OpenSSH_9.6\r\n" + normalAnswer)(p) }, broke},
		{"answer of HTTP/2", func(p *peer, _ func()) { answering("\x00\x00\x12\x04\x00\x00\x00\x00\x00")(p) }, broke},
		{"headers over 64 KiB", func(p *peer, _ func()) {
			answering(httpAnswer(http.StatusOK, normalAnswer, "X-Long: "+strings.Repeat("x", maxHeaderBytes)))(p)
		}, broke},
		{"many headers", func(p *peer, _ func()) {
			p.request()
			_, err := io.WriteString(p, "HTTP/1.1 200 OK\r\n")
			for i := 0; err == nil && i < maxHeaderBytes; i++ {
				_, err = fmt.Fprintf(p, "X-%d: canary\r\n", i)
			}
			_, _ = io.WriteString(p, "\r\n"+normalAnswer)
		}, broke},
		{"many informational answers", func(p *peer, _ func()) {
			p.request()
			for range maxHeaderBytes {
				if _, err := io.WriteString(p, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
					return
				}
			}
			_, _ = io.WriteString(p, httpAnswer(http.StatusOK, normalAnswer))
		}, broke},
		{"deadline before the answer", func(p *peer, pass func()) { p.request(); pass(); p.untilClosed() }, timedOut},
		{"deadline in the headers", func(p *peer, pass func()) {
			answering("HTTP/1.1 200 OK\r\nContent-Type: app")(p)
			pass()
			p.untilClosed()
		}, timedOut},
	} {
		for _, scheme := range schemes(t) {
			t.Run(c.name+" over "+scheme.name, func(t *testing.T) {
				ctx, pass := deadline(t)
				server := newRawServer(t, scheme.config, func(p *peer) {
					if handshake, ok := p.Conn.(*tls.Conn); ok && handshake.HandshakeContext(t.Context()) != nil {
						return
					}
					c.script(p, pass)
				})
				client := testClient(server.url)
				client.CACert = scheme.caCert
				isInDoubt(t, exchangeWith(ctx, t, client), 0, c.reason)
				if connections, requests := server.counts(); connections != 1 || requests > 1 {
					t.Errorf("the server saw %d connections and %d requests", connections, requests)
				}
			})
		}
	}
}

// In TLS 1.3 a client has finished its handshake before the server looks at the
// client's certificate: by then the request may be on its way.
func TestRefusalBehindTheHandshakeLeavesInDoubt(t *testing.T) {
	config, caCert := newCertificate(t, "127.0.0.1")
	config.ClientAuth, config.MinVersion = tls.RequireAnyClientCert, tls.VersionTLS13
	server := newRawServer(t, config, func(p *peer) { p.request() })
	client := testClient(server.url)
	client.CACert = caCert
	isInDoubt(t, exchange(t, client), 0, broke)
	server.sees(t, 1, 0)
}

func TestUnusableAnswerLeavesInDoubt(t *testing.T) {
	const (
		noToken = "the answer (HTTP status %d) held no token"
		cut     = "the answer (HTTP status %d) was cut off or is not JSON"
		noCode  = "the server answered HTTP status %d without an OAuth error code"
		plain   = "the server answered HTTP status %d"
	)
	html := "<html><body>canary</body></html>"
	for _, c := range []struct {
		name   string
		status int
		answer string
		reason string
	}{
		{"2xx without a body", 200, httpAnswer(200, ""), cut},
		{"204", 204, "HTTP/1.1 204 No Content\r\n\r\n", cut},
		{"2xx with HTML", 200, httpAnswer(200, html, "Content-Type: text/html"), cut},
		{"2xx with an array", 200, httpAnswer(200, `[{"access_token":"a"}]`), cut},
		{"2xx with a string", 200, httpAnswer(200, `"canary"`), cut},
		{"2xx with null", 200, httpAnswer(200, "null"), cut},
		{"2xx with an empty object", 200, httpAnswer(200, "{}"), noToken},
		{"2xx with an error", 200, httpAnswer(200, `{"error":"invalid_grant"}`), noToken},
		{"2xx with tokens of the wrong type", 200, httpAnswer(200, `{"access_token":1,"refresh_token":{"a":"b"}}`), noToken},
		{"2xx with empty tokens", 200, httpAnswer(200, `{"access_token":"","refresh_token":""}`), noToken},
		{"2xx with only an unusable access token", 200, httpAnswer(200, `{"access_token":"a","token_type":"mac"}`), noToken},
		{"2xx cut before the refresh token", 200, cutAnswer(200, `{"access_token":"`+access+`","token_type":"bearer",`), cut},
		{"2xx cut in the name of the refresh token", 200, cutAnswer(200, `{"access_token":"a","refresh_tok`), cut},
		{"2xx cut in the refresh token", 200, cutAnswer(200, `{"access_token":"a","refresh_token":"_1XBPWQQ_ne`), cut},
		{"2xx cut before its chunk", 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", cut},
		{"2xx with a bad chunk", 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary", cut},
		{"refresh token behind 1 MiB", 200, httpAnswer(200, `{"pad":"`+strings.Repeat("x", maxAnswerBytes)+`",`+normalAnswer[1:]), cut},

		{"400 without a body", 400, httpAnswer(400, ""), noCode},
		{"400 with an empty object", 400, httpAnswer(400, "{}"), noCode},
		{"400 with an empty code", 400, httpAnswer(400, `{"error":""}`), noCode},
		{"400 with a code that is not a string", 400, httpAnswer(400, `{"error":{"code":"invalid_grant"}}`), noCode},
		{"400 with a cut body", 400, cutAnswer(400, `{"error":"invalid_grant","error_description":"canary`), noCode},
		{"400 cut behind the code", 400, cutAnswer(400, `{"error":"invalid_grant"`), noCode},
		{"401 with HTML", 401, httpAnswer(401, html), noCode},
		{"403 of a firewall", 403, httpAnswer(403, html), noCode},
		{"404", 404, httpAnswer(404, "404 page not found"), noCode},
		{"407", 407, httpAnswer(407, ""), noCode},

		{"500", 500, httpAnswer(500, html), plain},
		{"500 with an OAuth error code", 500, httpAnswer(500, `{"error":"server_error"}`), plain},
		{"502", 502, httpAnswer(502, html), plain},
		{"503 with a code that kills grants", 503, httpAnswer(503, `{"error":"invalid_grant"}`), plain},
		{"504", 504, httpAnswer(504, html), plain},
		{"500 with tokens", 500, httpAnswer(500, normalAnswer), plain},
		{"101", 101, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: canary\r\n\r\n" + normalAnswer, plain},
		{"600", 600, httpAnswer(600, normalAnswer), plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newRawServer(t, nil, answering(c.answer))
			isInDoubt(t, exchange(t, testClient(server.url)), c.status, fmt.Sprintf(c.reason, c.status))
			server.sees(t, 1, 1)
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			var contacted atomic.Int32
			target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				contacted.Add(1)
				_, _ = io.WriteString(w, normalAnswer)
			}))
			defer target.Close()
			server := newRawServer(t, nil, answering(httpAnswer(status, normalAnswer, "Location: "+target.URL+"/canary")))
			if status == http.StatusNotModified {
				server = newRawServer(t, nil, answering("HTTP/1.1 304 Not Modified\r\n\r\n"))
			}
			isInDoubt(t, exchange(t, testClient(server.url)), status,
				fmt.Sprintf("the server answered with a redirect (HTTP status %d), which is not followed", status))
			server.sees(t, 1, 1)
			if contacted.Load() != 0 {
				t.Error("the target of the redirect was contacted")
			}
		})
	}
}

func TestServerErrorTellsWhenToComeBack(t *testing.T) {
	server := newRawServer(t, nil, answering(httpAnswer(http.StatusServiceUnavailable, "", "Retry-After: 7")))
	result := exchange(t, testClient(server.url))
	if result.Outcome != InDoubt || result.RetryAfter != 7*time.Second {
		t.Errorf("got %v, retry after %v", result.Outcome, result.RetryAfter)
	}
}

func isInDoubt(t *testing.T, result Result, status int, reason string) {
	t.Helper()
	if result.Outcome != InDoubt || result.Reason != reason || result.Status != status || result.Code != "" {
		t.Errorf("got %v, %q, status %d, code %q, want %v, %q, status %d",
			result.Outcome, result.Reason, result.Status, result.Code, InDoubt, reason, status)
	}
}
