package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxDescription = 200
	maxRequestID   = 128

	// guarded is how many characters in a row make a piece of a secret.
	guarded = 8
)

// requestIDHeaders are the names under which servers and gateways tell the id that
// their logs have for a request.
var requestIDHeaders = []string{
	"X-Request-Id", "X-Correlation-Id", "Traceparent", "Request-Id", "X-Trace-Id",
	"X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Ms-Request-Id", "Cf-Ray",
}

// support takes over what helps to find an exchange in the server's log. secrets
// are those that the request carried.
func (r *Result) support(header http.Header, a *answer, secrets []string) {
	secrets = slices.Concat(secrets, a.secrets)
	if r.Outcome != Succeeded {
		r.ErrorDescription = showable(a.errorDescription, maxDescription, secrets)
	}
	for _, name := range requestIDHeaders {
		if id := header.Get(name); id != "" {
			r.RequestID = showable(id, maxRequestID, secrets)
			break
		}
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		r.Date = date.UTC()
	}
}

// ClockSkew returns by how much the server's clock is ahead of this machine's, at
// least; it is negative if the server's clock is behind. It is 0 if the server
// sent no Date, or if the time that the request took and the whole seconds of a
// Date explain the difference. A clock that was set during the exchange, and a
// proxy that answers with an old Date, look like skew.
func (r Result) ClockSkew() time.Duration {
	if r.Date.IsZero() {
		return 0
	}
	// Some time between SentAt and AnsweredAt, the server's clock stood between
	// Date and a second later.
	least, most := r.Date.Sub(r.AnsweredAt), r.Date.Add(time.Second).Sub(r.SentAt)
	switch {
	case least > 0:
		return least
	case most < 0:
		return most
	default:
		return 0
	}
}

// secrets returns every secret that a request carries, in the forms in which it
// does.
func (c *Client) secrets(f form) []string {
	all := []string{c.Secret.Reveal(), url.QueryEscape(c.Secret.Reveal()), c.basicAuth()}
	for _, member := range f {
		if member.secret {
			all = append(all, member.value, url.QueryEscape(member.value))
		}
	}
	return all
}

// showable returns the first limit characters of a server's text, with "?" for
// each that is not printable ASCII. It returns "" if the text holds a piece of a
// secret anywhere, also with something in between that is not visible.
func showable(text string, limit int, secrets []string) string {
	if len(text) > maxExtraBytes {
		return ""
	}
	printable := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	for _, secret := range secrets {
		if holdsPiece(text, secret) || holdsPiece(printable, secret) || holdsPiece(visible(text), visible(secret)) {
			return ""
		}
	}
	return printable[:min(len(printable), limit)]
}

// visible leaves out blanks and whatever is not ASCII.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
}

// holdsPiece reports whether a text holds eight characters in a row of a secret,
// or the whole of a shorter one.
func holdsPiece(text, secret string) bool {
	if len(secret) < guarded {
		return secret != "" && strings.Contains(text, secret)
	}
	for end := guarded; end <= len(text); end++ {
		if strings.Contains(secret, text[end-guarded:end]) {
			return true
		}
	}
	return false
}
