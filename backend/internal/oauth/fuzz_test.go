package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// object decodes a whole body with encoding/json, as one would if no answer were
// ever broken. It returns nil if the body is not an object.
func object(body []byte) map[string]json.RawMessage {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	var members map[string]json.RawMessage
	if len(body) > maxAnswerBytes-3 || json.Unmarshal(body, &members) != nil {
		return nil
	}
	return members
}

// text is the member's text, "" if it is not a string.
func text(members map[string]json.RawMessage, name string) string {
	var s string
	if json.Unmarshal(members[name], &s) != nil {
		return ""
	}
	return s
}

// endOf returns the offset behind the last refresh_token of an object.
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
		var result Result
		for _, status := range []int{200, 302, 400, 429, 500} {
			result = resultOf(&http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body))})
			if result.Outcome != Succeeded || !result.Tokens.RefreshToken.IsSet() {
				t.Fatalf("%d: %v, %s: %q", status, result.Outcome, result.Reason, body)
			}
		}
		if bytes.Contains(tail, []byte("refresh")) || bytes.Contains(tail, []byte(`\`)) {
			return // the tail may hold another one
		}
		if got := result.Tokens.RefreshToken.Reveal(); got != want {
			t.Errorf("got %q, want %q: %q", got, want, body)
		}
	})
}

// FuzzCodedAnswer puts any compression, up to three times, on any body: what a body
// says does not depend on how it is packed, and a cut of it breaks nothing.
func FuzzCodedAnswer(f *testing.F) {
	f.Add([]byte(normalAnswer), []byte("gzd"), uint(10))
	f.Add([]byte(`{"error":"invalid_grant"}`), []byte("s"), uint(0))
	f.Add(codings["gzip"]([]byte(normalAnswer)), []byte(""), uint(7))
	f.Add(codings["utf-16be"]([]byte(normalAnswer)), []byte("z"), uint(7))
	f.Fuzz(func(t *testing.T, body, how []byte, cut uint) {
		if decoded := decode(body); len(decoded) > maxAnswerBytes {
			t.Errorf("%d bytes were decoded", len(decoded))
		}
		names := map[byte]string{'g': "gzip", 'z': "zlib", 'd': "deflate", 's': "stored"}
		coded := body
		for i, letter := range how {
			code, ok := codings[names[letter]]
			if i == maxCodings || !ok {
				t.Skip()
			}
			coded = code(coded)
		}
		if len(coded) > maxAnswerBytes {
			t.Skip()
		}
		if object(body) != nil {
			want, got := resultOfBody(body), resultOfBody(coded)
			if got.Outcome != want.Outcome || got.Code != want.Code || grantedBy(got.Tokens) != grantedBy(want.Tokens) {
				t.Errorf("got %v, %v, want %v, %v", got.Outcome, grantedBy(got.Tokens), want.Outcome, grantedBy(want.Tokens))
			}
		}
		short := resultOfBody(coded[:len(coded)-int(cut%uint(len(coded)+1))])
		if (short.Outcome == Succeeded) != (short.Tokens.RefreshToken.IsSet() || short.Tokens.AccessToken.IsSet()) {
			t.Errorf("%v with the tokens %v", short.Outcome, short.Tokens)
		}
	})
}

// FuzzLifetime holds the lifetime against its rule: never longer than what the
// answer says by any reading.
func FuzzLifetime(f *testing.F) {
	f.Add(1.7e9, 1.7e9+60, 86400.0)
	f.Add(0.0, 0.0, 1767225600.0)
	f.Add(0.0, 0.0, 300000.0)
	f.Add(0.0, 0.0, 172800.0)
	f.Fuzz(func(t *testing.T, issued, expires, expiresIn float64) {
		payload, err := json.Marshal(map[string]float64{"iat": issued, "exp": expires})
		if err != nil {
			t.Skip() // not a number, or infinite
		}
		said, err := json.Marshal(expiresIn)
		if err != nil {
			t.Skip()
		}
		a := readAnswer(strings.NewReader(fmt.Sprintf(`{"access_token":%q,"expires_in":%s}`, jwt(string(payload)), said)))
		got := a.tokens().ExpiresIn
		if got < time.Second || got > MaxExpiresIn || got%time.Second != 0 {
			t.Errorf("%v", got)
		}
		seconds, own := max(got.Seconds(), 1), expires-issued
		hasOwn := issued != 0 && expires != 0 && own > 0 && own <= 86400
		if hasOwn && seconds > max(own, 1) {
			t.Errorf("%v of a token that lives for %v s", got, own)
		}
		if expiresIn > 0 && expiresIn <= 86400 && seconds > max(expiresIn, 1) {
			t.Errorf("%v with an expires_in of %v", got, expiresIn)
		}
		wholeDays := expiresIn <= 100*86400 && math.Mod(expiresIn, 86400) == 0
		if expiresIn > 86400 && !wholeDays && !(own > 0) && seconds > max(expiresIn/1000, 1) {
			t.Errorf("%v with an expires_in of %v, perhaps milliseconds", got, expiresIn)
		}
	})
}

// FuzzAccessToken takes anything for an access token.
func FuzzAccessToken(f *testing.F) {
	f.Add(jwt(`{"iat":1700000000,"exp":1700000060}`), "bearer")
	f.Add("a.b.c", "mac")
	f.Fuzz(func(t *testing.T, token, tokenType string) {
		a := answer{accessToken: token, tokenType: tokenType, complete: true}
		tokens := a.tokens()
		if tokens.ExpiresIn < time.Second || tokens.ExpiresIn > MaxExpiresIn {
			t.Errorf("expires in %v", tokens.ExpiresIn)
		}
		if !isPrintable(tokens.AccessToken.Reveal()) || !isPrintable(tokens.TokenType) || len(tokens.TokenType) > maxTokenTypeBytes {
			t.Errorf("token %q, type %q", tokens.AccessToken.Reveal(), tokens.TokenType)
		}
		if tokens.AccessToken.IsSet() != (tokens.TokenType != "") || tokens.AccessToken.IsSet() != a.grants() {
			t.Errorf("token set %t, type %q", tokens.AccessToken.IsSet(), tokens.TokenType)
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
