package account

import (
	"context"
	"sync"
	"sync/atomic"
)

// slot is what memory holds of one account. Slots are made by reads of accounts that
// exist, and by writes, logins and deletes of any name, for their lock; they are kept.
// One without an account is empty and small.
type slot struct {
	name string
	// note is told of every account that is shown; see table.
	note func(name string, a *Account)
	// lock is the account's lock; see the package documentation. It is a
	// channel so that whoever waits for it can give up.
	lock chan struct{}
	// cached is the account as readers see it; nil: ask the storage.
	cached atomic.Pointer[Account]
	// used tells that somebody has looked at cached since the last sweep; see
	// table.evictUnused.
	used atomic.Bool
	// ahead is the account where memory knows more than the storage: a Put
	// failed. Only the holder of lock touches it.
	ahead *Account

	mu     sync.Mutex // guards what follows, and every change of cached
	flight *flight    // the exchange under way; nil: none
}

// acquire takes the account's lock. It fails when ctx ends first.
func (s *slot) acquire(ctx context.Context) (release func(), err error) {
	select {
	case s.lock <- struct{}{}:
		return func() { <-s.lock }, nil
	default:
	}
	select {
	case s.lock <- struct{}{}:
		return func() { <-s.lock }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// look returns the account as readers see it, for one of them; nil: ask the
// storage.
func (s *slot) look() *Account {
	a := s.cached.Load()
	if a != nil && !s.used.Load() { // a write each time would cost the other cores their cache line
		s.used.Store(true)
	}
	return a
}

// publish shows an account to readers. It must not be changed afterwards.
func (s *slot) publish(a *Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cached.Store(a)
	s.note(s.name, a)
}

// table finds slots by the account's name.
type table struct {
	slots sync.Map // string -> *slot
	// note is told of every account that is shown to readers, with slot.mu held.
	note func(name string, a *Account)
	// epoch counts what makes a storage read that is under way worthless:
	// an invalidation, a delete, an eviction.
	epoch atomic.Uint64
}

// find returns nil where memory knows nothing of the account.
func (t *table) find(name string) *slot {
	if s, ok := t.slots.Load(name); ok {
		return s.(*slot)
	}
	return nil
}

func (t *table) findOrMake(name string) *slot {
	if s := t.find(name); s != nil {
		return s
	}
	s, _ := t.slots.LoadOrStore(name, &slot{name: name, note: t.note, lock: make(chan struct{}, 1)})
	return s.(*slot)
}

// fill shows an account that was read from storage, when epoch was as given,
// unless something newer is known. It returns what is shown.
func (t *table) fill(s *slot, a *Account, epoch uint64) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	if newer := s.cached.Load(); newer != nil {
		return newer
	}
	if t.epoch.Load() == epoch {
		s.cached.Store(a)
		s.used.Store(true)
		s.note(s.name, a)
	}
	return a
}

// evictUnused takes those accounts out of memory that nobody has looked at since
// the last call. The slots stay: they are small, and somebody may hold one's lock.
func (t *table) evictUnused() {
	t.slots.Range(func(_, value any) bool {
		if s := value.(*slot); !s.used.Swap(false) {
			t.evict(s)
		}
		return true
	})
}

// evict takes an account out of memory. What the storage does not have stays: a
// rescue copy, and what the holder of the lock knows. An account that is refreshed
// in the background stays, too, so that no read of it ever waits.
func (t *table) evict(s *slot) {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	default:
		return // somebody works with it
	}
	if s.ahead != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.cached.Load(); a != nil && !a.AutoRefresh && s.flight == nil {
		t.epoch.Add(1) // a storage read under way may have begun before the last write
		s.cached.Store(nil)
	}
}

// forget makes readers ask the storage again, whatever memory knew.
func (t *table) forget(s *slot) {
	t.epoch.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cached.Store(nil)
}

// drop makes readers ask the storage again. A rescue copy stays: the storage
// does not have it.
func (t *table) drop(name string) {
	t.epoch.Add(1)
	s := t.find(name)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.cached.Load(); a == nil || !a.Unsaved {
		s.cached.Store(nil)
	}
}
