package oauth

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRegisteredCodeRejects(t *testing.T) {
	for _, code := range []ErrorCode{
		"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
		"invalid_scope", "access_denied", "server_error", "temporarily_unavailable", "slow_down",
		"unsupported_response_type", "login_required", "consent_required", "interaction_required",
	} {
		for _, status := range []int{200, 302, 400, 401, 403, 404, 418, 499, 500, 503} {
			t.Run(fmt.Sprintf("%s with %d", code, status), func(t *testing.T) {
				body := fmt.Sprintf(`{"error":%q,"error_description":"canary","error_uri":"https://canary.example/"}`, code)
				result := exchange(t, testClient(newRawServer(t, nil, answering(httpAnswer(status, body))).url))
				isRejected(t, result, status, code)
				if want := fmt.Sprintf("the server answered %s (HTTP status %d)", code, status); result.Reason != want {
					t.Errorf("got the reason %q, want %q", result.Reason, want)
				}
			})
		}
	}
}

func TestRejectionIsReadTolerantly(t *testing.T) {
	for name, answer := range map[string]string{
		"wrong content type":      httpAnswer(400, `{"error":"invalid_grant"}`, "Content-Type: text/html"),
		"byte-order mark":         httpAnswer(400, "\xef\xbb\xbf"+`{"error":"invalid_grant"}`),
		"white space":             httpAnswer(400, " \r\n\t{ \"error\" : \"invalid_grant\" } \n"),
		"trailing bytes":          httpAnswer(400, `{"error":"invalid_grant"}<!-- canary -->`),
		"extra members":           httpAnswer(400, `{"a":{"error":"x"},"b":[1],"error":"invalid_grant","c":null}`),
		"escaped":                 httpAnswer(400, `{"\u0065rror":"invalid\u005fgrant"}`),
		"object whole, body cut":  cutAnswer(400, `{"error":"invalid_grant"}`),
		"odd members beside":      httpAnswer(400, `{"error":"invalid_grant","expires_in":"canary","refresh_token":1}`),
		"duplicate of wrong type": httpAnswer(400, `{"error":"invalid_grant","error":null,"error":17}`),
	} {
		t.Run(name, func(t *testing.T) {
			result := exchange(t, testClient(newRawServer(t, nil, answering(answer)).url))
			isRejected(t, result, 400, CodeInvalidGrant)
		})
	}
}

// A server's text in a Result would end up in errors and logs.
func TestUnregisteredCodeIsNeverRepeated(t *testing.T) {
	for _, text := range []string{
		"canary", "invalid_grant canary", "INVALID_GRANT", " invalid_grant", "invalid_grant\\u0000", "invalid-grant",
		"unsupported_token_type", "unregistered_error_code", strings.Repeat("canary", 1000), "\\u202ecanary",
	} {
		t.Run(text[:min(len(text), 30)], func(t *testing.T) {
			body := `{"error":"` + text + `","error_description":"canary"}`
			answer := httpAnswer(400, body, "X-Canary: canary", `WWW-Authenticate: Basic realm="canary"`)
			result := exchange(t, testClient(newRawServer(t, nil, answering(answer)).url))
			if want := "the server answered HTTP status 400 with an error code that OAuth does not have"; result.Outcome != Refused ||
				result.Code != CodeOther || result.Reason != want {
				t.Errorf("got %v, code %q, the reason %q, want %q", result.Outcome, result.Code, result.Reason, want)
			}
		})
	}
	t.Run("status line", func(t *testing.T) {
		script := answering("HTTP/1.1 400 canary\r\nContent-Length: 13\r\n\r\n{\"error\":\"x\"}")
		if result := exchange(t, testClient(newRawServer(t, nil, script).url)); result.Outcome != Refused {
			t.Errorf("got %v", result.Outcome)
		}
	})
}

func TestTooManyRequestsRejects(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer string
		code   ErrorCode
		after  time.Duration
	}{
		{"without a code", httpAnswer(429, "canary", "Retry-After: 30"), "", 30 * time.Second},
		{"without a body", httpAnswer(429, ""), "", 0},
		{"with a code", httpAnswer(429, `{"error":"slow_down"}`, "Retry-After: 30"), CodeSlowDown, 30 * time.Second},
		{"with a code that is not registered", httpAnswer(429, `{"error":"canary"}`), CodeOther, 0},
		{"with a cut body", cutAnswer(429, `{"error":"slow_down"`), "", 0},
		{"with a Retry-After that makes no sense", httpAnswer(429, "", "Retry-After: canary"), "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := exchange(t, testClient(newRawServer(t, nil, answering(c.answer)).url))
			isRejected(t, result, http.StatusTooManyRequests, c.code)
			if want := "the server asks for fewer requests (HTTP status 429)"; result.Reason != want {
				t.Errorf("got the reason %q, want %q", result.Reason, want)
			}
			if result.RetryAfter != c.after {
				t.Errorf("retry after %v, want %v", result.RetryAfter, c.after)
			}
		})
	}
}

func TestRetryAfterIsSecondsOrADateAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a clock that stands still: 2000-01-01 00:00:00 UTC
		for _, c := range []struct {
			name   string
			header string
			want   time.Duration
		}{
			{"missing", "", 0},
			{"seconds", "120", 2 * time.Minute},
			{"zero", "0", 0},
			{"white space", " 5\t", 5 * time.Second},
			{"a day", "86400", 24 * time.Hour},
			{"over a day", "86401", 24 * time.Hour},
			{"over 32 bits", "4294967297", 24 * time.Hour},
			{"over what a time.Duration holds", "9223372036854775807", 24 * time.Hour},
			{"over 64 bits", "99999999999999999999999", 24 * time.Hour},
			{"negative", "-5", 0},
			{"fraction", "1.5", 0},
			{"date", "Sat, 01 Jan 2000 00:00:42 GMT", 42 * time.Second},
			{"date of RFC 850", "Saturday, 01-Jan-00 00:00:42 GMT", 42 * time.Second},
			{"date of asctime", "Sat Jan  1 00:00:42 2000", 42 * time.Second},
			{"date in the past", "Fri, 31 Dec 1999 23:59:59 GMT", 0},
			{"date in far future", "Fri, 31 Dec 9999 23:59:59 GMT", 24 * time.Hour},
			{"date of another form", "2000-01-01T00:00:42Z", 0},
			{"garbage", "soon", 0},
		} {
			if got := parseRetryAfter(c.header); got != c.want {
				t.Errorf("%s: got %v, want %v", c.name, got, c.want)
			}
		}
	})
}

func isRejected(t *testing.T, result Result, status int, code ErrorCode) {
	t.Helper()
	if result.Outcome != Rejected || result.Status != status || result.Code != code {
		t.Errorf("got %v, status %d, code %q (%s), want %v, status %d, code %q",
			result.Outcome, result.Status, result.Code, result.Reason, Rejected, status, code)
	}
}
