package rotation

import (
	"context"
	"fmt"
	"slices"

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
	tokens := added(old, a)
	if err := l.claimTokens(tokens, change); err != nil {
		return nil, err
	}
	defer l.m.index.unclaimUnwritten(l.name, tokens)
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
	a, warnings, err := change.Apply(l.name, old, l.m.opts.Now())
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

// added returns the refresh tokens that a write adds to an account.
func added(old, a *account.Account) []account.TokenID {
	tokens := a.TokenIDs()
	if old == nil {
		return tokens
	}
	before := old.TokenIDs()
	return slices.DeleteFunc(tokens, func(id account.TokenID) bool { return slices.Contains(before, id) })
}

// claimTokens refuses refresh tokens that another account is known to hold. Two accounts
// cannot be given one token at the same time either.
func (l *lockedAccount) claimTokens(tokens []account.TokenID, change account.Change) error {
	for range len(tokens) + 1 { // each round but the last finds that a holder is out of date
		holder, held, writing := l.m.index.claim(l.name, tokens)
		if holder == "" {
			return nil
		}
		if !writing && l.outOfDate(holder, held) {
			l.m.index.unclaim(holder, held)
			continue
		}
		field := "refresh_token"
		if held == account.IDOf(change.SpareRefreshToken) {
			field = "spare_refresh_token"
		}
		return &account.Error{Kind: account.KindInvalid, Account: l.name, Text: fmt.Sprintf(
			"the account %q holds this %s already; a refresh token works once, so two accounts with it would end each other's grant; "+
				"nothing was changed; log in once more for this account", holder, field)}
	}
	return contended(l.name)
}

// outOfDate reports whether another account does not hold a token any more: another node
// may have deleted it, or given it another grant.
func (l *lockedAccount) outOfDate(other string, id account.TokenID) bool {
	a, err := l.m.peek(other)
	return err == nil && (a == nil || !slices.Contains(a.TokenIDs(), id))
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
