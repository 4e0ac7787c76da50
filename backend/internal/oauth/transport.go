package oauth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	dialTimeout    = 10 * time.Second // for TCP, and once more for the TLS handshake
	maxHeaderBytes = 1 << 20
)

// newTransport returns a transport for one request: HTTP/1.1, a connection of
// its own, no compression, TLS 1.2 or later, bounded headers. A nil roots stands
// for the system's roots.
func newTransport(roots *x509.CertPool, s *sockets, t *trail) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  t.findProxy,
		OnProxyConnectResponse: t.proxyAnswered,
		DialContext:            s.dial,
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

// connectProxy returns the proxy that the environment names for a request, as
// Vault itself uses it. It is for https only: there net/http uses it by CONNECT,
// and it sees nothing of the request.
func connectProxy(req *http.Request) (*url.URL, error) {
	if req.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(req)
}

// ValidateCACert returns an error if pem, meant for [Client.CACert], holds text
// but no certificate. Empty stands for the system's roots and is valid.
func ValidateCACert(pem []byte) error {
	if _, err := rootsOf(pem); err != nil {
		return fmt.Errorf("ca_cert: %w", err)
	}
	return nil
}
