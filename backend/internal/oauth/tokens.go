package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultExpiresIn is the lifetime of an access token that does not tell its
	// own (RFC 6749, section 5.1, leaves it to the server's documentation then).
	// It is what Pagero documents.
	DefaultExpiresIn = 600 * time.Second
	// MaxExpiresIn bounds the lifetime that an answer may claim. Refreshing a
	// long-lived token more often than needed does no harm.
	MaxExpiresIn = 24 * time.Hour

	// Longer members are left out, so that what is stored stays far below the
	// size of an entry that Vault takes.
	maxAccessTokenBytes = 64 << 10
	maxExtraBytes       = 8 << 10 // of scope, and of claims
	maxTokenTypeBytes   = 256

	bearer = "Bearer"
)

// Tokens is what a token endpoint granted (RFC 6749, section 5.1).
type Tokens struct {
	// RefreshToken is the next refresh token. If it is unset, the server issued
	// none, and the one presented stays in force (section 6).
	RefreshToken Secret
	// AccessToken is unset if the answer held none that can be used.
	AccessToken Secret
	// TokenType is the access token's type: "Bearer" for bearer in any case and
	// for a missing type, otherwise as sent; at most 256 printable ASCII
	// characters. It is "" if AccessToken is unset.
	TokenType string
	// ExpiresIn is the access token's lifetime, counted from [Result.SentAt]; at
	// least 1 s, at most [MaxExpiresIn]. It is the server's expires_in, but if the
	// token is a JWT, no more than its own exp - iat. It is [DefaultExpiresIn] if
	// neither is usable.
	//
	// A value over 24 h counts as seconds, and is cut to 24 h, only if it is a
	// whole number of days up to 100. Any other may be milliseconds or a point in
	// time. It is not usable, and DefaultExpiresIn is then cut to what the value
	// means in milliseconds, so that a token never looks alive when it is dead.
	ExpiresIn time.Duration
	// Scope is as issued, often "".
	Scope string
	// Claims is Pagero's extra member. HasClaims reports whether it was there.
	Claims    string
	HasClaims bool
}

// grants reports whether the answer holds a new refresh token or, in a complete
// answer, a usable access token.
func (a *answer) grants() bool {
	return a.refreshToken != "" || (a.complete && a.accessTokenUsable())
}

// tokens returns what the answer grants.
func (a *answer) tokens() Tokens {
	t := Tokens{
		RefreshToken: NewSecret(a.refreshToken),
		ExpiresIn:    a.lifetime(),
		Scope:        a.scope,
		Claims:       a.claims,
		HasClaims:    a.hasClaims,
	}
	if len(t.Scope) > maxExtraBytes {
		t.Scope = ""
	}
	if len(t.Claims) > maxExtraBytes {
		t.Claims, t.HasClaims = "", false
	}
	if a.accessTokenUsable() {
		t.AccessToken, t.TokenType = NewSecret(a.accessToken), a.tokenType
		if t.TokenType == "" || strings.EqualFold(t.TokenType, bearer) {
			t.TokenType = bearer
		}
	}
	return t
}

// accessTokenUsable reports whether the access token has the characters of RFC
// 6749, appendix A.12, without which it cannot travel in a header, and a type that
// can be told to readers. A missing or empty type stands for Bearer.
func (a *answer) accessTokenUsable() bool {
	if a.accessToken == "" || len(a.accessToken) > maxAccessTokenBytes || len(a.tokenType) > maxTokenTypeBytes {
		return false
	}
	if a.tokenType == "" && a.oddTokenType {
		return false
	}
	return isPrintable(a.accessToken) && isPrintable(a.tokenType)
}

// isPrintable reports whether a text consists of printable ASCII characters,
// blanks included.
func isPrintable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// lifetime applies the rule at [Tokens.ExpiresIn].
func (a *answer) lifetime() time.Duration {
	said, usable := duration(a.expiresIn)
	own, isJWT := duration(jwtLifetime(a.accessToken))
	switch {
	case usable && isJWT:
		return min(said, own)
	case usable:
		return said
	case isJWT:
		return own
	}
	if milliseconds := a.expiresIn / 1000; milliseconds > 0 && milliseconds < DefaultExpiresIn.Seconds() {
		return wholeSeconds(milliseconds)
	}
	return DefaultExpiresIn
}

// duration returns a number of seconds as a lifetime, if it is a plausible one.
// 0 stands for a missing number.
func duration(seconds float64) (d time.Duration, plausible bool) {
	const day, maxDays = 24 * 60 * 60, 100
	switch {
	case math.IsNaN(seconds) || seconds <= 0:
		return 0, false
	case seconds <= day:
		return wholeSeconds(seconds), true
	default:
		return MaxExpiresIn, seconds <= maxDays*day && math.Mod(seconds, day) == 0
	}
}

// wholeSeconds cuts off a fraction, but returns at least a second.
func wholeSeconds(seconds float64) time.Duration {
	return max(time.Duration(seconds)*time.Second, time.Second)
}

// jwtLifetime returns exp - iat of a JWT (RFC 7519, section 4.1) in seconds. The
// signature is not verified. It returns 0 if the token is not a JWT or does not
// have both.
func jwtLifetime(token string) float64 {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxAccessTokenBytes {
		return 0
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return 0
	}
	var claims map[string]json.RawMessage
	if json.Unmarshal(payload, &claims) != nil {
		return 0
	}
	expires, issued := parseNumber(claims["exp"]), parseNumber(claims["iat"])
	if expires == 0 || issued == 0 {
		return 0
	}
	return expires - issued
}

// parseNumber reads a JSON number, whole or not, or a JSON string that holds one.
// It returns 0 for anything else, and an infinity for a number that is out of range.
func parseNumber(value json.RawMessage) float64 {
	text := strings.TrimSpace(strings.Trim(string(value), `"`))
	number, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(number) {
		return 0
	}
	return number
}
