package account

import (
	"context"
	"errors"
	"iter"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// Delete removes an account, after an exchange that is under way, and returns
// warnings. Deleting what is not there is no error. Where revoke is set, the
// account's grants are revoked at the server first (RFC 7009): as well as it
// goes, since an account must not stay because a server is away. before,
// unless it is nil, is called under the account's lock before anything is done,
// and its error ends the deletion.
func (m *Manager) Delete(ctx context.Context, name string, revoke bool, before func(context.Context) error) ([]string, error) {
	if !m.enter() {
		return nil, closing(name)
	}
	defer m.flights.Done()
	s, release, err := m.acquire(ctx, name)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := m.Writable(); err != nil {
		return nil, err
	}
	// A caller that goes away must not leave an account whose grant is revoked.
	ctx = context.WithoutCancel(ctx)
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	var warnings []string
	if revoke {
		warnings = m.revoke(ctx, s, name)
	}
	err = m.store.delete(ctx, name)
	if errors.Is(err, ErrReadOnly) {
		return nil, ErrReadOnly
	}
	if err != nil {
		// It may have taken effect; then what memory knows is of no use any more.
		if a, readErr := m.store.get(ctx, name); s.ahead == nil || (readErr == nil && a == nil) {
			s.ahead = nil
			m.table.drop(name)
		}
		return nil, storageError(name, "deleting the account", err)
	}
	s.ahead = nil
	m.table.drop(name)
	m.census.forget(name)
	m.unmark(ctx, name)
	m.Logger.Info("account deleted", "account", name)
	m.notify(EventDeleted, name, nil)
	return warnings, nil
}

// revoke revokes the grants of an account, and says what could not be revoked.
// They share one exchange time-out.
func (m *Manager) revoke(ctx context.Context, s *slot, name string) (warnings []string) {
	a, err := m.read(ctx, s, name)
	if a == nil && err == nil {
		return nil
	}
	failed := func(what, why string) {
		m.Logger.Warn("a grant was not revoked", "account", name, "grant", what, "reason", why)
		warnings = append(warnings, "the account is deleted, but its "+what+" was not revoked at the server: "+why+
			"; end the authorization at Pagero where that matters")
	}
	if err != nil {
		failed("grant", err.Error())
		return warnings
	}
	settings, err := m.Settings(ctx)
	if err != nil {
		failed("grant", err.Error())
		return warnings
	}
	client, err := m.prepare(name, a.Client)
	if err != nil {
		failed("grant", err.Error())
		return warnings
	}
	if client.RevokeURL == "" {
		failed("grant", "its client has no revoke_url that may be used: it is not written, or its host is not one of the allowed_hosts")
		return warnings
	}
	deadline := clock().Add(settings.ExchangeTimeout)
	for what, g := range a.living() {
		r, _ := m.present(ForRevoke, deadline, client, settings.ExchangeTimeout, func(ctx context.Context, c oauth.Client) oauth.Result {
			return m.Exchanger.Revoke(ctx, c, g.RefreshToken)
		})
		if r.Outcome != oauth.Succeeded {
			failed(what, r.Reason)
		}
	}
	return warnings
}

// living yields the grants that the server has not rejected, by what they are
// called.
func (a *Account) living() iter.Seq2[string, *Grant] {
	return func(yield func(string, *Grant) bool) {
		if a.Grant.Death == nil && !yield("grant", &a.Grant) {
			return
		}
		if a.Spare != nil {
			yield("spare grant", a.Spare)
		}
	}
}
