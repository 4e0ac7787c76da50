package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
)

// AuthorizationRequest holds the parameters with which a browser is sent to the
// authorization endpoint (RFC 6749, section 4.1.1). It always uses PKCE (RFC 7636)
// in its S256 form.
type AuthorizationRequest struct {
	ClientID     string
	RedirectURI  string
	Scope        string // "" if none is asked for
	State        Secret
	Verifier     Secret // only its hash is sent
	Prompt       string // OpenID Connect Core, section 3.1.2.1; may be ""
	ResponseMode string // OAuth 2.0 Multiple Response Type Encoding Practices, section 2.1; may be ""
}

// URL returns the URL to visit. It keeps the query that the endpoint has (RFC
// 6749, section 3.1). It returns an error only if the endpoint is not a URL.
func (r AuthorizationRequest) URL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	q := u.Query()
	q.Set("response_type", "code")
	q.Set("client_id", r.ClientID)
	q.Set("redirect_uri", r.RedirectURI)
	q.Set("state", r.State.Reveal())
	q.Set("code_challenge", challenge(r.Verifier))
	q.Set("code_challenge_method", "S256")
	for name, value := range map[string]string{"scope": r.Scope, "prompt": r.Prompt, "response_mode": r.ResponseMode} {
		if value != "" {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// challenge returns the code_challenge of RFC 7636, section 4.2.
func challenge(verifier Secret) string {
	sum := sha256.Sum256([]byte(verifier.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// NewRandom returns 256 random bits in 43 characters that need no escaping in a
// URL. It makes states and, as RFC 7636, section 4.1, recommends, code_verifiers.
func NewRandom() Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return NewSecret(base64.RawURLEncoding.EncodeToString(b[:]))
}
