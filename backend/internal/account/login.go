package account

import (
	"errors"
	"fmt"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// loginInterval is the shortest time between two logins that the plugin begins by
// itself.
const loginInterval = time.Hour

// ErrUnknownLogin reports a login that never began, has been completed or
// cancelled, or has expired. It does not say which.
var ErrUnknownLogin = errors.New("account: unknown, used or expired login")

// PrepareLogin returns the account that a login with the client is for. old is nil
// if there is no account yet.
func PrepareLogin(name string, old *Account, client string, asSpare bool) (*Account, error) {
	switch {
	case old == nil && asSpare:
		return nil, ErrUnknownLogin
	case old == nil:
		old = &Account{}
	case asSpare && old.Client != client:
		return nil, &Error{Kind: KindInvalid, Account: name, Text: fmt.Sprintf(
			"its client was changed meanwhile, so this login cannot be its spare; nothing was changed; "+
				"begin a new login with a write of spare=true to authorize/%s", name)}
	}
	a := old.withClient(client)
	return &a, nil
}

// LoggedIn takes over the grant of a login, and its access token if it is usable.
// The grants before it are retired, except a spare.
func (a Account) LoggedIn(o Outcome) Account {
	t := o.Tokens.RefreshToken
	a = a.without(func(g Grant) bool { return g.began(t) })
	a = a.withGrant(t, o.AnsweredAt).without(func(g Grant) bool { return g.Replaced })
	if o.Tokens.AccessToken.IsSet() {
		a.Access = o.accessToken()
	}
	return a
}

// LoggedInAsSpare takes over the grant of a login as the spare. A server that answers a
// second login with a token that the account has already gives no spare.
func (a Account) LoggedInAsSpare(o Outcome) Account {
	if a.hasSeen(o.Tokens.RefreshToken) {
		return a
	}
	return a.withSpare(o.Tokens.RefreshToken, o.AnsweredAt)
}

// UsingCredentials notes that the plugin logs in with the kept credentials at now.
func (a Account) UsingCredentials(now time.Time) Account {
	c := *a.Credentials
	c.LastUsed = now
	a.Credentials = &c
	return a
}

// LoginSucceeded notes, after LoggedIn, that it was the plugin that logged in, and
// why: dead is the account before.
func (a Account) LoginSucceeded(dead *Account, now time.Time) Account {
	a.LastError = &LastError{Time: now, Message: dead.describeDeath() + "; the plugin has logged in again with the kept password"}
	return a
}

// LoginFailed notes that a login with the kept credentials has failed. Refused
// credentials are not used again.
func (a Account) LoginFailed(cause error, refused bool, now time.Time) Account {
	c := *a.Credentials
	c.Refused = refused
	a.Credentials = &c
	a.LastError = &LastError{Time: now, Message: fmt.Sprintf("%s; the login with the kept password failed: %v", a.describeDeath(), cause)}
	return a
}

// LoginError says why a login returned no grant.
func LoginError(name, client string, byPassword bool, o Outcome) *Error {
	e := &Error{Kind: KindUnavailable, Account: name}
	again := "begin the login again with a write to authorize/" + name
	if byPassword {
		again = "try again"
	}
	switch {
	case o.Outcome == oauth.Succeeded:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("the server granted the login but issued no refresh token; the client %q needs the refresh grant and the scope for it", client)
	case o.Outcome == oauth.NotSent:
		e.Text = fmt.Sprintf("%s; nothing was sent; check the network from Vault and clients/%s (token_url, ca_cert), and %s", o.Reason, client, again)
	case o.Outcome == oauth.Rejected && o.Code == oauth.CodeInvalidGrant && byPassword:
		e.Kind = KindInvalid
		e.Text = "the server refused the username or the password; nothing was changed"
	case o.Outcome == oauth.Rejected && o.Code == oauth.CodeInvalidGrant:
		e.Kind = KindInvalid
		e.Text = "the server refused the code: it was used before, is too old or belongs to another login; nothing was changed; " + again
	case o.Outcome == oauth.Rejected && o.Busy():
		e.Text = fmt.Sprintf("%s; nothing was changed; wait, and %s", o.Reason, again)
	case o.Outcome == oauth.Rejected:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("%s: it refuses the client %q or what it asks for; nothing was changed; correct clients/%s, and %s", o.Reason, client, client, again)
	default:
		e.Text = fmt.Sprintf("%s, so the login was lost; nothing was changed; %s", o.Reason, again)
	}
	return e
}

// nextLogin is the earliest time at which the plugin may log in by itself with the
// credentials that it keeps; ok is false if it may not.
func (a *Account) nextLogin(now time.Time) (at time.Time, ok bool) {
	c := a.Credentials
	if c == nil || c.Refused {
		return time.Time{}, false
	}
	if c.LastUsed.IsZero() || c.LastUsed.After(now.Add(clockTolerance)) { // a clock was wrong
		return time.Time{}, true
	}
	return c.LastUsed.Add(loginInterval), true
}
