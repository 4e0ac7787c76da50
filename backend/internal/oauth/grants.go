package oauth

import "context"

// Refresh runs the refresh grant of RFC 6749, section 6. If the Result has a new
// refresh token, the one that was presented is spent.
func (e *Exchanger) Refresh(ctx context.Context, client Client, refreshToken Secret) Result {
	var grant form
	grant.add("grant_type", "refresh_token")
	grant.addSecret("refresh_token", refreshToken)
	return e.exchange(ctx, client, grant)
}

// Probe asks whether the way to the token endpoint is open, and costs nothing: it
// runs the refresh grant with a refresh token that was never issued. A Result that
// is [Result.Readable], as a rule Rejected with [CodeInvalidGrant], shows that the
// token endpoint itself answered and that its answer got through. Every other
// Result shows nothing of the kind. Tokens in a Result, which no server should
// issue here, must not be used.
func (e *Exchanger) Probe(ctx context.Context, client Client) Result {
	return e.Refresh(ctx, client, NewRandom())
}

// Code is an authorization code (RFC 6749, section 4.1.2) and what must be
// presented with it. A code works once.
type Code struct {
	Code        Secret
	RedirectURI string // as in the authorization request
	Verifier    Secret // code_verifier (RFC 7636, section 4.1)
}

// RedeemCode runs the authorization code grant of RFC 6749, section 4.1.3, with PKCE.
func (e *Exchanger) RedeemCode(ctx context.Context, client Client, code Code) Result {
	var grant form
	grant.add("grant_type", "authorization_code")
	grant.addSecret("code", code.Code)
	grant.add("redirect_uri", code.RedirectURI)
	grant.addSecret("code_verifier", code.Verifier)
	return e.exchange(ctx, client, grant)
}

// Credentials are a user's name and password, for the password grant.
type Credentials struct {
	Username string
	Password Secret
}

// LogIn runs the resource owner password credentials grant of RFC 6749, section
// 4.3.2. It asks for no scope: the server gives its default.
func (e *Exchanger) LogIn(ctx context.Context, client Client, credentials Credentials) Result {
	var grant form
	grant.add("grant_type", "password")
	grant.add("username", credentials.Username)
	grant.addSecret("password", credentials.Password)
	return e.exchange(ctx, client, grant)
}

// Revoke revokes a refresh token, and with it the grant (RFC 7009, section 2.1).
// A server reports success for a token that it does not know, too.
func (e *Exchanger) Revoke(ctx context.Context, client Client, refreshToken Secret) Result {
	var f form
	f.addSecret("token", refreshToken)
	result := e.post(ctx, client, client.RevokeURL, f, classifyRevocation)
	result.Tokens = Tokens{}
	return result
}
