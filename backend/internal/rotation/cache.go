package rotation

import (
	"sync"
	"sync/atomic"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// entry is what memory holds of one account. A read of an existing account makes
// one, and so does any write, login or delete, which needs the lock. Entries are
// never removed; an empty one is small.
type entry struct {
	name   string
	spread float64 // the account's; see account.Spread
	// changed is told of every account that readers get to see; see cache.
	changed func(name string, a *account.Account)
	// lock is the account's lock. It is a channel so that a waiter can give up.
	lock chan struct{}
	// cached is the account as readers see it; nil if they must ask the storage.
	cached atomic.Pointer[account.Account]
	// used is set once a reader has looked at cached since the last eviction.
	used atomic.Bool
	// unsaved is the account if memory knows more than the storage, because a Put
	// failed; nil otherwise. Only the holder of lock touches it.
	unsaved *account.Account

	mu  sync.Mutex // guards run, and every change of cached
	run *exchangeRun
}

// look returns the account as readers see it, for a reader; nil if the reader must
// ask the storage.
func (e *entry) look() *account.Account {
	a := e.cached.Load()
	if a != nil && !e.used.Load() { // a write each time would cost the other cores their cache line
		e.used.Store(true)
	}
	return a
}

// publish shows an account to readers. The account must not be changed afterwards.
func (e *entry) publish(a *account.Account) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cached.Store(a)
	e.changed(e.name, a)
}

// cache finds entries by the account's name.
type cache struct {
	entries sync.Map // string -> *entry
	// changed is told of every account that readers get to see, with entry.mu held.
	changed func(name string, a *account.Account)
	// epoch counts the events that make a storage read in progress worthless: an
	// invalidation, a delete, an eviction.
	epoch atomic.Uint64
}

// find returns nil if memory has no entry of the account.
func (c *cache) find(name string) *entry {
	if e, ok := c.entries.Load(name); ok {
		return e.(*entry)
	}
	return nil
}

func (c *cache) findOrMake(name string) *entry {
	if e := c.find(name); e != nil {
		return e
	}
	e, _ := c.entries.LoadOrStore(name, &entry{name: name, spread: account.Spread(name), changed: c.changed, lock: make(chan struct{}, 1)})
	return e.(*entry)
}

// fill shows an account that was read from the storage when epoch was as given,
// unless memory knows a newer one. It returns the account that is shown.
func (c *cache) fill(e *entry, a *account.Account, epoch uint64) *account.Account {
	e.mu.Lock()
	defer e.mu.Unlock()
	if newer := e.cached.Load(); newer != nil {
		return newer
	}
	if c.epoch.Load() == epoch {
		e.cached.Store(a)
		e.used.Store(true)
		e.changed(e.name, a)
	}
	return a
}

// evictUnused removes the accounts from memory that no reader has looked at since
// the last call. Their entries stay: they are small, and somebody may hold a lock.
func (c *cache) evictUnused() {
	c.entries.Range(func(_, value any) bool {
		if e := value.(*entry); !e.used.Swap(false) {
			c.evict(e)
		}
		return true
	})
}

// evict removes an account from memory. An account that the storage does not hold
// yet stays. An account that is refreshed in the background stays, too, so that no
// read of it ever waits.
func (c *cache) evict(e *entry) {
	select {
	case e.lock <- struct{}{}:
		defer func() { <-e.lock }()
	default:
		return // the account is being worked on
	}
	if e.unsaved != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.cached.Load(); a != nil && !a.AutoRefresh && e.run == nil {
		c.epoch.Add(1) // a storage read in progress may have begun before the last write
		e.cached.Store(nil)
	}
}

// forget makes readers ask the storage again, whatever memory knew.
func (c *cache) forget(e *entry) {
	c.epoch.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cached.Store(nil)
}

// drop makes readers ask the storage again. A rescue copy stays, because the storage
// does not have it.
func (c *cache) drop(name string) {
	c.epoch.Add(1)
	e := c.find(name)
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.cached.Load(); a == nil || !a.Unsaved {
		e.cached.Store(nil)
	}
}
