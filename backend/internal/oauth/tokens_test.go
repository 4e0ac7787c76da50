package oauth

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// jwt is a token with this payload.
func jwt(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(payload)) + "." + encode([]byte("signature"))
}

func TestLifetimeIsExpiresIn(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name string
		json string
		want time.Duration
	}{
		{"number", `600`, 600 * time.Second},
		{"another number", `3599`, 3599 * time.Second},
		{"one", `1`, time.Second},
		{"string", `"300"`, 300 * time.Second},
		{"string with white space", `" 300 "`, 300 * time.Second},
		{"string with a fraction", `"300.9"`, 300 * time.Second},
		{"float", `300.0`, 300 * time.Second},
		{"fraction is cut off", `300.999`, 300 * time.Second},
		{"under a second", `0.5`, time.Second},
		{"exponent", `3e2`, 300 * time.Second},
		{"exponent with a sign", `3.5E+2`, 350 * time.Second},
		{"negative exponent", `3000e-1`, 300 * time.Second},
		{"null", `null`, DefaultExpiresIn},
		{"zero", `0`, DefaultExpiresIn},
		{"negative zero", `-0.0`, DefaultExpiresIn},
		{"negative", `-600`, DefaultExpiresIn},
		{"under float64", `-1e400`, DefaultExpiresIn},
		{"too small for float64", `1e-400`, DefaultExpiresIn},
		{"word", `"abc"`, DefaultExpiresIn},
		{"not a number", `"NaN"`, DefaultExpiresIn},
		{"infinity", `"Infinity"`, DefaultExpiresIn},
		{"number with a unit", `"600s"`, DefaultExpiresIn},
		{"empty string", `""`, DefaultExpiresIn},
		{"one quote", `"\""`, DefaultExpiresIn},
		{"bool", `true`, DefaultExpiresIn},
		{"object", `{"seconds":60}`, DefaultExpiresIn},
		{"array", `[60]`, DefaultExpiresIn},

		{"a day", `86400`, day},
		{"two days", `172800`, day},
		{"thirty days", `2592000`, day},
		{"a hundred days", `8640000`, day},
		{"a hundred and one days: more than anybody means", `8726400`, DefaultExpiresIn},
		{"ten minutes in milliseconds", `600000`, DefaultExpiresIn},
		{"an hour in milliseconds", `3600000`, DefaultExpiresIn},
		{"three hours in milliseconds, a whole number of days", `10800000`, DefaultExpiresIn},
		{"a day in milliseconds", `86400000`, DefaultExpiresIn},
		{"five minutes in milliseconds", `300000`, 5 * time.Minute},
		{"two minutes in milliseconds", `"120000"`, 2 * time.Minute},
		{"a Unix time", `1767225600`, DefaultExpiresIn},
		{"a Unix time at midnight", `1767139200`, DefaultExpiresIn},
		{"a Unix time in milliseconds", `1767225600000`, DefaultExpiresIn},
		{"huge", `1e18`, DefaultExpiresIn},
		{"over int64 in seconds", `9223372036854775808`, DefaultExpiresIn},
		{"over float64", `1e400`, DefaultExpiresIn},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := readAnswer(strings.NewReader(`{"access_token":"a","expires_in": ` + c.json + ` ,"refresh_token":"r"}`))
			want := granted{refresh: "r", access: "a", expiresIn: c.want}
			if got := grantOf(a); got != want || !a.complete {
				t.Errorf("got %+v, complete %t, want %+v", got, a.complete, want)
			}
		})
	}
}

func TestLifetimeIsNoMoreThanTheTokensOwn(t *testing.T) {
	for _, c := range []struct {
		name      string
		token     string
		expiresIn string
		want      time.Duration
	}{
		{"shorter", jwt(`{"iat":1700000000,"exp":1700000060}`), `86400`, time.Minute},
		{"longer", jwt(`{"iat":1700000000,"exp":1700003600}`), `600`, 10 * time.Minute},
		{"floats", jwt(`{"iat":1700000000.25,"exp":1.7000000605e9}`), `600`, time.Minute},
		{"strings", jwt(`{"iat":"1700000000","exp":"1700000060"}`), `600`, time.Minute},
		{"padded", strings.Replace(jwt(`{"iat":1700000000,"exp":1700000060} `), ".c", "==.c", 1), `600`, time.Minute},
		{"without expires_in", jwt(`{"iat":1700000000,"exp":1700001800}`), `null`, 30 * time.Minute},
		{"beside a Unix time", jwt(`{"iat":1700000000,"exp":1700001800}`), `1700001800`, 30 * time.Minute},
		{"beside milliseconds", jwt(`{"iat":1700000000,"exp":1700001800}`), `300000`, 30 * time.Minute},
		{"over a day, without expires_in", jwt(`{"iat":1700000000,"exp":1700172800}`), `null`, 24 * time.Hour},
		{"times in milliseconds", jwt(`{"iat":1700000000000,"exp":1700000600000}`), `null`, DefaultExpiresIn},
		{"times in milliseconds beside expires_in", jwt(`{"iat":1700000000000,"exp":1700000600000}`), `3600`, time.Hour},

		{"no iat", jwt(`{"exp":1700000060}`), `3600`, time.Hour},
		{"no exp", jwt(`{"iat":1700000000}`), `3600`, time.Hour},
		{"exp before iat", jwt(`{"iat":1700000060,"exp":1700000000}`), `3600`, time.Hour},
		{"exp that is iat", jwt(`{"iat":1700000000,"exp":1700000000}`), `3600`, time.Hour},
		{"words", jwt(`{"iat":"now","exp":"then"}`), `3600`, time.Hour},
		{"infinities", jwt(`{"iat":1e999,"exp":1e999}`), `3600`, time.Hour},
		{"not an object", jwt(`[1]`), `3600`, time.Hour},
		{"not JSON", jwt(`x`), `3600`, time.Hour},
		{"not base64", "a.{}.c", `3600`, time.Hour},
		{"two parts", "a." + strings.Split(jwt(`{"iat":1700000000,"exp":1700000060}`), ".")[1], `3600`, time.Hour},
		{"five parts, which are encrypted", jwt(`{"iat":1700000000,"exp":1700000060}`) + ".d.e", `3600`, time.Hour},
		{"neither", "opaque", `null`, DefaultExpiresIn},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := readAnswer(strings.NewReader(`{"access_token":"` + c.token + `","expires_in":` + c.expiresIn + `}`))
			if got := a.tokens().ExpiresIn; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAccessTokenIsHandedOutWithItsType(t *testing.T) {
	long := strings.Repeat("x", maxTokenTypeBytes)
	for _, c := range []struct {
		name      string
		members   string
		tokenType string // "" if the access token cannot be used
	}{
		{"Bearer", `"access_token":"a","token_type":"Bearer"`, "Bearer"},
		{"bearer", `"access_token":"a","token_type":"bearer"`, "Bearer"},
		{"BEARER", `"token_type":"BEARER","access_token":"a"`, "Bearer"},
		{"type missing", `"access_token":"a"`, "Bearer"},
		{"type null", `"access_token":"a","token_type":null`, "Bearer"},
		{"type empty", `"access_token":"a","token_type":""`, "Bearer"},
		{"type mac", `"access_token":"a","token_type":"mac"`, "mac"},
		{"type DPoP", `"access_token":"a","token_type":"DPoP"`, "DPoP"},
		{"type jwt-bearer", `"access_token":"a","token_type":"jwt-bearer"`, "jwt-bearer"},
		{"type that is a URI", `"access_token":"a","token_type":"urn:ietf:params:oauth:token-type:jwt"`, "urn:ietf:params:oauth:token-type:jwt"},
		{"long type", `"access_token":"a","token_type":"` + long + `"`, long},
		{"duplicate type that is not a string", `"access_token":"a","token_type":"mac","token_type":1`, "mac"},
		{"type that is too long", `"access_token":"a","token_type":"` + long + `x"`, ""},
		{"type with a line break", `"access_token":"a","token_type":"a\nb"`, ""},
		{"type that is not ASCII", `"access_token":"a","token_type":"ü"`, ""},
		{"type that is not a string", `"access_token":"a","token_type":["Bearer"]`, ""},
		{"token missing", `"token_type":"Bearer"`, ""},
		{"token empty", `"access_token":""`, ""},
		{"token null", `"access_token":null`, ""},
		{"token that is a number", `"access_token":17`, ""},
		{"token that is an object", `"access_token":{"value":"a"}`, ""},
		{"all printable ASCII", `"access_token":" !#$%&'()*+,-./09:;<=>?@AZ[]^_az{|}~"`, "Bearer"},
		{"line break", `"access_token":"a\r\nX-Injected: b"`, ""},
		{"tab", `"access_token":"a\tb"`, ""},
		{"NUL", `"access_token":"a\u0000"`, ""},
		{"DEL", `"access_token":"a\u007f"`, ""},
		{"not ASCII", `"access_token":"ü"`, ""},
		{"not UTF-8", "\"access_token\":\"\xff\"", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := resultOfBody([]byte("{" + c.members + "}"))
			usable := c.tokenType != ""
			if (result.Outcome == Succeeded) != usable || result.Tokens.AccessToken.IsSet() != usable || result.Tokens.TokenType != c.tokenType {
				t.Errorf("%v, access token set %t, type %q, want %q", result.Outcome, result.Tokens.AccessToken.IsSet(), result.Tokens.TokenType, c.tokenType)
			}
		})
	}
}
