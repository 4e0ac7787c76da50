package oauth

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestFailureTellsSupportWhatTheServerSaid(t *testing.T) {
	answer := httpAnswer(400, `{"error":"invalid_grant","error_description":"unknown, invalid, or expired refresh token\u0000\u202e\u00fc"}`,
		"Date: Thu, 01 Jan 2026 00:00:00 GMT", "X-Request-Id: req-1", "X-Correlation-Id: req-2")
	result := exchange(t, testClient(newRawServer(t, nil, answering(answer)).url))
	if want := "unknown, invalid, or expired refresh token???"; result.ErrorDescription != want {
		t.Errorf("got the description %q, want %q", result.ErrorDescription, want)
	}
	if want := "req-1"; result.RequestID != want {
		t.Errorf("got the id %q, want %q", result.RequestID, want)
	}
	if want := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); !result.Date.Equal(want) || result.Date.Location() != time.UTC {
		t.Errorf("got the date %v, want %v", result.Date, want)
	}
}

func TestSuccessTellsNoDescription(t *testing.T) {
	answer := httpAnswer(200, `{"error_description":"none",`+normalAnswer[1:], "Date: Thu, 01 Jan 2026 00:00:00 GMT", "Traceparent: 00-1-2-01")
	result := exchange(t, testClient(newRawServer(t, nil, answering(answer)).url))
	if result.Outcome != Succeeded || result.ErrorDescription != "" || result.RequestID != "00-1-2-01" || result.Date.IsZero() {
		t.Errorf("got %+v", result)
	}
}

func TestTextsForSupportAreBounded(t *testing.T) {
	long := strings.Repeat("x ", 1000)
	answer := httpAnswer(400, `{"error":"x","error_description":"`+long+`"}`, "X-Request-Id: "+long, "Date: tomorrow")
	result := exchange(t, testClient(newRawServer(t, nil, answering(answer)).url))
	if result.ErrorDescription != long[:200] || result.RequestID != long[:128] || !result.Date.IsZero() {
		t.Errorf("got %d and %d characters, %v", len(result.ErrorDescription), len(result.RequestID), result.Date)
	}
	answer = httpAnswer(400, `{"error":"x","error_description":"`+strings.Repeat(long, 10)+`"}`)
	if got := exchange(t, testClient(newRawServer(t, nil, answering(answer)).url)).ErrorDescription; got != "" {
		t.Errorf("got %d characters of a text that is too long to be looked at", len(got))
	}
}

// Servers and gateways repeat what they were sent. Whatever the request or the
// answer carried, no piece of it gets out.
func TestTextWithAPieceOfASecretIsLeftOut(t *testing.T) {
	const secret = "cl ient/secret-0123456789"
	basic := base64.StdEncoding.EncodeToString([]byte("id:cl+ient%2Fsecret-0123456789"))
	refresh := func(ctx context.Context, e *Exchanger, c Client) Result {
		return e.Refresh(ctx, c, NewSecret("refresh-0123456789"))
	}
	redeem := func(ctx context.Context, e *Exchanger, c Client) Result {
		return e.RedeemCode(ctx, c, Code{NewSecret("code-0123456789"), "https://vault.example/callback", NewSecret("verifier-0123456789")})
	}
	logIn := func(ctx context.Context, e *Exchanger, c Client) Result {
		return e.LogIn(ctx, c, Credentials{"alice@example.com", NewSecret("pass word 0123456789")})
	}
	revoke := func(ctx context.Context, e *Exchanger, c Client) Result {
		return e.Revoke(ctx, c, NewSecret("revoked-0123456789"))
	}
	for _, c := range []struct {
		name  string
		run   func(context.Context, *Exchanger, Client) Result
		text  string
		shown bool
	}{
		{"refresh token", refresh, "bad token refresh-0123456789", false},
		{"piece of it", refresh, "bad token fresh-01", false},
		{"less than a piece", refresh, "bad token fresh-0", true},
		{"with blanks in it", refresh, "bad token r e f r e s h - 0 1", false},
		{"with something invisible in it", refresh, `bad token refr\u200besh-01`, false},
		{"behind the limit", refresh, strings.Repeat("x", 300) + "refresh-0123456789", false},
		{"client secret", refresh, "bad secret " + secret, false},
		{"client secret as it is sent", refresh, "bad secret cl+ient%2F", false},
		{"client secret with a blank", refresh, "bad secret cl ient/", false},
		{"Authorization header", refresh, "bad header Basic " + basic[10:20], false},
		{"access token of the answer", refresh, "access-0123456789", false},
		{"refresh token of the answer", refresh, "another-0123456789", false},
		{"id token of the answer", refresh, "id-0123456789", false},
		{"code", redeem, "code-0123456789", false},
		{"verifier", redeem, "verifier-0123456789", false},
		{"redirect_uri", redeem, "https://vault.example/callback", true},
		{"password", logIn, "pass word 01", false},
		{"user name", logIn, "alice@example.com", true},
		{"revoked token", revoke, "revoked-", false},
		{"nothing of the kind", refresh, "unknown, invalid, or expired refresh token", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := fmt.Sprintf(`{"error":"invalid_grant","error_description":"%s","access_token":["access-0123456789"],"refresh_token":{"a":"another-0123456789"},`+
				`"id_token":"id-0123456789"}`, c.text)
			header := "X-Request-Id: " + strings.ReplaceAll(c.text, `\u200b`, "\u200b")
			server := newRawServer(t, nil, answering(httpAnswer(400, body, header)))
			client := Client{ID: "id", Secret: NewSecret(secret), TokenURL: server.url, RevokeURL: server.url}
			result := c.run(t.Context(), &Exchanger{}, client)
			if result.Outcome != Rejected || (result.ErrorDescription != "") != c.shown || (result.RequestID != "") != c.shown {
				t.Errorf("%v, %q, %q, want it shown: %t", result.Outcome, result.ErrorDescription, result.RequestID, c.shown)
			}
		})
	}
}

func TestClockSkewIsWhatNothingElseExplains(t *testing.T) {
	sent := time.Date(2026, 1, 1, 12, 0, 0, 500_000_000, time.UTC)
	for _, c := range []struct {
		name       string
		date       time.Time
		after      time.Duration // the answer comes
		want, most time.Duration
	}{
		{name: "no Date"},
		{name: "the same second", date: sent.Truncate(time.Second), after: 100 * time.Millisecond},
		{name: "a second that has just begun", date: sent.Add(500 * time.Millisecond), after: 600 * time.Millisecond},
		{name: "a slow answer", date: sent.Add(9500 * time.Millisecond), after: 10 * time.Second},
		{name: "behind by less than a second", date: sent.Add(-time.Second), after: 0},
		{name: "ahead", date: sent.Add(time.Hour), after: time.Second, want: time.Hour - time.Second},
		{name: "behind", date: sent.Add(-time.Hour), after: time.Second, want: -time.Hour + time.Second},
	} {
		result := Result{SentAt: sent, AnsweredAt: sent.Add(c.after), Date: c.date}
		if got := result.ClockSkew(); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRealExchangeHasNoClockSkew(t *testing.T) {
	server := newRawServer(t, nil, func(p *peer) {
		p.request()
		_, _ = p.Write([]byte(httpAnswer(200, normalAnswer, "Date: "+time.Now().UTC().Format(http.TimeFormat))))
	})
	if result := exchange(t, testClient(server.url)); result.Date.IsZero() || result.ClockSkew() != 0 {
		t.Errorf("skew %v, date %v", result.ClockSkew(), result.Date)
	}
}

// FuzzShowable holds what may be shown of any text against any secret.
func FuzzShowable(f *testing.F) {
	f.Add("bad token refresh-0123456789", "refresh-0123456789")
	f.Add("a short one", "short")
	f.Add("abc\x00defg", "abc?defg")
	f.Add("ab cd ef gh", "abcdefgh")
	f.Fuzz(func(t *testing.T, text, secret string) {
		shown := showable(text, maxDescription, []string{"", secret})
		if len(shown) > maxDescription || !isPrintable(shown) {
			t.Fatalf("%q", shown)
		}
		if secret == "" {
			return
		}
		piece := min(len(secret), guarded)
		for end := piece; end <= len(secret); end++ {
			if strings.Contains(shown, secret[end-piece:end]) {
				t.Fatalf("%q shows %q of %q", shown, secret[end-piece:end], secret)
			}
			if strings.Contains(text, secret[end-piece:end]) && shown != "" {
				t.Fatalf("%q is shown, although the text %q holds %q", shown, text, secret[end-piece:end])
			}
		}
	})
}
