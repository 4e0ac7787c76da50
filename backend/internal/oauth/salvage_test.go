package oauth

import (
	"strings"
	"testing"
)

// A new refresh token is kept, whatever stands in front of it.
func TestRefreshTokenBehindMalformedJSONIsKept(t *testing.T) {
	for name, body := range map[string]string{
		"something that is not a number": `{"access_token":"at","expires_in":NaN,"refresh_token":"next"}`,
		"a raw newline":                  "{\"scope\":\"a\nb\",\"refresh_token\" : \"next\"}",
		"a missing comma":                `{"access_token":"at" "refresh_token":"next"}`,
		"a cut behind it":                `{"expires_in":NaN,"refresh_token":"next","acc`,
		"an escape":                      `{"expires_in":NaN,"refresh_token":"ne\u0078t"}`,
		"text in front":                  `)]}'` + "\n" + `{"refresh_token":"next"}`,
	} {
		a := readAnswer(strings.NewReader(body))
		if tokens := a.tokens(); !a.grants() || tokens.RefreshToken.Reveal() != "next" {
			t.Errorf("%s: the refresh token is lost", name)
		}
	}
	for name, body := range map[string]string{
		"in a string":     `{"scope":"\"refresh_token\":\"no\"","expires_in":NaN}`,
		"cut within":      `{"expires_in":NaN,"refresh_token":"ne`,
		"nested, no flaw": `{"claims":{"refresh_token":"no"}}`,
	} {
		if a := readAnswer(strings.NewReader(body)); a.refreshToken != "" {
			t.Errorf("%s: took %q for a refresh token", name, a.refreshToken)
		}
	}
}

// An entry that Vault's storage refuses for its size would never be saved.
func TestHugeMembersAreLeftOut(t *testing.T) {
	huge := strings.Repeat("x", maxAccessTokenBytes+1)
	a := readAnswer(strings.NewReader(`{"access_token":"` + huge + `","scope":"` + huge + `","claims":"` + huge + `","refresh_token":"next"}`))
	tokens := a.tokens()
	if !a.grants() || tokens.RefreshToken.Reveal() != "next" || tokens.AccessToken.IsSet() || tokens.Scope != "" || tokens.HasClaims {
		t.Errorf("got %d bytes of scope, claims %v, access token %v", len(tokens.Scope), tokens.HasClaims, tokens.AccessToken.IsSet())
	}
}
