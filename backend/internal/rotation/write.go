package rotation

import (
	"context"
	"fmt"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// Write changes an account as a person asks, after an exchange that is in progress, and
// returns warnings. A change with credentials logs in. The end of ctx ends the waiting
// for the account, but not a write that has begun. A Write that failed because of the
// storage may have taken effect.
func (m *Manager) Write(ctx context.Context, name string, change account.Change) (warnings []string, err error) {
	if change.Credentials != nil {
		// Checked without the lock. If the account changes meanwhile, at worst there is
		// one login too many or too few.
		if a, err := m.Get(ctx, name); err == nil && change.Repeats(a) {
			change.Credentials = nil
		}
	}
	if change.Credentials != nil {
		_, warnings, err = m.LogIn(ctx, name, Login{Credentials: change.Credentials, AndSpare: true, change: &change})
		return warnings, err
	}
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
	return l.write(m.ctx, change)
}

func (l *lockedAccount) write(ctx context.Context, change account.Change) (warnings []string, err error) {
	old, err := l.load(ctx)
	if err != nil {
		return nil, err
	}
	a, warnings, err := l.apply(ctx, old, change)
	if err != nil {
		return nil, err
	}
	if err := l.mark(ctx, old, a); err != nil {
		return nil, err
	}
	if err := l.commit(commit{account: *a, doing: "writing the account", ifNot: askAgain, written: func() {}}); err != nil {
		return nil, err
	}
	if old != nil && old.AutoRefresh && !a.AutoRefresh {
		l.unmark(ctx)
	}
	l.m.opts.Logger.Info("account written", "account", l.name, "client", a.Client, "state", a.State(), "spare", a.SpareState())
	l.m.notify(EventWritten, l.name, a)
	return warnings, nil
}

// apply returns the account as a change wants it. Its client must exist.
func (l *lockedAccount) apply(ctx context.Context, old *account.Account, change account.Change) (*account.Account, []string, error) {
	a, warnings, err := change.Apply(l.name, old, clock())
	if err != nil {
		return nil, nil, err
	}
	if old != nil && old.Client == a.Client {
		return a, warnings, nil
	}
	exists, err := l.m.opts.Clients.Exists(ctx, a.Client)
	if err != nil {
		return nil, nil, storageError(l.name, fmt.Sprintf("reading the client %q", a.Client), err)
	}
	switch {
	case !exists && change.Client != nil:
		return nil, nil, &account.Error{Kind: account.KindInvalid, Account: l.name, Text: "the client that the request names does not exist; create it first with a write to clients/<name>"}
	case !exists:
		return nil, nil, &account.Error{Kind: account.KindInvalid, Account: l.name, Text: fmt.Sprintf(
			"the client %q does not exist; create it first with a write to clients/%s", a.Client, a.Client)}
	}
	return a, warnings, nil
}

// mark marks an account that becomes one that is refreshed in the background, before
// the account says so. A mark that stays behind costs one read after each start.
func (l *lockedAccount) mark(ctx context.Context, old, a *account.Account) error {
	if !a.AutoRefresh || (old != nil && old.AutoRefresh) {
		return nil
	}
	return l.m.store.mark(ctx, l.name)
}

func (l *lockedAccount) unmark(ctx context.Context) {
	if err := l.m.store.unmark(ctx, l.name); err != nil {
		l.m.opts.Logger.Debug("a mark of a background refresh stays behind", "account", l.name, "error", err)
	}
}
