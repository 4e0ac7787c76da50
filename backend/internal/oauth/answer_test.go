package oauth

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestAnswerIsReadTolerantly(t *testing.T) {
	plain := granted{refresh: "r", access: "a", expiresIn: DefaultExpiresIn}
	with := func(change func(*granted)) granted {
		changed := plain
		change(&changed)
		return changed
	}
	for _, c := range []struct {
		name string
		json string
		want granted
	}{
		{"plain", `{"access_token":"a","refresh_token":"r"}`, plain},
		{"other order", `{"refresh_token":"r","access_token":"a"}`, plain},
		{"byte-order mark", "\xef\xbb\xbf" + `{"access_token":"a","refresh_token":"r"}`, plain},
		{"white space", " \t\r\n{ \"access_token\" :\n\"a\" , \"refresh_token\"\t: \"r\" }\n", plain},
		{"bytes behind", `{"access_token":"a","refresh_token":"r"}{"refresh_token":"wrong"}`, plain},
		{"NUL bytes behind", `{"access_token":"a","refresh_token":"r"}` + "\x00\x00", plain},
		{"escaped names", `{"access\u005ftoken":"a","\u0072efresh_token":"r"}`, plain},
		{"escaped values", `{"access_token":"\u0061","refresh_token":"\u0072"}`, plain},
		{"escaped slash", `{"access_token":"a\/b","refresh_token":"r"}`, with(func(g *granted) { g.access = "a/b" })},
		{
			"extra members, nested deep",
			`{"x":` + strings.Repeat(`[{"refresh_token":`, 1000) + `"wrong"` + strings.Repeat(`}]`, 1000) +
				`,"":0,"access_token":"a","refresh_token":"r"}`, plain,
		},
		{"names of another case", `{"Refresh_Token":"wrong","access_token":"a","refresh_token":"r","ACCESS_TOKEN":"wrong"}`, plain},
		{"duplicate: the last counts", `{"refresh_token":"old","access_token":"a","refresh_token":"r"}`, plain},
		{"duplicate null does not count", `{"refresh_token":"r","access_token":"a","refresh_token":null}`, plain},
		{"duplicate of a wrong type does not count", `{"refresh_token":"r","access_token":"a","refresh_token":{}}`, plain},
		{"empty duplicate does not count", `{"refresh_token":"r","access_token":"a","refresh_token":""}`, plain},
		{
			"duplicate expires_in that makes no sense does not count",
			`{"expires_in":60,"expires_in":null,"expires_in":"x","access_token":"a","refresh_token":"r"}`,
			with(func(g *granted) { g.expiresIn = time.Minute }),
		},
		{"scope", `{"access_token":"a","refresh_token":"r","scope":"all openid"}`, with(func(g *granted) { g.scope = "all openid" })},
		{"empty scope", `{"access_token":"a","refresh_token":"r","scope":""}`, plain},
		{"scope null", `{"access_token":"a","refresh_token":"r","scope":null}`, plain},
		{"scope as an array", `{"access_token":"a","refresh_token":"r","scope":["all"]}`, plain},
		{"scope as a number", `{"access_token":"a","refresh_token":"r","scope":1}`, plain},
		{
			"claims", `{"access_token":"a","refresh_token":"r","claims":"openid \"x\""}`,
			with(func(g *granted) { g.claims, g.hasClaims = `openid "x"`, true }),
		},
		{
			"empty claims", `{"access_token":"a","refresh_token":"r","claims":""}`,
			with(func(g *granted) { g.hasClaims = true }),
		},
		{
			"claims as an object", `{"access_token":"a","refresh_token":"r","claims": {"sub": "x"} }`,
			with(func(g *granted) { g.claims, g.hasClaims = `{"sub": "x"}`, true }),
		},
		{"claims null", `{"access_token":"a","refresh_token":"r","claims":null}`, plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			// One byte at a time as well: no answer may depend on how the network cuts it.
			for _, body := range []io.Reader{strings.NewReader(c.json), iotest.OneByteReader(strings.NewReader(c.json))} {
				a := readAnswer(body)
				if got := grantOf(a); got != c.want || !a.complete {
					t.Errorf("got %+v, complete %t, want %+v", got, a.complete, c.want)
				}
			}
		})
	}
}

func TestAccessTokenOfACutAnswerAloneGrantsNothing(t *testing.T) {
	a := readAnswer(strings.NewReader(`{"access_token":"a","token_type":"Bearer"`))
	if a.grants() {
		t.Error("the refresh token may have been behind the cut: the outcome is in doubt")
	}
}

func TestAnswerThatIsNoObjectHoldsNothing(t *testing.T) {
	for name, text := range map[string]string{
		"empty":           "",
		"mark alone":      "\xef\xbb\xbf",
		"cut mark":        "\xef\xbb",
		"two marks":       "\xef\xbb\xbf\xef\xbb\xbf{}",
		"UTF-16 cut":      "\xff\xfe{\x00\x20",
		"gzip":            "\x1f\x8b\x08\x00",
		"form":            "access_token=a&refresh_token=r",
		"array":           `[{"access_token":"a"}]`,
		"string":          `"refresh_token"`,
		"no colon":        `{"refresh_token" "r"}`,
		"single quotes":   `{'refresh_token':'r'}`,
		"nested too deep": `{"a":` + strings.Repeat("[", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			a := readAnswer(strings.NewReader(text))
			a.open, a.cut = false, false // of an opened brace
			if want := (answer{}); !reflect.DeepEqual(a, want) {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestRefreshTokenSurvivesAnyReadError(t *testing.T) {
	const body = `{"access_token":"a","refresh_token":"r"`
	for name, err := range map[string]error{
		"end":      io.EOF,
		"cut":      io.ErrUnexpectedEOF,
		"time-out": iotest.ErrTimeout,
		"other":    errors.New("connection reset by peer"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, reader := range []io.Reader{
				io.MultiReader(strings.NewReader(body), iotest.ErrReader(err)),
				iotest.DataErrReader(io.MultiReader(strings.NewReader(body), iotest.ErrReader(err))),
			} {
				a := readAnswer(reader)
				want := granted{refresh: "r", access: "a", expiresIn: DefaultExpiresIn}
				if got := grantOf(a); got != want || a.complete {
					t.Errorf("got %+v, complete %t, want %+v", got, a.complete, want)
				}
			}
		})
	}
}

// counter counts the bytes that are read through it.
type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestNoMoreThan1MiBIsRead(t *testing.T) {
	pad := strings.Repeat("x", 3*maxAnswerBytes)
	for name, text := range map[string]string{
		"one long string":   `{"refresh_token":"r","pad":"` + pad,
		"white space":       `{"refresh_token":"r"` + strings.Repeat(" ", 3*maxAnswerBytes),
		"many members":      `{"refresh_token":"r"` + strings.Repeat(`,"a":0`, maxAnswerBytes),
		"white space first": strings.Repeat(" ", 3*maxAnswerBytes),
	} {
		t.Run(name, func(t *testing.T) {
			body := &counter{Reader: strings.NewReader(text)}
			a := readAnswer(body)
			if body.n > 1<<20 {
				t.Errorf("%d bytes were read", body.n)
			}
			if strings.HasPrefix(text, "{") && a.refreshToken != "r" {
				t.Error("the refresh token was lost")
			}
		})
	}
}

func grantOf(a answer) granted {
	return grantedBy(a.tokens())
}
