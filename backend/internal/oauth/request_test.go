package oauth

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestRequestIsByteForByteAsDocumented(t *testing.T) {
	const (
		plain   = "grant_type=refresh_token&refresh_token=_1XBPWQQ_presented-canary"
		special = "grant_type=refresh_token&refresh_token=a+b%25%2B%3A%26%3D%C3%BC%2F"
	)
	for _, c := range []struct {
		name          string
		id, secret    string
		method        AuthMethod
		refreshToken  string
		authorization string // before base64; "" for no such header
		body          string
	}{
		{
			name: "basic", id: "id", secret: "secret", method: AuthBasic, refreshToken: presented,
			authorization: "id:secret", body: plain,
		},
		{
			name: "basic is the default", id: "id", secret: "secret", refreshToken: presented,
			authorization: "id:secret", body: plain,
		},
		{
			name: "basic form-encodes id and secret", id: "my id:%+ü", secret: "p w:%+ü/~&=", method: AuthBasic,
			refreshToken:  "a b%+:&=ü/",
			authorization: "my+id%3A%25%2B%C3%BC:p+w%3A%25%2B%C3%BC%2F~%26%3D", body: special,
		},
		{
			name: "post", id: "id", secret: "secret", method: AuthPost, refreshToken: presented,
			body: plain + "&client_id=id&client_secret=secret",
		},
		{
			name: "post form-encodes id and secret", id: "my id:%+ü", secret: "p w:%+ü/~&=", method: AuthPost,
			refreshToken: "a b%+:&=ü/",
			body:         special + "&client_id=my+id%3A%25%2B%C3%BC&client_secret=p+w%3A%25%2B%C3%BC%2F~%26%3D",
		},
	} {
		for _, scheme := range schemes(t) {
			t.Run(c.name+" over "+scheme.name, func(t *testing.T) {
				server := newRawServer(t, scheme.config, func(p *peer) {
					answering(httpAnswer(http.StatusOK, normalAnswer))(p)
					p.untilClosed()
				})
				exchanger := Exchanger{UserAgent: "vault-plugin-pagero/test"}
				result := exchanger.Refresh(t.Context(), Client{
					ID: c.id, Secret: NewSecret(c.secret), AuthMethod: c.method, TokenURL: server.url, CACert: scheme.caCert,
				}, NewSecret(c.refreshToken))
				if result.Outcome != Succeeded {
					t.Fatalf("%v: %s", result.Outcome, result.Reason)
				}

				var authorization string
				if c.authorization != "" {
					pair := base64.StdEncoding.EncodeToString([]byte(c.authorization))
					authorization = "Authorization: Basic " + pair + "\r\n"
				}
				want := "POST /oauth/v2/oauth-token HTTP/1.1\r\n" +
					"Host: " + server.addr + "\r\n" +
					"User-Agent: vault-plugin-pagero/test\r\n" +
					fmt.Sprintf("Content-Length: %d\r\n", len(c.body)) +
					"Accept: application/json\r\n" +
					"Accept-Encoding: identity\r\n" +
					authorization +
					"Content-Type: application/x-www-form-urlencoded\r\n" +
					"Connection: close\r\n" +
					"\r\n" + c.body
				server.sees(t, 1, 1)
				if got := string(server.requests[0]); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

func TestRequestDecodesToWhatWasConfigured(t *testing.T) {
	const id, secret = "my id:%+ü", "p w:%+ü/~&="
	server := newRawServer(t, nil, answering(httpAnswer(http.StatusOK, normalAnswer)))
	exchange(t, Client{ID: id, Secret: NewSecret(secret), TokenURL: server.url})
	server.sees(t, 1, 1)

	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(server.requests[0]))))
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := req.BasicAuth()
	gotID, err := url.QueryUnescape(user)
	if err != nil || gotID != id {
		t.Errorf("client id %q, %v, want %q", gotID, err, id)
	}
	if got, err := url.QueryUnescape(password); err != nil || got != secret {
		t.Errorf("client secret %q, %v, want %q", got, err, secret)
	}
	if got := req.PostFormValue("refresh_token"); got != presented {
		t.Errorf("refresh token %q, want %q", got, presented)
	}
}

func TestQueryOfTheTokenURLIsKept(t *testing.T) {
	server := newRawServer(t, nil, answering(httpAnswer(http.StatusOK, normalAnswer)))
	exchange(t, testClient(server.url+"?tenant=a%20b"))
	server.sees(t, 1, 1)
	if line, _, _ := strings.Cut(string(server.requests[0]), "\r\n"); line !=
		"POST /oauth/v2/oauth-token?tenant=a%20b HTTP/1.1" {
		t.Errorf("got %q", line)
	}
}

func TestExchangeSpeaksHTTP1EvenIfTheServerOffersHTTP2(t *testing.T) {
	config, caCert := newCertificate(t, "127.0.0.1")
	config.NextProtos = []string{"h2", "http/1.1"}
	hello := make(chan []string, 1)
	config.GetConfigForClient = func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		hello <- info.SupportedProtos
		return nil, nil
	}
	server := newRawServer(t, config, answering(httpAnswer(http.StatusOK, normalAnswer)))
	client := testClient(server.url)
	client.CACert = caCert
	if result := exchange(t, client); result.Outcome != Succeeded {
		t.Errorf("%v: %s", result.Outcome, result.Reason)
	}
	server.sees(t, 1, 1)
	if offered := <-hello; slices.Contains(offered, "h2") {
		t.Errorf("the client offers %q", offered)
	}
}

// A refresh token works once: whatever the server does, it sees the token at
// most once.
func TestRequestIsNeverSentTwice(t *testing.T) {
	for _, c := range []struct {
		name     string
		requests int
		script   func(*peer)
	}{
		{"closed after accepting", 0, func(*peer) {}},
		{"closed after reading half the request", 0, func(p *peer) { _, _ = io.ReadFull(p, make([]byte, 10)) }},
		{"closed after reading the request", 1, func(p *peer) { p.request() }},
		{"reset after reading half the request", 0, func(p *peer) {
			_, _ = io.ReadFull(p, make([]byte, 10))
			p.reset()
		}},
		{"reset after reading the request", 1, func(p *peer) { p.request(); p.reset() }},
		{"half a status line, then closed", 1, answering("HTTP/1.1 20")},
		{"half a status line, then reset", 1, func(p *peer) { answering("HTTP/1.1 20")(p); p.reset() }},
		{"408 Request Timeout", 1, answering(httpAnswer(http.StatusRequestTimeout, ""))},
		{"425 Too Early", 1, answering(httpAnswer(http.StatusTooEarly, ""))},
		{"429 Too Many Requests, at once", 1, answering(httpAnswer(http.StatusTooManyRequests, "", "Retry-After: 0"))},
		{"503 Service Unavailable, at once", 1, answering(httpAnswer(http.StatusServiceUnavailable, "", "Retry-After: 0"))},
		{"401 with a challenge", 1, answering(httpAnswer(http.StatusUnauthorized, `{"error":"invalid_client"}`,
			`WWW-Authenticate: Basic realm="x"`))},
		{"307 to itself", 1, answering(httpAnswer(http.StatusTemporaryRedirect, "", "Location: /oauth/v2/oauth-token"))},
		{"308 to itself", 1, answering(httpAnswer(http.StatusPermanentRedirect, "", "Location: /oauth/v2/oauth-token"))},
		{"success", 1, answering(httpAnswer(http.StatusOK, normalAnswer))},
		{"success, and the connection kept open", 1, func(p *peer) {
			answering(httpAnswer(http.StatusOK, normalAnswer, "Connection: keep-alive"))(p)
			p.untilClosed()
		}},
	} {
		for _, scheme := range schemes(t) {
			t.Run(c.name+" over "+scheme.name, func(t *testing.T) {
				server := newRawServer(t, scheme.config, func(p *peer) {
					if handshake, ok := p.Conn.(*tls.Conn); ok && handshake.HandshakeContext(t.Context()) != nil {
						return
					}
					c.script(p)
				})
				client := testClient(server.url)
				client.CACert = scheme.caCert
				exchange(t, client)
				server.sees(t, 1, c.requests)
			})
		}
	}
}

func TestExchangesShareNoConnection(t *testing.T) {
	server := newRawServer(t, nil, func(p *peer) {
		for p.request() != nil {
			_, _ = io.WriteString(p, httpAnswer(http.StatusOK, normalAnswer, "Connection: keep-alive"))
		}
	})
	for range 3 {
		exchange(t, testClient(server.url))
	}
	server.sees(t, 3, 3)
}
