package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	dialTimeout         = 10 * time.Second
	maxHeaderBytes      = 64 << 10
	maxRetryAfterHeader = 24 * time.Hour
)

// Exchanger runs exchanges. The zero Exchanger is ready; it is safe for
// concurrent use and holds no connection between two exchanges.
type Exchanger struct {
	// UserAgent is the User-Agent header (RFC 9110, section 10.1.5).
	UserAgent string
}

// Refresh runs the refresh grant of RFC 6749, section 6: it presents
// refreshToken in one POST, sent at most once, and tells what became of it.
// The context bounds the whole exchange and should carry a deadline; it must
// not be one that ends when a caller goes away, since the refresh token may be
// spent by then.
func (e *Exchanger) Refresh(ctx context.Context, client Client, refreshToken Secret) Result {
	var grant form
	grant.add("grant_type", "refresh_token")
	grant.add("refresh_token", refreshToken.Reveal())
	return e.exchange(ctx, client, grant)
}

func (e *Exchanger) exchange(ctx context.Context, client Client, grant form) (result Result) {
	result.SentAt = now()
	defer func() { result.AnsweredAt = now() }()

	transport, err := newTransport(client.CACert)
	if err != nil {
		result.Outcome, result.Reason = NotSent, "the client's ca_cert is not readable"
		return result
	}
	defer transport.CloseIdleConnections()

	// The evidence: without a connection nothing can have been sent. The hook
	// runs on this goroutine, within RoundTrip.
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := client.request(ctx, grant, e.UserAgent)
	if err != nil {
		result.Outcome, result.Reason = NotSent, "the client's token_url is not readable"
		return result
	}

	// RoundTrip, not http.Client: no redirects, no cookies.
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if connected.Load() {
			result.Outcome, result.Reason = InDoubt, lossReason(err)
		} else {
			result.Outcome, result.Reason = NotSent, connectReason(err)
		}
		return result
	}
	defer resp.Body.Close()
	classify(&result, resp)
	return result
}

// classify turns an HTTP answer into an outcome.
func classify(result *Result, resp *http.Response) {
	result.Status = resp.StatusCode
	status := "HTTP status " + strconv.Itoa(resp.StatusCode)
	switch resp.StatusCode / 100 {
	case 2:
		a := parseAnswer(resp.Body)
		tokens, ok := a.tokens()
		switch {
		case ok:
			result.Outcome, result.Tokens = Succeeded, tokens
		case a.complete:
			result.Reason = "the answer (" + status + ") held no token"
		default:
			result.Reason = "the answer (" + status + ") was cut off or is not JSON"
		}
	case 4:
		a := parseAnswer(resp.Body)
		result.Code = a.code()
		result.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"))
		switch {
		case resp.StatusCode == http.StatusTooManyRequests:
			result.Outcome, result.Reason = Rejected, "the server asks for fewer requests ("+status+")"
		case result.Code != "":
			result.Outcome, result.Reason = Rejected, "the server answered "+string(result.Code)+" ("+status+")"
		default:
			result.Reason = "the server answered " + status + " without an OAuth error code"
		}
	case 3:
		result.Reason = "the server answered with a redirect (" + status + "), which is not followed"
	default:
		result.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"))
		result.Reason = "the server answered " + status
	}
}

// newTransport returns a transport for one request: HTTP/1.1, a connection of
// its own that is closed afterwards, no compression, TLS 1.2 or later, bounded
// headers.
func newTransport(caCert []byte) (*http.Transport, error) {
	var roots *x509.CertPool
	if len(caCert) > 0 {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(caCert) {
			return nil, errors.New("no certificate in the PEM text")
		}
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  connectProxy,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    dialTimeout,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              &protocols,
	}, nil
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
		return "the token endpoint's host name could not be resolved"
	case errors.As(err, &certificate):
		return "the token endpoint's TLS certificate is not trusted (is ca_cert right?)"
	case errors.As(err, &record), hasOp && (op.Op == "remote error" || op.Op == "local error"): // TLS alerts
		return "the TLS handshake with the token endpoint failed"
	case isTimeout(err):
		return "connecting to the token endpoint timed out"
	case hasOp && op.Op == "dial":
		return "the token endpoint refused the connection or cannot be reached"
	default:
		return "no connection to the token endpoint could be set up"
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

// parseRetryAfter reads RFC 9110, section 10.2.3: seconds or a date. It gives 0
// for what makes no sense.
func parseRetryAfter(header string) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	// A number that is out of range comes as the largest one.
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxRetryAfterHeader/time.Second))) * time.Second
	}
	var d time.Duration
	if date, err := http.ParseTime(header); err == nil {
		d = time.Until(date)
	}
	return min(max(d, 0), maxRetryAfterHeader)
}

// ValidateCACert tells whether ca_cert holds at least one certificate.
func ValidateCACert(pem []byte) error {
	if _, err := newTransport(pem); err != nil {
		return fmt.Errorf("ca_cert: %w", err)
	}
	return nil
}

// now is the wall clock in UTC without the monotonic reading: the times end up
// in storage and are compared on other machines.
func now() time.Time { return time.Now().UTC().Round(0) }
