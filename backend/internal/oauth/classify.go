package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// classify says what an answer of the token endpoint means, and why in a fixed
// phrase. The cases stand in this order:
//
//	| what came                                                     | outcome    |
//	| tokens, with any status                                       | Succeeded  |
//	| 429, or a registered error code with any status               | Rejected   |
//	| an unregistered error code, another complete 4xx, a 3xx       | Refused    |
//	| a complete 2xx without tokens and without an error            | Unreadable |
//	| anything else: a cut answer, a 5xx without a registered code  | InDoubt    |
//
// A 4xx that was cut is not complete: it may have been the beginning of
// anything. A 5xx with an unregistered code stays in doubt, because web
// frameworks answer {"error":"Internal Server Error"} to a request that they
// have half processed.
func classify(status int, a *answer) (outcome Outcome, reason string) {
	code, shown, class := a.code(), "HTTP status "+strconv.Itoa(status), status/100
	switch {
	case a.grants():
		return Succeeded, ""

	case status == http.StatusTooManyRequests:
		return Rejected, fmt.Sprintf("the server asks for fewer requests (%s)", shown)
	case code.registered():
		return Rejected, fmt.Sprintf("the server answered %s (%s)", code, shown)

	case code == CodeOther && class < 5:
		return Refused, fmt.Sprintf("the server answered %s with an error code that OAuth does not have", shown)
	case class == 4 && !a.cut:
		return Refused, fmt.Sprintf("the server answered %s without an OAuth error code", shown)
	case class == 3:
		return Refused, fmt.Sprintf("the server answered with a redirect (%s), which is not followed", shown)

	case class == 2 && !a.cut && a.complete:
		return Unreadable, fmt.Sprintf("the answer (%s) held no token", shown)
	case class == 2 && !a.cut:
		return Unreadable, fmt.Sprintf("the answer (%s) is not JSON", shown)

	case class == 2 || class == 4:
		return InDoubt, fmt.Sprintf("the answer (%s) was cut off", shown)
	default:
		return InDoubt, fmt.Sprintf("the server answered %s", shown)
	}
}

// classifyRevocation says what an answer of the revocation endpoint means (RFC
// 7009, section 2.2): a 2xx is a success, whatever its body holds.
func classifyRevocation(status int, a *answer) (outcome Outcome, reason string) {
	if status/100 == 2 {
		return Succeeded, ""
	}
	a.accessToken, a.refreshToken = "", "" // there is nothing to grant
	return classify(status, a)
}

// parseRetryAfter reads a Retry-After header (RFC 9110, section 10.2.3), which
// holds seconds or a date. It returns 0 if it makes no sense.
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
