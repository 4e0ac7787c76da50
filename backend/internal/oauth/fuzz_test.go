package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"
)

// object decodes body with encoding/json as a whole, which is how an answer
// would be read if nothing were ever wrong with one; nil where it is no object.
func object(body []byte) map[string]json.RawMessage {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	var members map[string]json.RawMessage
	if len(body) > maxAnswerBytes-3 || json.Unmarshal(body, &members) != nil {
		return nil
	}
	return members
}

// text is the member's text, "" where it is not a string.
func text(members map[string]json.RawMessage, name string) string {
	var s string
	if json.Unmarshal(members[name], &s) != nil {
		return ""
	}
	return s
}

// endOf is the offset behind the last refresh_token of an object.
func endOf(body []byte) int {
	dec := json.NewDecoder(bytes.NewReader(body))
	end := 0
	if _, err := dec.Token(); err != nil {
		return 0
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return 0
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return 0
		}
		if name == "refresh_token" {
			end = int(dec.InputOffset())
		}
	}
	return end
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(normalAnswer), uint(0))
	f.Fuzz(func(t *testing.T, body []byte, cut uint) {
		a := readAnswer(bytes.NewReader(body))
		tokens, ok := a.tokens(), a.grants()

		if tokens.ExpiresIn < time.Second || tokens.ExpiresIn > MaxExpiresIn {
			t.Errorf("expires in %v", tokens.ExpiresIn)
		}
		for _, c := range []byte(tokens.AccessToken.Reveal()) {
			if c < 0x20 || c > 0x7e {
				t.Errorf("access token %q fits no header", tokens.AccessToken.Reveal())
			}
		}
		if ok != (tokens.RefreshToken.IsSet() || (a.complete && tokens.AccessToken.IsSet())) {
			t.Errorf("granted %t: %+v", ok, a)
		}

		members := object(body)
		if members == nil {
			return
		}
		if !a.complete {
			t.Error("a whole object counts as cut")
		}
		want := text(members, "refresh_token")
		if want == "" {
			return
		}
		if !ok || tokens.RefreshToken.Reveal() != want {
			t.Errorf("got the refresh token %q, want %q", tokens.RefreshToken.Reveal(), want)
		}
		// A cut anywhere behind the refresh token takes nothing of it away.
		mark := len(body) - len(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
		end := mark + endOf(body[mark:])
		for _, length := range []int{end, end + int(cut%uint(len(body)-end+1))} {
			a := readAnswer(bytes.NewReader(body[:length]))
			if tokens := a.tokens(); !a.grants() || tokens.RefreshToken.Reveal() != want {
				t.Errorf("cut to %q: got the refresh token %q, want %q", body[:length], tokens.RefreshToken.Reveal(), want)
			}
		}
	})
}

// FuzzRefreshTokenSurvives puts anything behind a refresh token.
func FuzzRefreshTokenSurvives(f *testing.F) {
	f.Add([]byte(`"access_token":"a",`), next, []byte(`,"expires_in":600}`))
	f.Fuzz(func(t *testing.T, head []byte, token string, tail []byte) {
		if token == "" || len(head)+len(token)*6 > maxAnswerBytes/2 {
			t.Skip()
		}
		if !json.Valid(slices.Concat([]byte("{"), head, []byte(` "x":0}`))) {
			t.Skip()
		}
		quoted, err := json.Marshal(token)
		if err != nil {
			t.Fatal(err)
		}
		var want string
		if err := json.Unmarshal(quoted, &want); err != nil { // invalid UTF-8 is replaced
			t.Fatal(err)
		}
		whole := slices.Concat([]byte("{"), head, []byte(` "refresh_token":`), quoted)
		body := slices.Concat(whole, tail)
		result := resultOfBody(body)
		if result.Outcome != Succeeded || !result.Tokens.RefreshToken.IsSet() {
			t.Fatalf("%v, %s: %q", result.Outcome, result.Reason, body)
		}
		if bytes.Contains(tail, []byte("refresh")) || bytes.Contains(tail, []byte(`\`)) {
			return // the tail may hold another one
		}
		if got := result.Tokens.RefreshToken.Reveal(); got != want {
			t.Errorf("got %q, want %q: %q", got, want, body)
		}
	})
}

var registered = []ErrorCode{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
	"invalid_scope", "access_denied", "server_error", "temporarily_unavailable", "slow_down",
	"unsupported_response_type", "login_required", "consent_required", "interaction_required",
}

// FuzzClassify holds any answer against the table of outcomes.
func FuzzClassify(f *testing.F) {
	f.Add(400, "", []byte(`{"error":"invalid_grant"}`))
	f.Add(400, "", []byte(`{"error":"login_required"}`))
	f.Add(500, "", []byte(normalAnswer))
	f.Fuzz(func(t *testing.T, status int, retryAfter string, body []byte) {
		if status < 100 || status > 999 {
			t.Skip()
		}
		result := resultOf(&http.Response{
			StatusCode: status,
			Header:     http.Header{"Retry-After": {retryAfter}},
			Body:       io.NopCloser(bytes.NewReader(body)),
		})
		if result.RetryAfter < 0 || result.RetryAfter > 24*time.Hour {
			t.Errorf("retry after %v", result.RetryAfter)
		}
		if result.Code != "" && result.Code != CodeOther && !slices.Contains(registered, result.Code) {
			t.Errorf("the code %q is not registered", result.Code)
		}
		// A reason is one of a few, so it holds no text of the body.
		if want := reasons(status, result.Code); (result.Outcome != Succeeded) != slices.Contains(want, result.Reason) {
			t.Errorf("%v, the reason is %q, want one of %q", result.Outcome, result.Reason, want)
		}
		if (result.Outcome == Succeeded) != (result.Tokens.RefreshToken.IsSet() || result.Tokens.AccessToken.IsSet()) {
			t.Errorf("%v with the tokens %v", result.Outcome, result.Tokens)
		}

		members := object(body)
		code := ErrorCode(text(members, "error"))
		var want []Outcome
		switch {
		case text(members, "refresh_token") != "":
			want = []Outcome{Succeeded}
		case result.Outcome == Succeeded: // an access token, or a refresh token in something that is not an object
			return
		case status == http.StatusTooManyRequests, slices.Contains(registered, code):
			want = []Outcome{Rejected}
		case result.Outcome == Rejected && members == nil, code == "" && members["error"] != nil: // bytes behind the object, a duplicate
			return
		case code != "" && status < 500, status/100 == 3:
			want = []Outcome{Refused}
		case status/100 == 4:
			want = []Outcome{Refused, InDoubt}
		case status/100 == 2:
			want = []Outcome{Unreadable, InDoubt, Refused}
		case status >= 500:
			want = []Outcome{InDoubt}
		default:
			want = []Outcome{InDoubt, Refused}
		}
		if !slices.Contains(want, result.Outcome) {
			t.Errorf("%v with status %d, want one of %v", result.Outcome, status, want)
		}
		if status < 500 && result.Outcome != Succeeded && code != "" && result.Code != RegisteredCode(string(code)) {
			t.Errorf("the code is %q, want %q", result.Code, RegisteredCode(string(code)))
		}
	})
}

// reasons are all that may be said of an answer with this status.
func reasons(status int, code ErrorCode) []string {
	shown := "HTTP status " + strconv.Itoa(status)
	return []string{
		fmt.Sprintf("the server answered %s (%s)", code, shown),
		fmt.Sprintf("the server answered %s with an error code that OAuth does not have", shown),
		fmt.Sprintf("the server answered %s without an OAuth error code", shown),
		fmt.Sprintf("the server answered %s", shown),
		fmt.Sprintf("the server answered with a redirect (%s), which is not followed", shown),
		fmt.Sprintf("the server asks for fewer requests (%s)", shown),
		fmt.Sprintf("the answer (%s) held no token", shown),
		fmt.Sprintf("the answer (%s) is not JSON", shown),
		fmt.Sprintf("the answer (%s) was cut off", shown),
	}
}
