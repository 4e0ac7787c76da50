package account

import (
	"context"
	"errors"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// announceTimeout bounds the Put of an intent: no POST follows one that took
// longer, so that an intent's deadline holds in other processes, too.
const announceTimeout = 5 * time.Second

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
		m.Observe(purpose, r)
		return r
	}
	result = with(client.Secret)
	if result.Outcome != oauth.Rejected || result.Code != oauth.CodeInvalidClient || !client.PreviousSecret.IsSet() {
		return result, true
	}
	return with(client.PreviousSecret), false
}
