package oauth

import (
	"context"
	"time"
)

// maxRetryAfterHeader bounds what a Retry-After may say, so that no sum with it
// overflows. The caller decides how much of it counts.
const maxRetryAfterHeader = 24 * time.Hour

// Exchanger sends requests to an authorization server. Each of its methods sends
// one, at most once, and reports its outcome. The context bounds the whole
// request and should carry a deadline. It must not be one that ends when a caller
// goes away, because a refresh token or a code may be spent by then.
//
// The zero Exchanger is ready. It is safe for concurrent use and holds no
// connection between two requests.
type Exchanger struct {
	// UserAgent is the User-Agent header (RFC 9110, section 10.1.5).
	UserAgent string
}

// classifier says what an answer with this HTTP status means.
type classifier func(status int, a *answer) (outcome Outcome, reason string)

// exchange presents a grant at the token endpoint.
func (e *Exchanger) exchange(ctx context.Context, client Client, grant form) Result {
	return e.post(ctx, client, client.TokenURL, grant, classify)
}

// post sends a form in one POST, at most once.
func (e *Exchanger) post(ctx context.Context, client Client, endpoint string, f form, class classifier) (result Result) {
	result.SentAt = now()
	defer func() { result.AnsweredAt = now() }()

	roots, err := rootsOf(client.CACert)
	if err != nil {
		result.Outcome, result.Reason = NotSent, "the client's ca_cert is not readable"
		return result
	}
	t := &trail{}
	req, err := client.request(t.with(ctx), endpoint, f, e.UserAgent)
	if err != nil {
		result.Outcome, result.Reason = NotSent, "the endpoint's URL is not readable"
		return result
	}
	sockets, answered := newSockets(ctx), false
	defer func() { sockets.close(answered) }()
	transport := newTransport(roots, sockets, t)
	defer transport.CloseIdleConnections()

	// RoundTrip, not http.Client: no redirects, no cookies.
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if reached, _, _, _ := t.observed(); reached == connected {
			result.Outcome, result.Reason = InDoubt, lossReason(err, t)
		} else {
			result.Outcome, result.Reason = NotSent, notSentReason(err, hostPort(req.URL), t)
		}
		return result
	}
	defer resp.Body.Close()
	a := readAnswer(resp.Body)
	answered = !a.cut
	result.settle(resp, &a, class)
	result.support(resp.Header, &a, client.secrets(f))
	return result
}

// now returns the wall clock in UTC without the monotonic reading, because the
// times end up in storage and are compared on other machines.
func now() time.Time { return time.Now().UTC().Round(0) }
