package oauth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	presented = "_1XBPWQQ_presented-canary"
	next      = "_1XBPWQQ_next"
	access    = "eyJhbGciOiJub25lIn0.e30."

	normalAnswer = `{"access_token":"` + access + `","refresh_token":"` + next +
		`","scope":"","claims":"openid","token_type":"bearer","expires_in":600}`
)

// peer is a server's side of one connection.
type peer struct {
	net.Conn
	tcp    net.Conn
	server *rawServer
}

// request reads one request to the end of its body.
func (p *peer) request() []byte {
	var wire bytes.Buffer
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(p, &wire)))
	if err != nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return nil
	}
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.server.requests = append(p.server.requests, wire.Bytes())
	p.server.requestedAt = time.Now()
	return wire.Bytes()
}

// reset ends the connection with a TCP reset.
func (p *peer) reset() {
	if tcp, ok := p.tcp.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	p.tcp.Close()
}

// untilClosed reads until the client hangs up.
func (p *peer) untilClosed() { _, _ = io.Copy(io.Discard, p) }

// rawServer is a token endpoint on a bare listener. It shows the bytes that were
// sent, and can fail in ways in which an HTTP server cannot.
type rawServer struct {
	url  string
	addr string

	mu          sync.Mutex
	connections int
	requests    [][]byte
	requestedAt time.Time
}

// newRawServer runs script for each connection, and closes the connection when the
// script returns. Without a config the server speaks plain HTTP.
func newRawServer(t *testing.T, config *tls.Config, script func(*peer)) *rawServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{addr: listener.Addr().String()}
	s.url = "http://" + s.addr + "/oauth/v2/oauth-token"
	if config != nil {
		s.url = "https://" + s.addr + "/oauth/v2/oauth-token"
	}

	var running sync.WaitGroup
	var open []net.Conn
	running.Go(func() {
		for {
			tcp, err := listener.Accept()
			if err != nil {
				return
			}
			p := &peer{Conn: tcp, tcp: tcp, server: s}
			if config != nil {
				p.Conn = tls.Server(tcp, config)
			}
			s.mu.Lock()
			s.connections++
			open = append(open, tcp)
			s.mu.Unlock()
			running.Go(func() {
				defer p.Close()
				script(p)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.mu.Lock()
		for _, tcp := range open {
			tcp.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

func (s *rawServer) counts() (connections, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections, len(s.requests)
}

// sees fails the test unless the server saw so many connections and requests.
func (s *rawServer) sees(t *testing.T, connections, requests int) {
	t.Helper()
	c, r := s.counts()
	if c != connections || r != requests {
		t.Fatalf("the server saw %d connections and %d requests, want %d and %d", c, r, connections, requests)
	}
}

// answering is a script that reads the request, writes the text and hangs up.
func answering(text string) func(*peer) {
	return func(p *peer) {
		if p.request() == nil {
			return
		}
		_, _ = io.WriteString(p, text)
	}
}

// httpAnswer is the text of an answer with a Content-Length.
func httpAnswer(status int, body string, headers ...string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), strings.Join(append(headers, ""), "\r\n"), len(body), body)
}

// cutAnswer is an answer whose Content-Length promises more than it holds.
func cutAnswer(status int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d Cut\r\nContent-Length: %d\r\n\r\n%s", status, len(body)+100, body)
}

// newCertificate is self-signed, for the names given; the PEM text serves as
// ca_cert.
func newCertificate(t *testing.T, names ...string) (*tls.Config, []byte) {
	t.Helper()
	return newCertificateOf(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), names...)
}

// newCertificateOf is valid between two times.
func newCertificateOf(t *testing.T, notBefore, notAfter time.Time, names ...string) (*tls.Config, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return config, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// testClient is the client that most tests use.
func testClient(url string) Client {
	return Client{ID: "id", Secret: NewSecret("client-canary"), AuthMethod: AuthBasic, TokenURL: url}
}

// exchangeWith runs one exchange under ctx and checks what must hold for every
// Result.
func exchangeWith(ctx context.Context, t *testing.T, client Client) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	exchanger := Exchanger{UserAgent: "vault-plugin-pagero/test"}
	before := time.Now().Round(0)
	result := exchanger.Refresh(ctx, client, NewSecret(presented))
	after := time.Now().Round(0)

	if result.SentAt.Before(before) || result.AnsweredAt.Before(result.SentAt) || after.Before(result.AnsweredAt) {
		t.Errorf("times out of order: %v, SentAt %v, AnsweredAt %v, %v",
			before, result.SentAt, result.AnsweredAt, after)
	}
	if (result.Outcome == Succeeded) != (result.Reason == "") {
		t.Errorf("%v with the reason %q", result.Outcome, result.Reason)
	}
	if result.Outcome != Succeeded && result.Tokens != (Tokens{}) {
		t.Errorf("%v with tokens: %+v", result.Outcome, result.Tokens)
	}
	ours := result
	ours.ErrorDescription, ours.RequestID = "", "" // the server's
	if shown := fmt.Sprintf("%+v %#v", ours, ours); strings.Contains(shown, "canary") {
		t.Errorf("the result holds a text that it must not: %s", shown)
	}
	return result
}

// resultOf reads an answer without a connection.
func resultOf(resp *http.Response) (result Result) {
	a := readAnswer(resp.Body)
	result.settle(resp, &a, classify)
	result.support(resp.Header, &a, nil)
	return result
}

// resultOfBody is resultOf for an answer with status 200.
func resultOfBody(body []byte) Result {
	return resultOf(&http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body))})
}

// exchange runs one exchange.
func exchange(t *testing.T, client Client) Result {
	t.Helper()
	return exchangeWith(t.Context(), t, client)
}

// deadline returns a context and a function that makes its deadline pass, so that
// tests need not wait for a clock.
func deadline(t *testing.T) (ctx context.Context, pass func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, func() { cancel(context.DeadlineExceeded) }
}

// scheme is plain HTTP or TLS.
type scheme struct {
	name   string
	config *tls.Config
	caCert []byte
}

// schemes returns both, for tests that run with and without TLS.
func schemes(t *testing.T) []scheme {
	t.Helper()
	config, caCert := newCertificate(t, "127.0.0.1")
	return []scheme{{name: "http"}, {"https", config, caCert}}
}
