package oauth

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptrace"
	"regexp"
	"strings"
	"testing"
	"time"
)

// offline returns an address at which no server listens.
func offline(t *testing.T) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestNothingIsSentWithoutAServer(t *testing.T) {
	nobody := offline(t)
	for _, c := range []struct {
		name   string
		url    string
		caCert string
		reason string
	}{
		{
			name: "host name that cannot be resolved", url: "https://sso.pageroonline.invalid/oauth?canary",
			reason: "the host name of sso.pageroonline.invalid:443 could not be resolved",
		},
		{
			name: "connection refused", url: "https://canary:canary@" + nobody + "/canary",
			reason: nobody + " refused the connection",
		},
		{
			name: "address that cannot be reached", url: "http://255.255.255.255:9/",
			reason: "255.255.255.255:9 cannot be reached",
		},
		{
			name: "scheme that is not HTTP", url: "ftp://127.0.0.1/",
			reason: "no connection to 127.0.0.1 could be set up",
		},
		{
			name: "URL without a host", url: "https:///oauth",
			reason: "no connection to :443 could be set up",
		},
		{
			name: "URL that cannot be parsed", url: "https://[::1/",
			reason: "the endpoint's URL is not readable",
		},
		{
			name: "ca_cert that is not PEM", url: "https://" + nobody, caCert: "not PEM",
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

func TestNothingIsSentWithoutAHandshake(t *testing.T) {
	const hungUp = "{server} closed the connection during the TLS handshake"
	config, caCert := newCertificate(t, "127.0.0.1")
	with := func(change func(*tls.Config)) *tls.Config {
		changed := config.Clone()
		change(changed)
		return changed
	}
	for _, c := range []struct {
		name   string
		config *tls.Config                // nil: the server does not speak TLS
		script func(p *peer, pass func()) // nil: read the request and answer well
		reason string
	}{
		{
			name: "server without TLS", reason: "{server} does not speak TLS (is the port right?)",
			script: func(p *peer, _ func()) {
				_, _ = io.ReadFull(p, make([]byte, 10))
				_, _ = io.WriteString(p, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
				p.untilClosed()
			},
		},
		{
			name: "server that stops at TLS 1.1", reason: "the TLS handshake with {server} failed",
			config: with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }),
		},
		{
			name: "server that wants a client's certificate", reason: "the TLS handshake with {server} failed",
			config: with(func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }),
		},
		{
			name: "server that hangs up in the handshake", reason: hungUp,
			script: func(p *peer, _ func()) { _, _ = io.ReadFull(p, make([]byte, 10)) },
		},
		{
			name: "server that resets in the handshake", reason: hungUp,
			script: func(p *peer, _ func()) {
				_, _ = io.ReadFull(p, make([]byte, 10))
				p.reset()
			},
		},
		{
			name: "deadline in a handshake that never starts", reason: "the TLS handshake with {server} timed out",
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
			client.CACert = caCert
			isNotSent(t, exchangeWith(ctx, t, client), strings.ReplaceAll(c.reason, "{server}", server.addr))
			server.sees(t, 1, 0)
		})
	}
}

func TestRefusedCertificateIsExplained(t *testing.T) {
	now := time.Now()
	good, _ := newCertificate(t, "127.0.0.1")
	_, otherCA := newCertificate(t, "127.0.0.1")
	expired, expiredCA := newCertificateOf(t, now.Add(-2*time.Hour), now.Add(-time.Hour), "127.0.0.1")
	early, earlyCA := newCertificateOf(t, now.Add(time.Hour), now.Add(2*time.Hour), "127.0.0.1")
	elsewhere, elsewhereCA := newCertificate(t, "sso.example", "*.example", "ca nary.example", "<canary>")
	nameless, namelessCA := newCertificate(t)
	for _, c := range []struct {
		name   string
		config *tls.Config
		caCert []byte
		reason string // {now} stands for a time
	}{
		{"authority that the system's roots do not know", good, nil, "comes from an unknown authority (is ca_cert right?)"},
		{"authority that is not in ca_cert", good, otherCA, "comes from an unknown authority (is ca_cert right?)"},
		{"expired", expired, expiredCA, "expired at " + stamp(now.Add(-time.Hour)) + "; this machine's clock says {now}"},
		{"not valid yet", early, earlyCA, "is not valid before " + stamp(now.Add(time.Hour)) + "; this machine's clock says {now}"},
		{"other names", elsewhere, elsewhereCA, "is not for this name; it is for sso.example, *.example"},
		{"no name", nameless, namelessCA, "is not for this name; it is for no host name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newRawServer(t, c.config, answering(httpAnswer(200, normalAnswer)))
			client := testClient(server.url)
			client.CACert = c.caCert
			result := exchange(t, client)
			reason := regexp.QuoteMeta("the certificate of " + server.addr + " " + c.reason)
			reason = strings.ReplaceAll(reason, `\{now\}`, `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
			if !regexp.MustCompile("^" + reason + "$").MatchString(result.Reason) {
				t.Errorf("the reason is %q, want %s", result.Reason, reason)
			}
			isNotSent(t, result, result.Reason)
			server.sees(t, 1, 0)
		})
	}
}

func TestNamesOfACertificateAreBounded(t *testing.T) {
	long := strings.Repeat("a", maxNameBytes)
	for _, c := range []struct {
		name  string
		names []string
		want  string
	}{
		{"none", nil, "no host name"},
		{"one", []string{"a.example"}, "a.example"},
		{"as many as are shown", []string{"a", "b", "c", "d", "e"}, "a, b, c, d, e"},
		{"more", []string{"a", "b", "c", "d", "e", "f", "g"}, "a, b, c, d, e, others"},
		{"long", []string{long, long + "a"}, long},
		{"odd characters", []string{"", "a b", "ü", "a\n", "\x1b[31m", "<b>", "*.a-b_c.example"}, "*.a-b_c.example"},
	} {
		if got := hostNames(c.names); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTimeoutSaysWhatWasUnderWay(t *testing.T) {
	const server, proxy = "sso.example:443", "proxy.example:3128"
	for reached, want := range map[stage][2]string{
		notBegun:    {"there was no time left to connect to {peer}", "{proxy}"},
		resolving:   {"the host name of {peer} could not be resolved in time", "{proxy}"},
		connecting:  {"the TCP connection to {peer} timed out", "{proxy}"},
		askingProxy: {"{peer} did not answer in time", "{proxy}"},
		handshaking: {"the TLS handshake with {peer} timed out", "{server}"},
	} {
		direct := &trail{stage: reached}
		if got, want := notSentReason(context.DeadlineExceeded, server, direct), strings.ReplaceAll(want[0], "{peer}", server); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		peer := strings.NewReplacer("{proxy}", "the proxy "+proxy, "{server}", server).Replace(want[1])
		proxied := &trail{stage: reached, proxy: proxy}
		dial := &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
		if got, want := notSentReason(dial, server, proxied), strings.ReplaceAll(want[0], "{peer}", peer); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// net/http may dial two addresses at once. What the slower one does must not make
// a request that was sent look like one that was not.
func TestTrailNeverGoesBack(t *testing.T) {
	way := &trail{proxy: "proxy.example:3128"}
	trace := httptrace.ContextClientTrace(way.with(t.Context()))
	trace.GotConn(httptrace.GotConnInfo{})
	trace.DNSStart(httptrace.DNSStartInfo{})
	trace.ConnectStart("tcp", "192.0.2.1:443")
	trace.ConnectDone("tcp", "192.0.2.1:443", nil)
	trace.TLSHandshakeStart()
	if reached, _, _, _ := way.observed(); reached != connected {
		t.Errorf("the trail has gone back to stage %d", reached)
	}
}

func TestNothingIsSentAfterTheDeadline(t *testing.T) {
	server := newRawServer(t, nil, answering(httpAnswer(200, normalAnswer)))
	ctx, pass := deadline(t)
	pass()
	isNotSent(t, exchangeWith(ctx, t, testClient(server.url)), "there was no time left to connect to "+server.addr)
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

func isNotSent(t *testing.T, result Result, reason string) {
	t.Helper()
	if result.Outcome != NotSent || result.Reason != reason || result.Status != 0 || result.Code != "" {
		t.Errorf("got %v, %q, status %d, code %q, want %v, %q",
			result.Outcome, result.Reason, result.Status, result.Code, NotSent, reason)
	}
}
