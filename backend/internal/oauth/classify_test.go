package oauth

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The table of outcomes, with what servers and what stands in front of them
// really answer. {status} stands for the HTTP status.
func TestAnswerIsClassifiedByTheTable(t *testing.T) {
	const (
		busy     = "the server asks for fewer requests ({status})"
		rejected = "the server answered invalid_grant ({status})"
		foreign  = "the server answered {status} with an error code that OAuth does not have"
		noCode   = "the server answered {status} without an OAuth error code"
		redirect = "the server answered with a redirect ({status}), which is not followed"
		noToken  = "the answer ({status}) held no token"
		noJSON   = "the answer ({status}) is not JSON"
		cut      = "the answer ({status}) was cut off"
		plain    = "the server answered {status}"

		html = "<html><body>canary</body></html>"
		dead = `{"error":"invalid_grant","error_description":"canary"}`
		odd  = `{"timestamp":1,"status":404,"error":"Not Found canary","path":"/token"}`
	)
	for _, c := range []struct {
		name    string
		status  int
		answer  string
		outcome Outcome
		code    ErrorCode
		reason  string
	}{
		{"2xx with tokens", 200, httpAnswer(200, normalAnswer), Succeeded, "", ""},
		{"400 with tokens", 400, httpAnswer(400, normalAnswer), Succeeded, "", ""},
		{"401 with tokens", 401, httpAnswer(401, normalAnswer), Succeeded, "", ""},
		{"429 with tokens", 429, httpAnswer(429, normalAnswer), Succeeded, "", ""},
		{"500 with tokens", 500, httpAnswer(500, normalAnswer), Succeeded, "", ""},
		{"302 with tokens", 302, httpAnswer(302, normalAnswer, "Location: /canary"), Succeeded, "", ""},
		{"600 with tokens", 600, httpAnswer(600, normalAnswer), Succeeded, "", ""},
		{
			"101 with tokens", 101,
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: canary\r\n\r\n" + normalAnswer, Succeeded, "", "",
		},
		{"tokens beside an error", 400, httpAnswer(400, `{"error":"invalid_grant",`+normalAnswer[1:]), Succeeded, "", ""},
		{"503 cut behind the refresh token", 503, cutAnswer(503, `{"refresh_token":"`+next+`"`), Succeeded, "", ""},

		{"429 with a page", 429, httpAnswer(429, html), Rejected, "", busy},
		{"429 with a cut body", 429, cutAnswer(429, `{"error":"slow_down"`), Rejected, "", busy},
		{"429 with an unregistered code", 429, httpAnswer(429, odd), Rejected, CodeOther, busy},
		{"400 with a registered code", 400, httpAnswer(400, dead), Rejected, CodeInvalidGrant, rejected},
		{"200 with a registered code", 200, httpAnswer(200, dead), Rejected, CodeInvalidGrant, rejected},
		{"302 with a registered code", 302, httpAnswer(302, dead, "Location: /canary"), Rejected, CodeInvalidGrant, rejected},
		{"500 with a registered code", 500, httpAnswer(500, dead), Rejected, CodeInvalidGrant, rejected},
		{"600 with a registered code", 600, httpAnswer(600, dead), Rejected, CodeInvalidGrant, rejected},
		{
			"a registered code beside an access token that cannot be used", 400,
			httpAnswer(400, `{"error":"invalid_grant","access_token":"a\nb"}`), Rejected, CodeInvalidGrant, rejected,
		},
		{
			"a registered code beside an empty refresh token", 200,
			httpAnswer(200, `{"error":"invalid_grant","refresh_token":"","access_token":null}`), Rejected, CodeInvalidGrant, rejected,
		},

		{"404 of Spring", 404, httpAnswer(404, odd), Refused, CodeOther, foreign},
		{"200 with an unregistered code", 200, httpAnswer(200, `{"error":"session_canary"}`), Refused, CodeOther, foreign},
		{"200 with an error object", 200, httpAnswer(200, `{"error":{"code":401,"message":"canary"}}`), Refused, CodeOther, foreign},
		{"200 with an error flag", 200, httpAnswer(200, `{"error":true,"message":"canary"}`), Refused, CodeOther, foreign},
		{"302 with an unregistered code", 302, httpAnswer(302, odd), Refused, CodeOther, foreign},
		{"400 without a body", 400, httpAnswer(400, ""), Refused, "", noCode},
		{"400 with an empty object", 400, httpAnswer(400, "{}"), Refused, "", noCode},
		{"400 with an empty code", 400, httpAnswer(400, `{"error":""}`), Refused, "", noCode},
		{"400 with a code in a page", 400, httpAnswer(400, "<p>invalid_grant"), Refused, "", noCode},
		{"401 with a page", 401, httpAnswer(401, html), Refused, "", noCode},
		{"403 of a firewall", 403, httpAnswer(403, html), Refused, "", noCode},
		{"403 over 1 MiB", 403, httpAnswer(403, html+strings.Repeat(" ", 2*maxAnswerBytes)), Refused, "", noCode},
		{"404", 404, httpAnswer(404, "404 page not found"), Refused, "", noCode},
		{"407", 407, httpAnswer(407, ""), Refused, "", noCode},
		{"302 to a login page", 302, httpAnswer(302, html, "Location: https://canary.example/"), Refused, "", redirect},
		{"304", 304, "HTTP/1.1 304 Not Modified\r\n\r\n", Refused, "", redirect},
		{"302 with a cut body", 302, cutAnswer(302, html), Refused, "", redirect},

		{"2xx without a body", 200, httpAnswer(200, ""), Unreadable, "", noJSON},
		{"204", 204, "HTTP/1.1 204 No Content\r\n\r\n", Unreadable, "", noJSON},
		{"2xx with a page", 200, httpAnswer(200, html, "Content-Type: text/html"), Unreadable, "", noJSON},
		{"2xx with an array", 200, httpAnswer(200, `[{"access_token":"a"}]`), Unreadable, "", noJSON},
		{"2xx with a string", 200, httpAnswer(200, `"canary"`), Unreadable, "", noJSON},
		{"2xx with null", 200, httpAnswer(200, "null"), Unreadable, "", noJSON},
		{"2xx with something like an object", 200, httpAnswer(200, `{"access_token":"a","expires_in":NaN}`), Unreadable, "", noJSON},
		{"2xx with an empty object", 200, httpAnswer(200, "{}"), Unreadable, "", noToken},
		{"2xx with a false error flag", 200, httpAnswer(200, `{"error":false}`), Unreadable, "", noToken},
		{"2xx with tokens of the wrong type", 200, httpAnswer(200, `{"access_token":1,"refresh_token":{"a":"b"}}`), Unreadable, "", noToken},
		{"2xx with empty tokens", 200, httpAnswer(200, `{"access_token":"","refresh_token":""}`), Unreadable, "", noToken},
		{"2xx with only an unusable access token", 200, httpAnswer(200, `{"access_token":"a\nb"}`), Unreadable, "", noToken},
		{
			"refresh token behind 1 MiB", 200,
			httpAnswer(200, `{"pad":"`+strings.Repeat("x", maxAnswerBytes)+`",`+normalAnswer[1:]), Unreadable, "", noJSON,
		},

		{"2xx cut before the refresh token", 200, cutAnswer(200, `{"access_token":"`+access+`","token_type":"bearer",`), InDoubt, "", cut},
		{"2xx cut in the name of the refresh token", 200, cutAnswer(200, `{"access_token":"a","refresh_tok`), InDoubt, "", cut},
		{"2xx cut in the refresh token", 200, cutAnswer(200, `{"access_token":"a","refresh_token":"_1XBPWQQ_ne`), InDoubt, "", cut},
		{"2xx cut by the server itself", 200, httpAnswer(200, `{"access_token":"a","refresh_token":"_1XBPWQQ_ne`), InDoubt, "", cut},
		{"2xx with a cut page", 200, cutAnswer(200, html), InDoubt, "", cut},
		{"2xx cut at once", 200, cutAnswer(200, ""), InDoubt, "", cut},
		{"2xx cut before its chunk", 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", InDoubt, "", cut},
		{"2xx with a bad chunk", 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary", InDoubt, "", cut},
		{"400 with a cut body", 400, cutAnswer(400, `{"error":"invalid_grant","error_description":"canary`), InDoubt, "", cut},
		{"400 cut behind the code", 400, cutAnswer(400, `{"error":"invalid_grant"`), InDoubt, "", cut},
		{"404 with a cut page", 404, cutAnswer(404, html), InDoubt, "", cut},
		{"500", 500, httpAnswer(500, html), InDoubt, "", plain},
		{"500 of Spring", 500, httpAnswer(500, `{"error":"Internal Server Error"}`), InDoubt, "", plain},
		{"500 cut behind the code", 500, cutAnswer(500, `{"error":"invalid_grant"`), InDoubt, "", plain},
		{"502", 502, httpAnswer(502, html), InDoubt, "", plain},
		{"503", 503, httpAnswer(503, ""), InDoubt, "", plain},
		{"504", 504, httpAnswer(504, html), InDoubt, "", plain},
		{"600", 600, httpAnswer(600, html), InDoubt, "", plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newRawServer(t, nil, answering(c.answer))
			result := exchange(t, testClient(server.url))
			reason := strings.ReplaceAll(c.reason, "{status}", fmt.Sprintf("HTTP status %d", c.status))
			if result.Outcome != c.outcome || result.Status != c.status || result.Code != c.code || result.Reason != reason {
				t.Errorf("got %v, status %d, code %q, %q, want %v, code %q, %q",
					result.Outcome, result.Status, result.Code, result.Reason, c.outcome, c.code, reason)
			}
			if result.Outcome.Unknown() != (c.outcome == Refused || c.outcome == Unreadable || c.outcome == InDoubt) {
				t.Errorf("%v: unknown %t", result.Outcome, result.Outcome.Unknown())
			}
			server.sees(t, 1, 1)
		})
	}
}

func TestBusyAndRefusedClientAreToldApart(t *testing.T) {
	for _, c := range []struct {
		status        int
		body          string
		busy, refused bool
	}{
		{429, "", true, false},
		{429, `{"error":"invalid_request"}`, true, false},
		{400, `{"error":"slow_down"}`, true, false},
		{503, `{"error":"temporarily_unavailable"}`, true, false},
		{500, `{"error":"server_error"}`, true, false},
		{401, `{"error":"invalid_client"}`, false, true},
		{400, `{"error":"invalid_client"}`, false, true},
		{401, `{"error":"unauthorized_client"}`, false, true},
		{400, `{"error":"unauthorized_client"}`, false, false},
		{401, `{"error":"invalid_grant"}`, false, false},
		{401, "", false, false},
		{503, "", false, false},
		{429, normalAnswer, false, false},
	} {
		result := resultOf(&http.Response{StatusCode: c.status, Body: io.NopCloser(strings.NewReader(c.body))})
		if result.Busy() != c.busy || result.ClientRefused() != c.refused {
			t.Errorf("%d %s: busy %t, client refused %t", c.status, c.body, result.Busy(), result.ClientRefused())
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			var contacted atomic.Int32
			target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				contacted.Add(1)
				_, _ = io.WriteString(w, normalAnswer)
			}))
			defer target.Close()
			server := newRawServer(t, nil, answering(httpAnswer(status, "", "Location: "+target.URL+"/canary")))
			if result := exchange(t, testClient(server.url)); result.Outcome != Refused || result.Status != status {
				t.Errorf("got %v, status %d, want %v", result.Outcome, result.Status, Refused)
			}
			server.sees(t, 1, 1)
			if contacted.Load() != 0 {
				t.Error("the target of the redirect was contacted")
			}
		})
	}
}

func TestRetryAfterIsReadUnlessTheExchangeSucceeded(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   time.Duration
	}{
		{200, "", 7 * time.Second},
		{200, normalAnswer, 0},
		{302, "", 7 * time.Second},
		{400, `{"error":"invalid_request"}`, 7 * time.Second},
		{404, "", 7 * time.Second},
		{429, "", 7 * time.Second},
		{503, "", 7 * time.Second},
		{503, normalAnswer, 0},
	} {
		server := newRawServer(t, nil, answering(httpAnswer(c.status, c.body, "Retry-After: 7")))
		if got := exchange(t, testClient(server.url)).RetryAfter; got != c.want {
			t.Errorf("%d %s: got %v, want %v", c.status, c.body, got, c.want)
		}
	}
}
