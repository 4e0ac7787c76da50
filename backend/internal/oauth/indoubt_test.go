package oauth

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	broke    = "the connection broke before an answer came"
	garbled  = "an answer began that could not be read: it was cut off, is not HTTP, or its headers are larger than 1 MiB"
	timedOut = "no answer came within the exchange_timeout"
	tooSlow  = "an answer began, but did not end within the exchange_timeout"
)

func TestLostAnswerLeavesInDoubt(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(p *peer, pass func())
		reason string // some depend on what the client saw first
	}{
		{"closed before reading", func(*peer, func()) {}, broke},
		{"closed after the request", func(p *peer, _ func()) { p.request() }, broke},
		{"reset after the request", func(p *peer, _ func()) { p.request(); p.reset() }, broke},
		{"cut status line", func(p *peer, _ func()) { answering("HTTP/1.1 20")(p) }, garbled},
		{"cut headers", func(p *peer, _ func()) { answering("HTTP/1.1 200 OK\r\nContent-Type: app")(p) }, garbled},
		{"reset in the headers", func(p *peer, _ func()) { answering("HTTP/1.1 200 OK\r\nConte")(p); p.reset() }, broke + " | " + garbled},
		{"answer that is not HTTP", func(p *peer, _ func()) { answering("SSH-2.0-OpenSSH_9.6\r\n" + normalAnswer)(p) }, garbled},
		{"answer of HTTP/2", func(p *peer, _ func()) { answering("\x00\x00\x12\x04\x00\x00\x00\x00\x00")(p) }, garbled},
		{"headers over 1 MiB", func(p *peer, _ func()) {
			answering(httpAnswer(http.StatusOK, normalAnswer, "X-Long: "+strings.Repeat("x", maxHeaderBytes)))(p)
		}, garbled},
		{"many headers", func(p *peer, _ func()) {
			p.request()
			_, err := io.WriteString(p, "HTTP/1.1 200 OK\r\n")
			for i := 0; err == nil && i < maxHeaderBytes; i++ {
				_, err = fmt.Fprintf(p, "X-%d: canary\r\n", i)
			}
			_, _ = io.WriteString(p, "\r\n"+normalAnswer)
		}, garbled},
		{"many informational answers", func(p *peer, _ func()) {
			p.request()
			for range maxHeaderBytes {
				if _, err := io.WriteString(p, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
					return
				}
			}
			_, _ = io.WriteString(p, httpAnswer(http.StatusOK, normalAnswer))
		}, garbled},
		{"deadline before the answer", func(p *peer, pass func()) { p.request(); pass(); p.untilClosed() }, timedOut},
		{"deadline in the headers", func(p *peer, pass func()) {
			answering("HTTP/1.1 200 OK\r\nContent-Type: app")(p)
			pass()
			p.untilClosed()
		}, timedOut + " | " + tooSlow},
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
				isInDoubt(t, exchangeWith(ctx, t, client), c.reason)
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
	isInDoubt(t, exchange(t, client), broke)
	server.sees(t, 1, 0)
}

func isInDoubt(t *testing.T, result Result, reasons string) {
	t.Helper()
	if result.Outcome != InDoubt || !slices.Contains(strings.Split(reasons, " | "), result.Reason) || result.Status != 0 || result.Code != "" {
		t.Errorf("got %v, %q, status %d, code %q, want %v, %q", result.Outcome, result.Reason, result.Status, result.Code, InDoubt, reasons)
	}
}
