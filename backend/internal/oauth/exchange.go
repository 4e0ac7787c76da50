package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxRetryAfterHeader bounds what a Retry-After may say, so that no sum with it
// overflows. How much of it counts is not decided here.
const maxRetryAfterHeader = 24 * time.Hour

// Exchanger runs requests to an authorization server. Each of its methods runs one,
// sent at most once, and tells what became of it. The context bounds the whole of it
// and should carry a deadline; it must not be one that ends when a caller goes away,
// since a refresh token or a code may be spent by then.
//
// The zero Exchanger is ready; it is safe for concurrent use and holds no connection
// between two requests.
type Exchanger struct {
	// UserAgent is the User-Agent header (RFC 9110, section 10.1.5).
	UserAgent string
}

// exchange presents a grant at the token endpoint.
func (e *Exchanger) exchange(ctx context.Context, client Client, grant form) Result {
	return e.post(ctx, client, client.TokenURL, grant, classify)
}

// post sends a form in one POST, at most once, and lets read tell what the
// answer means.
func (e *Exchanger) post(
	ctx context.Context, client Client, endpoint string, f form, read func(*Result, *http.Response, *answer),
) (result Result) {
	result.SentAt = now()
	defer func() { result.AnsweredAt = now() }()

	roots, err := rootsOf(client.CACert)
	if err != nil {
		result.Outcome, result.Reason = NotSent, "the client's ca_cert is not readable"
		return result
	}
	sockets, answered := newSockets(ctx), false
	defer func() { sockets.close(answered) }()
	transport := newTransport(roots, sockets.dial)
	defer transport.CloseIdleConnections()

	// The evidence: without a connection nothing can have been sent. The hook
	// runs on this goroutine, within RoundTrip.
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := client.request(ctx, endpoint, f, e.UserAgent)
	if err != nil {
		result.Outcome, result.Reason = NotSent, "the endpoint's URL is not readable"
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
	a := readAnswer(resp.Body)
	answered = !a.cut
	read(&result, resp, &a)
	return result
}

// classify turns an HTTP answer into an outcome.
func classify(result *Result, resp *http.Response, a *answer) {
	result.Status = resp.StatusCode
	status := "HTTP status " + strconv.Itoa(resp.StatusCode)
	switch resp.StatusCode / 100 {
	case 2:
		tokens, ok := a.tokens()
		switch {
		case ok:
			result.Outcome, result.Tokens = Succeeded, tokens
		case a.complete:
			result.Reason = "the answer (" + status + ") held no token"
		default:
			result.Reason = "the answer (" + status + ") was cut off or is not JSON"
		}
	default:
		classifyFailure(result, resp, a, status)
	}
}

// classifyRevocation reads an answer of the revocation endpoint (RFC 7009,
// section 2.2): the status tells all.
func classifyRevocation(result *Result, resp *http.Response, a *answer) {
	result.Status = resp.StatusCode
	if resp.StatusCode/100 == 2 {
		result.Outcome = Succeeded
		return
	}
	classifyFailure(result, resp, a, "HTTP status "+strconv.Itoa(resp.StatusCode))
}

// classifyFailure reads an answer that is no 2xx.
func classifyFailure(result *Result, resp *http.Response, a *answer, status string) {
	switch resp.StatusCode / 100 {
	case 4:
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

// now is the wall clock in UTC without the monotonic reading: the times end up
// in storage and are compared on other machines.
func now() time.Time { return time.Now().UTC().Round(0) }
