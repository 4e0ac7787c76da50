package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// Login gets an account a grant from the authorization server: by a code, which works
// once, or by a user's name and password. Exactly one of Code and Credentials is set.
type Login struct {
	Code        *oauth.Code
	Credentials *oauth.Credentials

	// State is the state of the pending login that ends here, if there is one. It is
	// claimed when all is ready and before anything is sent: a code is not spent if
	// that write fails.
	State oauth.Secret
	// Client is the client that the login is for; it goes with Code.
	Client string
	// AsSpare makes the grant the account's spare. AndSpare logs in once more for a
	// spare; it goes with Credentials.
	AsSpare, AndSpare bool

	// change is the write that the login is part of; it goes with Credentials.
	change *account.Change
}

// loginResult is how a login has ended.
type loginResult struct {
	account  *account.Account
	warnings []string
	err      error
}

// LogIn runs a login and returns the account afterwards, and warnings. Like an
// exchange it runs with the account's lock and on a goroutine of its own: the end of ctx
// changes nothing. What the server grants is saved like the tokens of an exchange: in
// one Put, with a rescue copy if that fails. If the login fails, the account stays as it
// was. The error is [account.ErrUnknownLogin] if the pending login does not exist any
// more.
func (m *Manager) LogIn(ctx context.Context, name string, login Login) (*account.Account, []string, error) {
	leave, ok := m.work.Enter()
	if !ok {
		return nil, nil, closing(name)
	}
	ended := make(chan loginResult, 2) // the second is that of a panic after the first
	go func() {
		defer leave()
		defer func() {
			if p := recover(); p != nil {
				ended <- loginResult{err: m.panicked(name, p)}
			}
		}()
		l, err := m.lock(m.open(), name)
		if err != nil {
			ended <- loginResult{err: err}
			return
		}
		defer l.release()
		l.logIn(login, func(r loginResult) { ended <- r })
	}()
	select {
	case r := <-ended:
		return r.account, r.warnings, r.err
	case <-ctx.Done():
		return nil, nil, unavailable(name, fmt.Sprintf(
			"the request ended before the login did, which goes on in the background; read accounts/%s to see its outcome", name))
	}
}

// logIn calls end once, perhaps before it returns.
func (l *lockedAccount) logIn(login Login, end func(loginResult)) {
	a, client, timeout, err := l.prepareLogin(login)
	if err != nil {
		end(loginResult{err: err})
		return
	}
	granted, current, err := l.obtainGrant(a, client, timeout, login)
	if err != nil {
		end(loginResult{err: err})
		return
	}
	unsaved := func() { end(loginResult{account: granted, warnings: []string{NotSaved}}) }
	if l.saveGrant(granted, unsaved) != nil {
		return
	}
	var warnings []string
	if login.AndSpare {
		login.AsSpare = true
		with, _, err := l.obtainGrant(granted, client, timeout, login)
		if err != nil {
			warnings = append(warnings, "there is no spare grant: "+err.Error())
		} else if granted = with; l.saveGrant(granted, unsaved) != nil {
			return
		}
	}
	end(loginResult{account: granted, warnings: warnings})
	if current {
		l.m.secretWorked(a.Client, client)
	}
}

// prepareLogin does everything that can fail before anything is sent.
func (l *lockedAccount) prepareLogin(login Login) (a *account.Account, client *Client, timeout time.Duration, err error) {
	ctx := l.m.open()
	old, err := l.load(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	if login.change != nil {
		a, _, err = l.apply(ctx, old, *login.change)
	} else {
		a, err = account.PrepareLogin(l.name, old, login.Client, login.AsSpare)
	}
	if err != nil {
		return nil, nil, 0, err
	}
	settings, err := l.m.opts.Settings(ctx)
	if err != nil {
		return nil, nil, 0, storageError(l.name, "reading the mount's config", err)
	}
	if err = l.mark(ctx, old, a); err != nil {
		return nil, nil, 0, err
	}
	if client, err = l.m.prepare(l.name, a.Client); err != nil {
		return nil, nil, 0, err
	}
	return a, client, settings.ExchangeTimeout, l.claim(ctx, login.State)
}

// claim makes the pending login used.
func (l *lockedAccount) claim(ctx context.Context, state oauth.Secret) error {
	if !state.IsSet() {
		return nil
	}
	claimed, err := l.m.opts.PendingLogins.Claim(ctx, state)
	if err != nil {
		return written(l.name, "marking the login as used; nothing was changed", err)
	}
	if !claimed {
		return account.ErrUnknownLogin
	}
	return nil
}

// obtainGrant asks the server for a grant, once, and returns the account with it, and
// whether the server has accepted the client's current secret. It changes nothing that
// is shared. Nothing in it can fail or wait after the answer.
func (l *lockedAccount) obtainGrant(a *account.Account, client *Client, timeout time.Duration, login Login) (granted *account.Account, current bool, err error) {
	result, current := l.m.send(ForLogin, client.longest(timeout), client, timeout, func(ctx context.Context, c oauth.Client) oauth.Result {
		if login.Code != nil {
			return l.m.opts.Exchanger.RedeemCode(ctx, c, *login.Code)
		}
		return l.m.opts.Exchanger.LogIn(ctx, c, *login.Credentials)
	})
	if result.Outcome == oauth.Succeeded { // the way to the token endpoint is open
		l.m.gates.of(a.Client, client).report(result)
	}
	o := account.Outcome{Result: result}
	if result.Outcome != oauth.Succeeded || !result.Tokens.RefreshToken.IsSet() {
		err := account.LoginError(l.name, a.Client, login.Credentials != nil, o)
		l.m.opts.Logger.Warn("login failed", "account", l.name, "client", a.Client, "outcome", result.Outcome.String(), "as_spare", login.AsSpare, "reason", err.Text)
		return nil, false, err
	}
	next := a.LoggedIn(o)
	if login.AsSpare {
		next = a.LoggedInAsSpare(o)
	}
	return &next, current, nil
}

// saveGrant commits an account with a new grant. It returns the error of the first Put.
func (l *lockedAccount) saveGrant(a *account.Account, served func()) error {
	return l.commit(commit{account: *a, doing: "saving a new grant", ifNot: retry, served: served, written: func() {
		l.m.opts.Logger.Info("logged in", "account", l.name, "client", a.Client, "state", a.State(), "spare", a.SpareState())
		l.m.notify(EventLoggedIn, l.name, a)
	}})
}

// logInAgain gives a dead account a new grant with the credentials that are kept for
// that. Their use is written before, so that the plugin does not log in more often than
// once an hour, whatever happens to the process.
func (x *exchanging) logInAgain(dead *account.Account) error {
	log := x.m.opts.Logger.With("account", x.name, "client", dead.Client)
	using := x.next(dead.UsingCredentials(x.m.opts.Now()))
	x.run.tried, x.run.begun = true, nil
	if err := x.m.store.put(x.m.ctx, x.name, using, "announcing a login with the kept password; nothing was sent", intentTimeout); err != nil {
		if mayHaveWritten(err) {
			x.keep(*dead) // its death may not be saved yet
		}
		return err
	}
	granted, current, err := x.obtainGrant(using, x.client, x.timeout, Login{Credentials: &using.Credentials.Credentials})
	if err == nil {
		again := granted.LoginSucceeded(using, x.m.opts.Now())
		log.Warn("grant died; logged in again with the kept password")
		x.run.succeeded = again.Access != nil
		_ = x.saveGrant(&again, func() { x.entry.finish(x.run, nil) }) // a rescue copy, if not the storage, has it
		if current {
			x.m.secretWorked(dead.Client, x.client)
		}
		return nil
	}
	var e *account.Error
	failed := using.LoginFailed(err, errors.As(err, &e) && e.Kind == account.KindInvalid, x.m.opts.Now())
	_ = x.commit(commit{account: failed, doing: "saving the outcome of a login", ifNot: keepInMemory, written: func() {
		log.Error("grant died, and the login with the kept password failed; reauthorization required")
		x.m.notify(EventReauthorizationRequired, x.name, &failed)
	}})
	return nil
}
