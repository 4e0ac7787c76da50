package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// Login gets an account a grant from the authorization server: by a code, which
// works once, or by a user's name and password. Exactly one of Code and
// Credentials is set.
type Login struct {
	Code        *oauth.Code
	Credentials *oauth.Credentials

	// AsSpare makes the grant the account's spare. AndSpare logs in once more
	// for a spare; it goes with Credentials.
	AsSpare, AndSpare bool

	// Prepare says which account is to get the grant: it gets a copy of the one
	// that is there, nil where there is none, under the account's lock and not on
	// the caller's context. Its error ends the login.
	Prepare func(ctx context.Context, old *Account) (*Account, error)
	// Claim makes the login used; nil: nothing has to be. It is called when all
	// is ready and before anything is sent, under the account's lock and not on
	// the caller's context, and its error ends the login: a code is not spent
	// where this write fails.
	Claim func(ctx context.Context) error
}

// landing is how a login has ended.
type landing struct {
	account  *Account
	warnings []string
	err      error
}

// LogIn runs a login and returns the account afterwards, and warnings. Like an
// exchange it runs under the account's lock and on a goroutine of its own: a
// caller that goes away changes nothing. What the server grants is saved by the
// rules for a rotation: one Put, and a rescue copy where it fails. Where the
// login fails, the account stays as it was.
func (m *Manager) LogIn(ctx context.Context, name string, l Login) (*Account, []string, error) {
	if !m.enter() {
		return nil, nil, closing(name)
	}
	landed := make(chan landing, 2) // the second is that of a panic after the first
	go func() {
		defer m.flights.Done()
		defer func() {
			if p := recover(); p != nil {
				landed <- landing{err: m.panicked(name, p)}
			}
		}()
		s, release, err := m.acquire(m.open, name)
		if err != nil {
			landed <- landing{err: err}
			return
		}
		defer release()
		m.logIn(s, name, l, func(l landing) { landed <- l })
	}()
	select {
	case l := <-landed:
		return l.account, l.warnings, l.err
	case <-ctx.Done():
		return nil, nil, &Error{Kind: KindUnavailable, Account: name, Text: fmt.Sprintf(
			"the request ended before the login did, which goes on in the background; read accounts/%s to see what came of it", name)}
	}
}

// logIn is what a login does under the account's lock. It calls land once, which
// may be before it returns.
func (m *Manager) logIn(s *slot, name string, l Login, land func(landing)) {
	a, client, timeout, err := m.prepareLogin(s, name, l)
	if err != nil {
		land(landing{err: err})
		return
	}
	granted, current, err := m.obtain(name, a, client, timeout, l)
	if err != nil {
		land(landing{err: err})
		return
	}
	unsaved := func() { land(landing{account: granted, warnings: []string{NotSaved}}) }
	if !m.keep(s, name, granted, unsaved) {
		return
	}
	var warnings []string
	if l.AndSpare {
		l.AsSpare = true
		with, _, err := m.obtain(name, granted, client, timeout, l)
		if err != nil {
			warnings = append(warnings, "there is no spare grant: "+err.Error())
		} else if granted = with; !m.keep(s, name, granted, unsaved) {
			return
		}
	}
	land(landing{account: granted, warnings: warnings})
	if current {
		m.secretWorked(a.Client, client)
	}
}

// prepareLogin does all that can fail before anything is sent.
func (m *Manager) prepareLogin(s *slot, name string, l Login) (a *Account, client *Client, timeout time.Duration, err error) {
	old, err := m.read(m.open, s, name)
	if err != nil {
		return nil, nil, 0, err
	}
	if old != nil {
		c := *old
		old = &c
	}
	if a, err = l.Prepare(m.open, old); err != nil {
		return nil, nil, 0, err
	}
	settings, err := m.Settings(m.open)
	if err != nil {
		return nil, nil, 0, storageError(name, "reading the mount's config", err)
	}
	if err = m.mark(m.open, name, old, a); err != nil {
		return nil, nil, 0, err
	}
	if client, err = m.prepare(name, a.Client); err != nil {
		return nil, nil, 0, err
	}
	if l.Claim != nil {
		err = l.Claim(m.open)
	}
	return a, client, settings.ExchangeTimeout, err
}

// obtain asks the server for a grant, once, and returns the account with it, and
// whether the client's current secret was accepted. It changes nothing that is
// shared, and nothing in it can fail or wait after the answer.
func (m *Manager) obtain(name string, a *Account, client *Client, timeout time.Duration, l Login) (granted *Account, current bool, err error) {
	result, current := m.present(ForLogin, clock().Add(client.longest(timeout)), client, timeout, func(ctx context.Context, c oauth.Client) oauth.Result {
		if l.Code != nil {
			return m.Exchanger.RedeemCode(ctx, c, *l.Code)
		}
		return m.Exchanger.LogIn(ctx, c, *l.Credentials)
	})
	if result.Outcome != oauth.Succeeded || !result.Tokens.RefreshToken.IsSet() {
		err := loginFailed(name, a.Client, l, result)
		m.Logger.Warn("login failed", "account", name, "client", a.Client, "outcome", result.Outcome.String(), "as_spare", l.AsSpare, "reason", err.Text)
		return nil, false, err
	}
	next := a.loggedIn(outcome{Result: result})
	if l.AsSpare {
		next = a.withSpare(result.Tokens.RefreshToken, result.AnsweredAt)
	}
	return &next, current, nil
}

// keep saves an account with a new grant in one Put. Where that fails it rescues
// the grant, calls served, and returns false when the copy is saved or given up.
func (m *Manager) keep(s *slot, name string, a *Account, served func()) (saved bool) {
	s.ahead = a // from here on a panic must not bring back the account before the login
	err := m.store.put(m.ctx, name, a, storageTimeout)
	m.Logger.Info("logged in", "account", name, "client", a.Client, "state", a.State(), "spare", a.SpareState())
	m.notify(EventLoggedIn, name, a)
	if err != nil {
		m.rescue(s, name, a, err, served)
		return false
	}
	s.ahead = nil
	s.publish(a)
	return true
}

// logInAgain gives a dead account a new grant with the credentials that are kept
// for that. That they are used is written before, so that it is not done more
// often than once in loginInterval, whatever happens to the process.
func (m *Manager) logInAgain(s *slot, name string, f *flight, a *Account, client *Client, timeout time.Duration) error {
	kept := *a.Credentials
	kept.LastUsed = clock()
	using := *a
	using.Credentials = &kept
	f.tried, f.begun = true, nil
	if err := m.store.put(m.ctx, name, &using, announceTimeout); err != nil {
		if errors.Is(err, ErrReadOnly) {
			return ErrReadOnly
		}
		s.ahead = a // its death may not be saved yet
		s.publish(a)
		return storageError(name, "announcing a login with the kept password; nothing was sent", err)
	}
	granted, current, err := m.obtain(name, &using, client, timeout, Login{Credentials: &kept.Credentials})
	if err == nil {
		granted.LastError = &LastError{Time: clock(), Message: using.Grant.Death.describe() + "; the plugin has logged in again with the kept password"}
		m.Logger.Warn("grant died; logged in again with the kept password", "account", name, "client", a.Client)
		f.succeeded = granted.Access != nil
		m.keep(s, name, granted, func() { s.land(f, nil) })
		if current {
			m.secretWorked(a.Client, client)
		}
		return nil
	}
	failed := kept
	var e *Error
	failed.Refused = errors.As(err, &e) && e.Kind == KindInvalid
	using.Credentials = &failed
	using.LastError = &LastError{Time: clock(), Message: fmt.Sprintf("%s; the login with the kept password failed: %v", using.Grant.Death.describe(), err)}
	if err := m.store.put(m.ctx, name, &using, storageTimeout); err != nil {
		s.ahead = &using
		m.Logger.Warn("the outcome of a login is kept in memory: saving it failed", "account", name, "error", err)
	} else {
		s.ahead = nil
	}
	s.publish(&using)
	m.Logger.Error("grant died, and the login with the kept password failed; reauthorization required", "account", name, "client", a.Client)
	m.notify(EventReauthorizationRequired, name, &using)
	return nil
}

// loginFailed says in words why a login gave no grant.
func loginFailed(name, client string, l Login, r oauth.Result) *Error {
	e := &Error{Kind: KindUnavailable, Account: name}
	again := "begin the login again with a write to authorize/" + name
	if l.Credentials != nil {
		again = "try again"
	}
	switch {
	case r.Outcome == oauth.Succeeded:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("the server granted the login but issued no refresh token; the client %q needs the refresh grant and the scope for it", client)
	case r.Outcome == oauth.NotSent:
		e.Text = fmt.Sprintf("%s; nothing was sent; check the network from Vault and clients/%s (token_url, ca_cert), and %s", r.Reason, client, again)
	case r.Outcome.Unknown():
		e.Text = fmt.Sprintf("%s, so the login was lost; nothing was changed; %s", r.Reason, again)
	case r.Code == oauth.CodeInvalidGrant && l.Credentials != nil:
		e.Kind = KindInvalid
		e.Text = "the server refused the username or the password; nothing was changed"
	case r.Code == oauth.CodeInvalidGrant:
		e.Kind = KindInvalid
		e.Text = "the server refused the code: it was used before, is too old or belongs to another login; nothing was changed; " + again
	case outcome{Result: r}.busy():
		e.Text = fmt.Sprintf("%s; nothing was changed; wait, and %s", r.Reason, again)
	default:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("%s: it refuses the client %q or what it asks for; nothing was changed; correct clients/%s, and %s", r.Reason, client, client, again)
	}
	return e
}
