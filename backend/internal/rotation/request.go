package rotation

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// intentTimeout bounds the Put of an intent. No POST follows one that took longer, so
// that an intent's deadline holds in other processes, too.
const intentTimeout = 5 * time.Second

// Purpose is what a POST to the authorization server is for. The values are part of
// the plugin's interface.
type Purpose string

// The purposes.
const (
	ForRefresh Purpose = "refresh" // a new access token for readers
	ForSpare   Purpose = "spare"   // keeping a waiting grant alive
	ForLogin   Purpose = "login"
	ForRevoke  Purpose = "revoke"
	ForProbe   Purpose = "probe" // a harmless one, while exchanges are held back
)

// prefetch starts to look up whether this node may write, and the client that the
// account had when readers saw it last, while the caller loads the account again: each
// is a round trip to Vault. Call what it returns once, instead of prepare.
func (l *lockedAccount) prefetch() func(clientName string) (*Client, error) {
	shown := l.entry.cached.Load()
	if shown == nil {
		return func(clientName string) (*Client, error) { return l.m.prepare(l.name, clientName) }
	}
	type found struct {
		client *Client
		err    error
	}
	writable := async(l.m.opts.Writable)
	client := async(func() found {
		client, err := l.m.client(l.name, shown.Client)
		return found{client, err}
	})
	return func(clientName string) (*Client, error) {
		if err := writable(); err != nil {
			return nil, err
		}
		if clientName != shown.Client {
			return l.m.client(l.name, clientName)
		}
		f := client()
		return f.client, f.err
	}
}

// async runs f in a new goroutine. The returned function waits for the result, and
// panics if f panicked.
func async[T any](f func() T) (wait func() T) {
	var (
		result   T
		panicked any
		done     = make(chan struct{})
	)
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
		}()
		result = f()
	}()
	return func() T {
		<-done
		if panicked != nil {
			panic(panicked)
		}
		return result
	}
}

// prepare returns the client for a request to the server, on a node where the answer
// can be saved.
func (m *Manager) prepare(name, clientName string) (*Client, error) {
	if err := m.opts.Writable(); err != nil {
		return nil, err
	}
	return m.client(name, clientName)
}

// client returns an account's client, or an error that names the account.
func (m *Manager) client(name, clientName string) (*Client, error) {
	client, err := m.opts.Clients.Client(m.open(), clientName)
	var e *account.Error
	switch {
	case errors.As(err, &e):
		return nil, &account.Error{Kind: e.Kind, Account: name, Text: e.Text}
	case err != nil:
		return nil, storageError(name, fmt.Sprintf("reading the client %q", clientName), err)
	case client == nil:
		return nil, &account.Error{Kind: account.KindNotFound, Account: name, Text: fmt.Sprintf(
			"its client %q does not exist; create it with a write to clients/%s", clientName, clientName)}
	}
	return client, nil
}

// writeIntent writes the intent to present the refresh token of the grant at i. If that
// fails, nothing has been spent: a standby, a lost quorum, a full disk and a sealed Vault
// show here. The Put may have taken effect all the same, but memory knows that no POST
// follows.
func (x *exchanging) writeIntent(a *account.Account, i int) (*account.Account, error) {
	began, started := time.Now(), x.m.opts.Now()
	deadline := started.Add(intentTimeout + x.client.longest(x.timeout))
	begun := x.next(a.WithIntent(i, account.Intent{ID: x.m.opts.NewID(), Process: x.m.opts.Process, Started: started, Deadline: deadline}))
	x.m.trackDeadline(began.Add(deadline.Sub(started)), x.timeout)
	const doing = "announcing an exchange; the refresh token is untouched"
	err := x.m.store.put(x.m.ctx, x.name, begun, doing, intentTimeout)
	if err == nil && time.Since(began) > intentTimeout {
		err = storageError(x.name, doing, context.DeadlineExceeded) // the process stood still in between
	}
	if mayHaveWritten(err) {
		x.keep(a.WithoutIntent(i, account.Outcome{
			Result: oauth.Result{Reason: "Vault's storage did not take the announcement of an exchange", AnsweredAt: x.m.opts.Now()}, Jitter: x.m.opts.Jitter(),
		}))
		x.m.opts.Logger.Error("no exchange: Vault's storage failed before it; nothing was spent", "account", x.name, "error", err)
	}
	return begun, err
}

// longest is how long send can take, if one POST takes no longer than timeout.
func (c *Client) longest(timeout time.Duration) time.Duration {
	if c.PreviousSecret.IsSet() {
		return 2 * timeout
	}
	return timeout
}

// send runs a POST, and a second one with the previous client secret if the server
// refuses the current one: that spends no refresh token and no code. Both together take
// no longer than longest. current reports whether the result is that of the current secret.
func (m *Manager) send(
	purpose Purpose, longest time.Duration, client *Client, timeout time.Duration, post func(context.Context, oauth.Client) oauth.Result,
) (result oauth.Result, current bool) {
	m.trackDeadline(time.Now().Add(longest), timeout)
	ctx, cancel := context.WithTimeout(m.ctx, longest)
	defer cancel()
	with := func(secret oauth.Secret) oauth.Result {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		c := client.Client
		c.Secret = secret
		r := post(ctx, c)
		m.work.Safely(func() { // a panic must not cost the answer
			m.opts.Observe(purpose, r)
			m.skew.observe(r, m.opts.Logger)
		})
		return r
	}
	result = with(client.Secret)
	if !result.ClientRefused() || !client.PreviousSecret.IsSet() {
		return result, true
	}
	return with(client.PreviousSecret), false
}

// secretWorked is called when the server has accepted the client's current secret.
func (m *Manager) secretWorked(name string, client *Client) {
	if !client.PreviousSecret.IsSet() {
		return
	}
	if err := m.opts.Clients.SecretWorked(m.ctx, name, client.Revision); err != nil {
		m.opts.Logger.Warn("the previous client secret is kept: forgetting it failed", "client", name, "error", err)
	}
}
