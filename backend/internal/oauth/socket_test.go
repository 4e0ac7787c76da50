package oauth

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// lastRead reads a connection to its end and returns the error that ended it;
// nil stands for a connection that was closed in the ordinary way.
func lastRead(p *peer) error {
	_ = p.tcp.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := io.Copy(io.Discard, p.tcp)
	return err
}

// A connection that is only announced as closing keeps a slot at the server, and
// the next exchange may be sent over it. That it is closed in the ordinary way,
// not reset, keeps the server's log quiet.
func TestConnectionIsClosedAfterTheExchange(t *testing.T) {
	for name, answer := range map[string]string{
		"with tokens":         httpAnswer(http.StatusOK, normalAnswer, "Connection: keep-alive"),
		"with a rejection":    httpAnswer(http.StatusBadRequest, `{"error":"invalid_grant"}`, "Connection: keep-alive"),
		"with a page":         httpAnswer(http.StatusBadGateway, "<html>", "Connection: keep-alive"),
		"with an empty body":  httpAnswer(http.StatusOK, "", "Connection: keep-alive"),
		"without a body":      "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
		"in chunks":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"of unlimited length": "HTTP/1.1 200 OK\r\n\r\n" + normalAnswer,
	} {
		for _, scheme := range schemes(t) {
			t.Run(name+" over "+scheme.name, func(t *testing.T) {
				end := make(chan error, 1)
				server := newRawServer(t, scheme.config, func(p *peer) {
					answering(answer)(p)
					end <- lastRead(p)
				})
				client := testClient(server.url)
				client.CACert = scheme.caCert
				exchange(t, client)
				if err := <-end; err != nil {
					t.Errorf("the server sees %v, want a connection that was closed", err)
				}
			})
		}
	}
}

// The reset is what makes the kernel discard what it has not delivered.
func TestAbandonedConnectionIsReset(t *testing.T) {
	for name, script := range map[string]func(*peer, func()){
		"no answer":       func(p *peer, pass func()) { p.request(); pass() },
		"half the header": func(p *peer, pass func()) { answering("HTTP/1.1 200 OK\r\nConte")(p); pass() },
		"half the body":   func(p *peer, pass func()) { answering(cutAnswer(http.StatusOK, `{"access_token":`))(p); pass() },
	} {
		for _, scheme := range schemes(t) {
			t.Run(name+" over "+scheme.name, func(t *testing.T) {
				ctx, pass := deadline(t)
				end := make(chan error, 1)
				server := newRawServer(t, scheme.config, func(p *peer) {
					if handshake, ok := p.Conn.(*tls.Conn); ok && handshake.HandshakeContext(t.Context()) != nil {
						return
					}
					script(p, pass)
					end <- lastRead(p)
				})
				client := testClient(server.url)
				client.CACert = scheme.caCert
				exchangeWith(ctx, t, client)
				if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the server sees %v, want a reset", err)
				}
			})
		}
	}
}

// A dial may still be running when the exchange is over. Its connection is not
// used, and not kept.
func TestDialThatEndsAfterTheExchangeIsClosed(t *testing.T) {
	end := make(chan error, 1)
	server := newRawServer(t, nil, func(p *peer) { end <- lastRead(p) })
	s := newSockets(t.Context())
	s.close(false)
	if conn, err := s.dial(t.Context(), "tcp", server.addr); err == nil {
		t.Errorf("got the connection %v", conn)
	}
	if err := <-end; err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server sees %v, want the end of the connection", err)
	}
}

func TestSocketThatWasClosedNeitherReadsNorWrites(t *testing.T) {
	server := newRawServer(t, nil, (*peer).untilClosed)
	s := newSockets(context.Background())
	defer s.close(true)
	conn, err := s.dial(t.Context(), "tcp", server.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("it reads")
	}
	if _, err := conn.Write(make([]byte, 1)); err == nil {
		t.Error("it writes")
	}
}
