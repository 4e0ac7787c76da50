package oauth

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// offline is a place where no server listens.
func offline(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return "https://" + listener.Addr().String() + "/"
}

func TestNothingIsSentWithoutAServer(t *testing.T) {
	for _, c := range []struct {
		name   string
		url    string
		caCert string
		reason string
	}{
		{
			name: "host name that cannot be resolved", url: "https://sso.pageroonline.invalid/",
			reason: "the server's host name could not be resolved",
		},
		{
			name: "connection refused", url: offline(t),
			reason: "the server refused the connection or cannot be reached",
		},
		{
			name: "scheme that is not HTTP", url: "ftp://127.0.0.1/",
			reason: "no connection to the server could be set up",
		},
		{
			name: "URL without a host", url: "https:///oauth",
			reason: "no connection to the server could be set up",
		},
		{
			name: "URL that cannot be parsed", url: "https://[::1/",
			reason: "the endpoint's URL is not readable",
		},
		{
			name: "ca_cert that is not PEM", url: offline(t), caCert: "not PEM",
			reason: "the client's ca_cert is not readable",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := testClient(c.url)
			client.CACert = []byte(c.caCert)
			isNotSent(t, exchange(t, client), c.reason)
		})
	}
}

func TestNothingIsSentWithoutAConnection(t *testing.T) {
	const (
		untrusted = "the server's TLS certificate is not trusted (is ca_cert right?)"
		handshake = "the TLS handshake with the server failed"
		other     = "no connection to the server could be set up"
		timedOut  = "connecting to the server timed out"
	)
	config, caCert := newCertificate(t, "127.0.0.1")
	elsewhere, elsewhereCA := newCertificate(t, "sso.example")
	with := func(change func(*tls.Config)) *tls.Config {
		changed := config.Clone()
		change(changed)
		return changed
	}
	for _, c := range []struct {
		name   string
		config *tls.Config // nil: the server does not speak TLS
		caCert []byte
		script func(p *peer, pass func()) // nil: read the request and answer well
		reason string
	}{
		{name: "certificate that the system's roots do not know", config: config, reason: untrusted},
		{name: "certificate of another authority", config: config, caCert: elsewhereCA, reason: untrusted},
		{name: "certificate of another host", config: elsewhere, caCert: elsewhereCA, reason: untrusted},
		{
			name: "server without TLS", caCert: caCert, reason: handshake,
			script: func(p *peer, _ func()) {
				_, _ = io.ReadFull(p, make([]byte, 10))
				_, _ = io.WriteString(p, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
				p.untilClosed()
			},
		},
		{
			name: "server that stops at TLS 1.1", caCert: caCert, reason: handshake,
			config: with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }),
		},
		{
			name: "server that wants a client's certificate", caCert: caCert, reason: handshake,
			config: with(func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }),
		},
		{
			name: "server that hangs up in the handshake", caCert: caCert, reason: other,
			script: func(p *peer, _ func()) { _, _ = io.ReadFull(p, make([]byte, 10)) },
		},
		{
			name: "server that resets in the handshake", caCert: caCert, reason: other,
			script: func(p *peer, _ func()) {
				_, _ = io.ReadFull(p, make([]byte, 10))
				p.reset()
			},
		},
		{
			name: "deadline in a handshake that never starts", caCert: caCert, reason: timedOut,
			script: func(p *peer, pass func()) {
				_, _ = io.ReadFull(p, make([]byte, 10))
				pass()
				p.untilClosed()
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, pass := deadline(t)
			server := newRawServer(t, c.config, func(p *peer) {
				if c.script != nil {
					c.script(p, pass)
				} else {
					answering(httpAnswer(200, normalAnswer))(p)
				}
			})
			client := testClient("https://" + server.addr + "/")
			client.CACert = c.caCert
			isNotSent(t, exchangeWith(ctx, t, client), c.reason)
			server.sees(t, 1, 0)
		})
	}
}

func TestNothingIsSentAfterTheDeadline(t *testing.T) {
	server := newRawServer(t, nil, answering(httpAnswer(200, normalAnswer)))
	ctx, pass := deadline(t)
	pass()
	isNotSent(t, exchangeWith(ctx, t, testClient(server.url)), "connecting to the server timed out")
	if _, requests := server.counts(); requests != 0 {
		t.Errorf("the server saw %d requests", requests)
	}
}

func TestExchangeSpeaksTLS12AndLater(t *testing.T) {
	for _, c := range []struct {
		name    string
		version uint16
	}{
		{"TLS 1.2", tls.VersionTLS12},
		{"TLS 1.3", tls.VersionTLS13},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, caCert := newCertificate(t, "127.0.0.1")
			config.MinVersion, config.MaxVersion = c.version, c.version
			server := newRawServer(t, config, answering(httpAnswer(200, normalAnswer)))
			client := testClient(server.url)
			client.CACert = caCert
			if result := exchange(t, client); result.Outcome != Succeeded {
				t.Errorf("%v: %s", result.Outcome, result.Reason)
			}
		})
	}
}

func TestValidateCACertWantsACertificate(t *testing.T) {
	_, caCert := newCertificate(t, "127.0.0.1")
	for _, c := range []struct {
		name string
		text string
		ok   bool
	}{
		{"none: the system's roots", "", true},
		{"one", string(caCert), true},
		{"two", string(caCert) + string(caCert), true},
		{"one behind some text", "# a comment\n" + string(caCert), true},
		{"no PEM", "not PEM", false},
		{"blank", "\n", false},
		{"a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", false},
		{"a cut certificate", string(caCert[:len(caCert)/2]), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := ValidateCACert([]byte(c.text)); (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestReasonOfATimeoutWhileDialling(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
	if got := connectReason(dial); got != "connecting to the server timed out" {
		t.Errorf("got %q", got)
	}
}

func isNotSent(t *testing.T, result Result, reason string) {
	t.Helper()
	if result.Outcome != NotSent || result.Reason != reason || result.Status != 0 || result.Code != "" {
		t.Errorf("got %v, %q, status %d, code %q, want %v, %q",
			result.Outcome, result.Reason, result.Status, result.Code, NotSent, reason)
	}
}
