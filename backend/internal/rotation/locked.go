package rotation

import (
	"context"
	"errors"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// lockedAccount is the handle of an account's lock. Its methods are what only the
// holder of the lock may do.
type lockedAccount struct {
	m     *Manager
	name  string
	entry *entry
	// generation is that of the newest state that was loaded or handed to the storage.
	generation int64
}

// tryLock waits for the account's lock until ctx ends, and fails then.
func (m *Manager) tryLock(ctx context.Context, name string) (*lockedAccount, error) {
	l := &lockedAccount{m: m, name: name, entry: m.cache.findOrMake(name)}
	select {
	case l.entry.lock <- struct{}{}:
		return l, nil
	default:
	}
	select {
	case l.entry.lock <- struct{}{}:
		return l, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// lock takes the account's lock for what a person does. It waits for an exchange and
// its prompt retry, but not for a storage that has been down for long.
func (m *Manager) lock(ctx context.Context, name string) (*lockedAccount, error) {
	settings, err := m.opts.Settings(ctx)
	if err != nil {
		return nil, storageError(name, "reading the mount's config", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*settings.ExchangeTimeout+storageTimeout)
	defer cancel()
	l, err := m.tryLock(ctx, name)
	if err != nil && m.work.Closed() {
		return nil, closing(name)
	}
	if err != nil {
		return nil, unavailable(name, "an exchange is in progress, or its result could not be saved yet; nothing was changed; try again")
	}
	return l, nil
}

// release gives the lock back. The handle must not be used afterwards.
func (l *lockedAccount) release() { <-l.entry.lock }

// load returns the account as the holder of the lock may rely on it: what memory
// knows beyond the storage, or else what the storage has. It returns nil, nil if there
// is no account. The account is shared and must not be changed.
func (l *lockedAccount) load(ctx context.Context) (*account.Account, error) {
	if a := l.entry.unsaved; a != nil {
		l.generation = a.Generation
		return a, nil
	}
	stored, err := l.m.store.get(ctx, l.name)
	if err != nil || stored == nil {
		return nil, err
	}
	l.generation = stored.Generation
	if known := l.entry.cached.Load(); known != nil && known.NewerThan(stored) {
		l.m.opts.Logger.Error("the storage holds an older state of the account than was saved; memory has the newer one, which is used and saved again",
			"account", l.name, "stored_generation", stored.Generation, "known_generation", known.Generation)
		l.generation, l.entry.unsaved = known.Generation, known
		return known, nil
	}
	return stored, nil
}

// next returns the state as the next one that is handed to the storage.
func (l *lockedAccount) next(a account.Account) *account.Account {
	l.generation++
	a.Generation = l.generation
	return &a
}

// remember keeps a state that the storage does not have, and does not show it to
// readers yet. Neither a panic nor a failed Put loses it.
func (l *lockedAccount) remember(a *account.Account) { l.entry.unsaved = a }

// keep remembers a state that could not be saved, and shows it. The next commit saves
// it.
func (l *lockedAccount) keep(a account.Account) {
	a.Generation = l.generation
	l.entry.unsaved = &a
	l.entry.publish(&a)
}

// ifNotSaved says what happens to a new state that the storage does not take.
type ifNotSaved int

const (
	// askAgain leaves the account to the storage, which may have taken the Put, unless
	// memory already knew more than the storage: for what a person writes and can
	// write again.
	askAgain ifNotSaved = iota
	// keepInMemory counts on the next commit: for the outcome of a failed exchange.
	keepInMemory
	// retry keeps the lock and tries again until the storage takes it: for new tokens.
	retry
)

// commit is one commit of a new state.
type commit struct {
	account account.Account
	doing   string // what for, for the error
	ifNot   ifNotSaved
	// written is called after the first Put, whether it succeeded or not: for the log
	// and for events. It must not wait.
	written func()
	// served is called, with retry, as soon as readers get the new state from memory.
	served func()
}

// commit saves a new state of the account in one Put, and shows it to readers. All
// states but intents come into the storage here. Nothing that can fail, and nothing
// that may wait, stands between the answer of a server and the Put. It returns the
// error of the first Put, also if a retry has saved the state since.
func (l *lockedAccount) commit(c commit) error {
	before, a := l.entry.unsaved, l.next(c.account)
	if c.ifNot != askAgain {
		l.remember(a)
	}
	err := l.m.store.put(l.m.ctx, l.name, a, c.doing, storageTimeout)
	c.written()
	switch {
	case err == nil:
		l.saved(a)
	case c.ifNot == retry:
		l.rescue(a, err, c.served)
	case c.ifNot == keepInMemory || before != nil && mayHaveWritten(err):
		l.keep(*a)
		l.m.opts.Logger.Warn("a new state of the account is kept in memory: saving it failed", "account", l.name, "error", err)
	case mayHaveWritten(err):
		l.m.cache.drop(l.name)
	}
	return err
}

// saved shows a state that the storage has taken.
func (l *lockedAccount) saved(a *account.Account) {
	l.entry.unsaved = nil
	l.entry.publish(a)
}

// rescue keeps new tokens in memory while the storage refuses them, serves readers
// from the copy and tries to save it until that works. The lock is held all the time,
// so that no other exchange or write comes between. It gives up when Close has waited
// long enough, or when another node has written something newer.
func (l *lockedAccount) rescue(a *account.Account, err error, served func()) {
	log := l.m.opts.Logger.With("account", l.name)
	unsaved := *a
	unsaved.Unsaved = true
	l.remember(a)
	l.entry.publish(&unsaved)
	served()
	for attempt := 1; ; attempt++ {
		log.Error("a new refresh token is not saved yet; it is kept in memory and saving is tried again", "attempt", attempt, "error", err)
		select {
		case <-time.After(account.BackOff(attempt, l.m.opts.Jitter())):
		case <-l.m.ctx.Done():
			log.Error("the plugin ends before a new refresh token was saved; it is lost, unless the storage still takes an earlier attempt", "error", err)
			return
		}
		var saved, newer *account.Account
		saved, newer, err = l.retryCommit(a)
		switch {
		case err != nil:
			continue
		case newer != nil:
			l.saved(newer)
			log.Error("a refresh token that was not saved is given up: another node has written a newer authorization of the account")
		default:
			l.saved(saved)
			log.Info("the new refresh token is saved", "attempts", attempt+1)
		}
		return
	}
}

// retryCommit tries once more to save a rescue copy, and returns what it has saved. A node that has lost the lead
// may be able to write again while it closes, after another one has led: what was
// written there in the meantime must stay, and is returned as newer. If the storage
// has no entry although there was one, another node may have deleted the account, or
// the storage may have lost its volume: nothing is written, and the copy is kept.
func (l *lockedAccount) retryCommit(a *account.Account) (saved, newer *account.Account, err error) {
	stored, err := l.m.store.get(l.m.ctx, l.name)
	switch {
	case err != nil:
		return nil, nil, err
	case stored == nil && a.Generation > 1:
		return nil, nil, errNoEntry
	case stored != nil && a.SupersededBy(stored, l.m.opts.Process):
		return nil, stored, nil
	case stored != nil:
		a = a.Over(stored)
	}
	return a, nil, l.m.store.put(l.m.ctx, l.name, a, "saving a new refresh token", storageTimeout)
}

var errNoEntry = errors.New("the storage has no entry of the account: another node may have deleted it, or the storage has lost its volume")
