package oauth

import (
	"net/http"
	"time"
)

// Outcome is what is known about a request.
type Outcome int

// The outcomes. The zero Outcome is InDoubt, because an outcome that nobody has
// set is not known.
const (
	// InDoubt means that the request may have reached the server and that its
	// outcome is not known: a time-out or a reset after the connection was set
	// up, an answer that was cut, a 5xx without a registered error code.
	InDoubt Outcome = iota
	// NotSent means that no connection was ever set up. The refresh token is
	// untouched.
	NotSent
	// Rejected means that the server, or something in front of it, refused in a
	// complete answer with a registered error code, whatever the status, or with
	// 429.
	Rejected
	// Succeeded means that an answer, whatever its status, carries a new refresh
	// token, or is complete and carries a usable access token.
	Succeeded
	// Refused means that the answer came from something that does not speak OAuth,
	// perhaps in front of the server: an error code that is not registered, a 4xx
	// without an error code, a redirect.
	Refused
	// Unreadable means that a complete 2xx answer holds neither tokens nor an
	// error. The refresh token is probably spent.
	Unreadable
)

// String returns the outcome in words, for logs.
func (o Outcome) String() string {
	switch o {
	case NotSent:
		return "not sent"
	case Rejected:
		return "rejected"
	case Succeeded:
		return "succeeded"
	case Refused:
		return "refused"
	case Unreadable:
		return "unreadable"
	default:
		return "in doubt"
	}
}

// Unknown reports whether it is not known if the server has spent what was
// presented: InDoubt, Refused or Unreadable.
func (o Outcome) Unknown() bool {
	return o != NotSent && o != Rejected && o != Succeeded
}

// Result is the outcome of one request. Except for the tokens and what is
// marked as such it holds no text from the server.
type Result struct {
	Outcome    Outcome
	Tokens     Tokens        // if Succeeded
	Code       ErrorCode     // if Rejected or Refused; "" if there was none
	Status     int           // the HTTP status, 0 if no answer came
	Reason     string        // a fixed phrase for people: what went wrong; "" if Succeeded
	RetryAfter time.Duration // the server's Retry-After, at most 24 h; 0 if there was none, or if Succeeded
	// SentAt is the moment before the request was sent. A token's life is
	// counted from it, so that a slow answer never makes a token look younger
	// than it is.
	SentAt time.Time
	// AnsweredAt is the moment at which the outcome was known.
	AnsweredAt time.Time

	// The rest is for debug logging and for comparing clocks only. No text here
	// holds a piece of a secret of the exchange; one that would is "".

	// ErrorDescription is the server's error_description, at most 200 printable
	// ASCII characters; "" if Succeeded.
	ErrorDescription string
	// RequestID is the id that the server or a gateway gave the request, at most
	// 128 printable ASCII characters.
	RequestID string
	// Date is the server's clock, in whole seconds; zero if it sent none.
	Date time.Time
}

// settle takes over an answer.
func (r *Result) settle(resp *http.Response, a *answer, class classifier) {
	r.Status = resp.StatusCode
	r.Outcome, r.Reason = class(resp.StatusCode, a)
	switch r.Outcome {
	case Succeeded:
		r.Tokens = a.tokens()
		return
	case Rejected, Refused:
		r.Code = a.code()
	}
	r.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"))
}

// Busy reports whether the server rejected the request for a reason that passes
// by itself: 429, slow_down, temporarily_unavailable or server_error.
func (r Result) Busy() bool {
	if r.Outcome != Rejected {
		return false
	}
	return r.Status == http.StatusTooManyRequests ||
		r.Code == CodeSlowDown || r.Code == CodeTemporarilyUnavailable || r.Code == CodeServerError
}

// ClientRefused reports whether the server rejected the client's authentication,
// so that another secret of the client may be tried: invalid_client, or
// unauthorized_client with status 401. The refresh token is untouched.
func (r Result) ClientRefused() bool {
	if r.Outcome != Rejected {
		return false
	}
	return r.Code == CodeInvalidClient ||
		r.Code == CodeUnauthorizedClient && r.Status == http.StatusUnauthorized
}

// Readable reports whether the token endpoint itself answered in OAuth: with
// tokens, or with a registered error code. A 429 without a code may come from
// anything in front of it. [Result.Busy] says whether it also has time.
func (r Result) Readable() bool {
	return r.Outcome == Succeeded || r.Outcome == Rejected && r.Code.registered()
}
