package oauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// granted is what a test expects of Tokens, in clear text.
type granted struct {
	refresh, access string
	expiresIn       time.Duration
	scope, claims   string
	hasClaims       bool
}

func grantedBy(t Tokens) granted {
	return granted{t.RefreshToken.Reveal(), t.AccessToken.Reveal(), t.ExpiresIn, t.Scope, t.Claims, t.HasClaims}
}

var normal = granted{refresh: next, access: access, expiresIn: 600 * time.Second, claims: "openid", hasClaims: true}

func TestNormalAnswerSucceeds(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"5\r\n" + normalAnswer[:5] + "\r\nFFF\r\n" + normalAnswer[5:] + strings.Repeat(" ", 0xfff-len(normalAnswer)+5) + "\r\n0\r\n\r\n"
	for name, answer := range map[string]string{
		"with a length":         httpAnswer(200, normalAnswer, "Content-Type: application/json;charset=UTF-8"),
		"in chunks":             chunked,
		"up to the end":         "HTTP/1.1 200 OK\r\n\r\n" + normalAnswer,
		"of HTTP/1.0":           "HTTP/1.0 200 OK\r\n\r\n" + normalAnswer,
		"with 201":              httpAnswer(201, normalAnswer),
		"of a wrong type":       httpAnswer(200, normalAnswer, "Content-Type: text/html"),
		"behind a 100":          "HTTP/1.1 100 Continue\r\n\r\n" + httpAnswer(200, normalAnswer),
		"with a mark":           httpAnswer(200, "\xef\xbb\xbf"+normalAnswer),
		"with bytes behind":     httpAnswer(200, normalAnswer+"\n\n<!-- 0.03 s -->"),
		"whole, connection cut": cutAnswer(200, normalAnswer),
		"with cookies":          httpAnswer(200, normalAnswer, "Set-Cookie: a=b"),
		"with a long header":    httpAnswer(200, normalAnswer, "X-Long: "+strings.Repeat("x", maxHeaderBytes-1<<10)),
		"with many cookies":     httpAnswer(200, normalAnswer, strings.Repeat("Set-Cookie: a="+strings.Repeat("x", 4000)+"\r\n", 20)+"X-A: b"),
		"with a Retry-After":    httpAnswer(200, normalAnswer, "Retry-After: 5"),
		"with an error as well": httpAnswer(200, `{"error":"invalid_grant",`+normalAnswer[1:]),
		"with members unheard of": httpAnswer(200, `{"id_token":"x","a":{"refresh_token":"wrong"},"b":[{}],`+
			normalAnswer[1:]),
	} {
		for _, scheme := range schemes(t) {
			t.Run(name+" over "+scheme.name, func(t *testing.T) {
				server := newRawServer(t, scheme.config, answering(answer))
				client := testClient(server.url)
				client.CACert = scheme.caCert
				result := exchange(t, client)
				hasSucceeded(t, result, normal)
				if result.Code != "" || result.RetryAfter != 0 {
					t.Errorf("code %q, retry after %v", result.Code, result.RetryAfter)
				}
			})
		}
	}
}

// The refresh token that was presented is spent by now, so losing its successor
// loses the grant.
func TestWholeRefreshTokenIsKept(t *testing.T) {
	const member = `{"refresh_token":"` + next + `"`
	only := granted{refresh: next, expiresIn: DefaultExpiresIn}
	both := granted{refresh: next, access: "a", expiresIn: DefaultExpiresIn}
	for _, c := range []struct {
		name   string
		answer string
		want   granted
	}{
		{"cut behind its quote", cutAnswer(200, member), only},
		{"cut behind its comma", cutAnswer(200, member+","), only},
		{"cut in the next name", cutAnswer(200, member+`,"access_to`), only},
		{"cut behind the next name", cutAnswer(200, member+`,"access_token":`), only},
		{"cut in the access token", cutAnswer(200, member+`,"access_token":"eyJ`), only},
		{"cut behind the access token", cutAnswer(200, member+`,"access_token":"a"`), both},
		{"cut behind an access token before it", cutAnswer(200, `{"access_token":"a",`+member[1:]), both},
		{"cut in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFF\r\n" + member, only},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + member + "canary", only},
		{"garbage", httpAnswer(200, member+"\x00\xff<canary"), only},
		{"garbage that looks like a member", httpAnswer(200, member+`"access_token":"a"}`), only},
		{"unquoted value", httpAnswer(200, member+`,"expires_in":canary,"access_token":"a"}`), only},
		{"raw control character", httpAnswer(200, member+",\"scope\":\"a\nb\",\"access_token\":\"a\"}"), only},
		{"over 1 MiB", httpAnswer(200, member+`,"pad":"`+strings.Repeat("x", 2*maxAnswerBytes)+`"}`), only},
		{"over 1 MiB of white space", httpAnswer(200, member+strings.Repeat(" ", 2*maxAnswerBytes)+"}"), only},
		{"access token missing", httpAnswer(200, member+"}"), only},
		{"access token of a wrong type", httpAnswer(200, member+`,"access_token":17}`), only},
		{"access token null", httpAnswer(200, member+`,"access_token":null}`), only},
		{"access token that fits no header", httpAnswer(200, member+`,"access_token":"a\nb"}`), only},
		{"token type unheard of", httpAnswer(200, member+`,"access_token":"a","token_type":"mac"}`), both},
		{"token type that is not a string", httpAnswer(200, member+`,"access_token":"a","token_type":7}`), only},
		{"everything wrong before it", httpAnswer(200, `{"access_token":[],"expires_in":{},"scope":1,"token_type":2,`+member[1:]+`}`), only},
		{"everything wrong behind it", httpAnswer(200, member+`,"access_token":[],"expires_in":{},"scope":1,"token_type":2}`), only},
		{"an error beside it", httpAnswer(200, `{"error":"server_error",`+member[1:]+`}`), only},
	} {
		t.Run(c.name, func(t *testing.T) {
			hasSucceeded(t, exchange(t, testClient(newRawServer(t, nil, answering(c.answer)).url)), c.want)
		})
	}
}

func TestRefreshTokenSurvivesAnEndlessBody(t *testing.T) {
	server := newRawServer(t, nil, func(p *peer) {
		p.request()
		_, err := io.WriteString(p, "HTTP/1.1 200 OK\r\n\r\n"+`{"refresh_token":"`+next+`","pad":"`)
		pad := strings.Repeat("x", 1<<16)
		for err == nil {
			_, err = io.WriteString(p, pad)
		}
	})
	hasSucceeded(t, exchange(t, testClient(server.url)), granted{refresh: next, expiresIn: DefaultExpiresIn})
}

// hanging is a body that stalls behind its text until the exchange's deadline.
type hanging struct {
	io.Reader
	ctx context.Context // of the exchange whose answer this is
}

func (h hanging) Read(p []byte) (int, error) {
	if n, err := h.Reader.Read(p); !errors.Is(err, io.EOF) {
		return n, err
	}
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

func (hanging) Close() error { return nil }

func TestRefreshTokenSurvivesAStallingBody(t *testing.T) {
	only := granted{refresh: next, expiresIn: DefaultExpiresIn}
	for _, c := range []struct {
		name string
		body string
		want granted
	}{
		{"behind its quote", `{"refresh_token":"` + next + `"`, only},
		{"in the next member", `{"refresh_token":"` + next + `","access_token":"eyJ`, only},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				result := resultOf(&http.Response{StatusCode: http.StatusOK, Body: hanging{strings.NewReader(c.body), ctx}})
				hasSucceeded(t, result, c.want)
			})
		})
	}
	t.Run("on a connection", func(t *testing.T) {
		server := newRawServer(t, nil, func(p *peer) {
			answering(cutAnswer(200, `{"refresh_token":"`+next+`"`))(p)
			p.untilClosed()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hasSucceeded(t, exchangeWith(ctx, t, testClient(server.url)), only)
	})
}

func TestNothingIsWaitedForBehindACompleteAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		start := time.Now()
		result := resultOf(&http.Response{StatusCode: http.StatusOK, Body: hanging{strings.NewReader(normalAnswer), ctx}})
		hasSucceeded(t, result, normal)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited for %v", waited)
		}
	})
}

func TestAnswerWithoutRefreshTokenKeepsThePresentedOne(t *testing.T) {
	answer := httpAnswer(200, `{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"all"}`)
	result := exchange(t, testClient(newRawServer(t, nil, answering(answer)).url))
	hasSucceeded(t, result, granted{access: "a", expiresIn: time.Minute, scope: "all"})
	if result.Tokens.RefreshToken.IsSet() {
		t.Error("a refresh token came from nowhere")
	}
}

// The lifetime of an access token is counted from before the request was sent,
// because the answer may be slow.
func TestSentAtIsBeforeTheServerSawTheRequest(t *testing.T) {
	var answeredAt time.Time
	server := newRawServer(t, nil, func(p *peer) {
		p.request()
		answeredAt = time.Now()
		_, _ = io.WriteString(p, httpAnswer(200, normalAnswer))
	})
	result := exchange(t, testClient(server.url))
	server.sees(t, 1, 1)
	if result.SentAt.After(server.requestedAt.Round(0)) {
		t.Errorf("SentAt %v is after the request arrived, %v", result.SentAt, server.requestedAt)
	}
	if result.AnsweredAt.Before(answeredAt.Round(0)) {
		t.Errorf("AnsweredAt %v is before the answer was sent, %v", result.AnsweredAt, answeredAt)
	}
	if result.SentAt.Location() != time.UTC || result.SentAt != result.SentAt.Round(0) {
		t.Errorf("SentAt %v is not a wall-clock time in UTC", result.SentAt)
	}
}

func hasSucceeded(t *testing.T, result Result, want granted) {
	t.Helper()
	if result.Outcome != Succeeded {
		t.Fatalf("%v: %s", result.Outcome, result.Reason)
	}
	if result.Status/100 != 2 {
		t.Errorf("status %d", result.Status)
	}
	if got := grantedBy(result.Tokens); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
