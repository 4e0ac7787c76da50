package rotation

import (
	"context"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// Delete removes an account, after an exchange that is in progress, ends its pending
// logins, and returns warnings. It is no error if there is no such account. With revoke,
// the account's grants are revoked at the server first (RFC 7009), if possible: an
// account must not stay because a server is away. The end of ctx ends the waiting for
// the account, but not a deletion that has begun.
func (m *Manager) Delete(ctx context.Context, name string, revoke bool) (warnings []string, err error) {
	leave, ok := m.work.Enter()
	if !ok {
		return nil, closing(name)
	}
	defer leave()
	l, err := m.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer l.release()
	if err := m.opts.Writable(); err != nil {
		return nil, err
	}
	// A caller that goes away must not leave an account whose grant is revoked.
	return l.delete(m.ctx, revoke)
}

func (l *lockedAccount) delete(ctx context.Context, revoke bool) (warnings []string, err error) {
	if err := l.m.opts.PendingLogins.Cancel(ctx, l.name); err != nil {
		return nil, written(l.name, "ending the logins that have begun; nothing was changed", err)
	}
	if revoke {
		warnings = l.revoke(ctx)
	}
	err = l.m.store.delete(ctx, l.name)
	if mayHaveWritten(err) {
		// If it has taken effect, memory must forget the account.
		if a, readErr := l.m.store.get(ctx, l.name); l.entry.unsaved == nil || (readErr == nil && a == nil) {
			l.forget()
		}
	}
	if err != nil {
		return nil, err
	}
	l.forget()
	l.m.index.forget(l.name)
	l.unmark(ctx)
	l.m.opts.Logger.Info("account deleted", "account", l.name)
	l.m.notify(EventDeleted, l.name, nil)
	return warnings, nil
}

// forget makes the storage the only one that knows the account.
func (l *lockedAccount) forget() {
	l.entry.unsaved = nil
	l.m.cache.forget(l.entry)
}

// revoke revokes the grants of an account, and says which could not be revoked. They
// share one exchange time-out.
func (l *lockedAccount) revoke(ctx context.Context) (warnings []string) {
	a, err := l.load(ctx)
	if a == nil && err == nil {
		return nil
	}
	failed := func(what, why string) {
		l.m.opts.Logger.Warn("a grant was not revoked", "account", l.name, "grant", what, "reason", why)
		warnings = append(warnings, "the account is deleted, but its "+what+" was not revoked at the server: "+why+
			"; if that matters, end the authorization there")
	}
	if err != nil {
		failed("grant", err.Error())
		return warnings
	}
	settings, err := l.m.opts.Settings(ctx)
	if err != nil {
		failed("grant", err.Error())
		return warnings
	}
	client, err := l.m.client(l.name, a.Client)
	if err != nil {
		failed("grant", err.Error())
		return warnings
	}
	if client.RevokeURL == "" {
		failed("grant", "its client has no revoke_url that may be used: it is not written, or its host is not one of the allowed_hosts")
		return warnings
	}
	deadline := time.Now().Add(settings.ExchangeTimeout)
	for i := range a.Grants {
		g := &a.Grants[i]
		if g.Death != nil {
			continue
		}
		r, _ := l.m.send(ForRevoke, time.Until(deadline), client, settings.ExchangeTimeout, func(ctx context.Context, c oauth.Client) oauth.Result {
			return l.m.opts.Exchanger.Revoke(ctx, c, g.RefreshToken)
		})
		if r.Outcome != oauth.Succeeded {
			failed(grantName(a, g), r.Reason)
		}
	}
	return warnings
}

// grantName is what messages call a grant of an account.
func grantName(a *account.Account, g *account.Grant) string {
	switch {
	case g == a.Current():
		return "grant"
	case g.Replaced:
		return "former grant"
	default:
		return "spare grant"
	}
}
