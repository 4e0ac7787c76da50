package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	dialTimeout    = 10 * time.Second // for TCP, and once more for the TLS handshake
	maxHeaderBytes = 64 << 10
)

// dialFunc is the type of [http.Transport.DialContext].
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// newTransport returns a transport for one request: HTTP/1.1, a connection of
// its own from dial, no compression, TLS 1.2 or later, bounded headers. A nil
// roots stands for the system's roots.
func newTransport(roots *x509.CertPool, dial dialFunc) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  connectProxy,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    dialTimeout,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              &protocols,
	}
}

// rootsOf returns the certificates of a client's ca_cert; nil, which stands for
// the system's roots, if there is no ca_cert.
func rootsOf(caCert []byte) (*x509.CertPool, error) {
	if len(caCert) == 0 {
		return nil, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caCert) {
		return nil, errors.New("no certificate in the PEM text")
	}
	return roots, nil
}

// connectProxy is the proxy of the environment, as Vault itself uses it, but for
// https alone: there it is used by CONNECT and sees nothing of the request.
func connectProxy(req *http.Request) (*url.URL, error) {
	if req.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(req)
}

// connectReason says in fixed words why no connection was had. It only
// describes; that nothing was sent is known from the trace.
func connectReason(err error) string {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		op          *net.OpError
	)
	hasOp := errors.As(err, &op)
	switch {
	case hasOp && op.Op == "proxyconnect":
		return "the proxy of Vault's environment could not be reached"
	case errors.As(err, &dns):
		return "the server's host name could not be resolved"
	case errors.As(err, &certificate):
		return "the server's TLS certificate is not trusted (is ca_cert right?)"
	case errors.As(err, &record), hasOp && (op.Op == "remote error" || op.Op == "local error"): // TLS alerts
		return "the TLS handshake with the server failed"
	case isTimeout(err):
		return "connecting to the server timed out"
	case hasOp && op.Op == "dial":
		return "the server refused the connection or cannot be reached"
	default:
		return "no connection to the server could be set up"
	}
}

// lossReason says in fixed words how the answer was lost.
func lossReason(err error) string {
	if isTimeout(err) {
		return "no answer came within the exchange_timeout"
	}
	return "the connection broke before an answer came"
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &timeout) && timeout.Timeout())
}

// ValidateCACert returns an error if pem, meant for [Client.CACert], holds text
// but no certificate. Empty stands for the system's roots and is valid.
func ValidateCACert(pem []byte) error {
	if _, err := rootsOf(pem); err != nil {
		return fmt.Errorf("ca_cert: %w", err)
	}
	return nil
}
