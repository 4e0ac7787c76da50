package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// The reasons are fixed phrases for people. They name hosts and ports of this
// side's configuration, HTTP statuses, the times of certificates and the host
// names in them. They describe; that nothing was sent is known from the trail.

// notSentReason says why no connection to server, a host and port, could be set
// up.
func notSentReason(err error, server string, t *trail) string {
	reached, proxy, proxyStatus, _ := t.observed()
	peer := server
	if proxy != "" && reached < handshaking {
		peer = "the proxy " + proxy
	}
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
		op          *net.OpError
	)
	switch {
	case proxyStatus != 0 && proxyStatus != http.StatusOK:
		return fmt.Sprintf("the proxy %s answered HTTP status %d instead of connecting to %s", proxy, proxyStatus, server)
	case errors.As(err, &certificate):
		return certificateReason(err, peer)
	case errors.As(err, &record):
		return fmt.Sprintf("%s does not speak TLS (is the port right?)", peer)
	case errors.As(err, &alert), errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		return fmt.Sprintf("the TLS handshake with %s failed", peer)
	case isTimeout(err):
		return timeoutReason(reached, peer)
	default:
		return failureReason(err, reached, peer)
	}
}

// timeoutReason says where the time went.
func timeoutReason(reached stage, peer string) string {
	switch reached {
	case resolving:
		return fmt.Sprintf("the host name of %s could not be resolved in time", peer)
	case connecting:
		return fmt.Sprintf("the TCP connection to %s timed out", peer)
	case askingProxy:
		return fmt.Sprintf("%s did not answer in time", peer)
	case handshaking:
		return fmt.Sprintf("the TLS handshake with %s timed out", peer)
	default:
		return fmt.Sprintf("there was no time left to connect to %s", peer)
	}
}

// failureReason says what failed at once.
func failureReason(err error, reached stage, peer string) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("the host name of %s could not be resolved", peer)
	case reached == connecting && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("%s refused the connection", peer)
	case reached == connecting:
		return fmt.Sprintf("%s cannot be reached", peer)
	case reached == askingProxy:
		return fmt.Sprintf("%s closed the connection", peer)
	case reached == handshaking:
		return fmt.Sprintf("%s closed the connection during the TLS handshake", peer)
	default:
		return fmt.Sprintf("no connection to %s could be set up", peer)
	}
}

// certificateReason says why the certificate of peer was refused.
func certificateReason(err error, peer string) string {
	var (
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		authority x509.UnknownAuthorityError
	)
	clock := time.Now()
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && clock.Before(invalid.Cert.NotBefore):
		return fmt.Sprintf("the certificate of %s is not valid before %s; this machine's clock says %s",
			peer, stamp(invalid.Cert.NotBefore), stamp(clock))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s expired at %s; this machine's clock says %s",
			peer, stamp(invalid.Cert.NotAfter), stamp(clock))
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate of %s is not for this name; it is for %s", peer, hostNames(name.Certificate.DNSNames))
	case errors.As(err, &authority):
		return fmt.Sprintf("the certificate of %s comes from an unknown authority (is ca_cert right?)", peer)
	default:
		return fmt.Sprintf("the certificate of %s is not acceptable", peer)
	}
}

// maxNames and maxNameBytes bound what is shown of a certificate's names (RFC
// 1035, section 2.3.4).
const (
	maxNames     = 5
	maxNameBytes = 253
)

// hostNames lists the first names that are made of the characters of host names,
// a wildcard's included.
func hostNames(names []string) string {
	const characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*"
	var shown []string
	for _, name := range names {
		if name == "" || len(name) > maxNameBytes || strings.Trim(name, characters) != "" {
			continue
		}
		if len(shown) == maxNames {
			shown = append(shown, "others")
			break
		}
		shown = append(shown, name)
	}
	if len(shown) == 0 {
		return "no host name"
	}
	return strings.Join(shown, ", ")
}

// lossReason says how the answer to a request that was sent got lost.
func lossReason(err error, t *trail) string {
	_, _, _, answering := t.observed()
	switch {
	case isTimeout(err) && answering:
		return "an answer began, but did not end within the exchange_timeout"
	case isTimeout(err):
		return "no answer came within the exchange_timeout"
	case !answering:
		return "the connection broke before an answer came"
	default:
		return "an answer began that could not be read: it was cut off, is not HTTP, or its headers are larger than 1 MiB"
	}
}

// stamp is the form in which times appear in reasons: RFC 3339, UTC.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &timeout) && timeout.Timeout())
}
