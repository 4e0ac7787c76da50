package account

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// announceTimeout bounds the Put of an intent: no POST follows one that took
// longer, so that an intent's deadline holds in other processes, too.
const announceTimeout = 5 * time.Second

// prepareEarly begins to prepare for the client that the account had when it was
// shown last, beside reading the account again: each is a round trip to Vault. It
// returns what to call once in place of prepare.
func (m *Manager) prepareEarly(name string, shown *Account) func(clientName string) (*Client, error) {
	if shown == nil {
		return func(clientName string) (*Client, error) { return m.prepare(name, clientName) }
	}
	type found struct {
		client *Client
		err    error
	}
	writable := beside(m.Writable)
	client := beside(func() found {
		client, err := m.client(name, shown.Client)
		return found{client, err}
	})
	return func(clientName string) (*Client, error) {
		if err := writable(); err != nil {
			return nil, err
		}
		if clientName != shown.Client {
			return m.client(name, clientName)
		}
		f := client()
		return f.client, f.err
	}
}

// beside does work on a goroutine of its own. What it returns waits for the result; a panic comes to whoever calls it.
func beside[T any](work func() T) (wait func() T) {
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
		result = work()
	}()
	return func() T {
		<-done
		if panicked != nil {
			panic(panicked)
		}
		return result
	}
}

// prepare returns the client for a request to the server, on a node where the
// answer can be saved.
func (m *Manager) prepare(name, clientName string) (*Client, error) {
	if err := m.Writable(); err != nil {
		return nil, err
	}
	return m.client(name, clientName)
}

// client returns an account's client, or an error that names the account.
func (m *Manager) client(name, clientName string) (*Client, error) {
	client, err := m.Clients.Client(m.open, clientName)
	var e *Error
	switch {
	case errors.As(err, &e):
		return nil, &Error{Kind: e.Kind, Account: name, Text: e.Text}
	case err != nil:
		return nil, storageError(name, fmt.Sprintf("reading the client %q", clientName), err)
	case client == nil:
		return nil, &Error{Kind: KindNotFound, Account: name, Text: fmt.Sprintf(
			"its client %q does not exist; create it with a write to clients/%s", clientName, clientName)}
	}
	return client, nil
}

// announce writes the intent with which begin returns the account. Where that
// fails, nothing has been spent: a standby, a lost quorum, a full disk and a sealed
// Vault are found out here.
func (m *Manager) announce(name string, begin func(Intent) Account, client *Client, timeout time.Duration) (*Account, error) {
	started := clock()
	intent := Intent{
		ID: m.NewID(), Process: m.Process, Started: started, Deadline: started.Add(announceTimeout + client.longest(timeout)),
	}
	begun := begin(intent)
	m.posting(intent.Deadline, timeout)
	err := m.store.put(m.ctx, name, &begun, announceTimeout)
	if err == nil && clock().Sub(started) > announceTimeout {
		err = context.DeadlineExceeded // the process stood still in between
	}
	return &begun, err
}

// notAnnounced is what becomes of an exchange whose intent could not be written.
// The Put may have taken effect, but memory knows that no POST follows.
func (m *Manager) notAnnounced(s *slot, name string, a *Account, err error) error {
	if errors.Is(err, ErrReadOnly) {
		return ErrReadOnly
	}
	waiting := a.failed(FailedStorage, outcome{
		Result: oauth.Result{Reason: "Vault's storage did not take the announcement of an exchange", AnsweredAt: clock()}, jitter: m.Jitter(),
	})
	s.ahead = &waiting
	s.publish(&waiting)
	m.Logger.Error("no exchange: Vault's storage failed before it; nothing was spent", "account", name, "error", err)
	return storageError(name, "announcing an exchange; the refresh token is untouched", err)
}

// longest is how long present can take at the most, where one POST takes no
// longer than timeout.
func (c *Client) longest(timeout time.Duration) time.Duration {
	if c.PreviousSecret.IsSet() {
		return 2 * timeout
	}
	return timeout
}

// present runs a POST, a second time with the previous client secret where the
// server refuses the current one: that spends no refresh token and no code. It
// tells whether the result was had with the current secret.
func (m *Manager) present(
	purpose Purpose, deadline time.Time, client *Client, timeout time.Duration, post func(context.Context, oauth.Client) oauth.Result,
) (result oauth.Result, current bool) {
	m.posting(deadline, timeout)
	ctx, cancel := context.WithDeadline(m.ctx, deadline)
	defer cancel()
	with := func(secret oauth.Secret) oauth.Result {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		c := client.Client
		c.Secret = secret
		r := post(ctx, c)
		m.contained(func() { m.Observe(purpose, r) }) // its panic must not cost the answer
		return r
	}
	result = with(client.Secret)
	if result.Outcome != oauth.Rejected || result.Code != oauth.CodeInvalidClient || !client.PreviousSecret.IsSet() {
		return result, true
	}
	return with(client.PreviousSecret), false
}
