package account

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/queue"
)

// census is what memory knows of all accounts, in few bytes each: for the status,
// and for the plugin's own chores. It learns of an account when a survey or a
// reader reads it from the storage, and of every change from then on, since this
// process is the only one that writes. It is safe for concurrent use; its lock is
// the innermost.
type census struct {
	mu    sync.Mutex
	known map[string]record
	// due has the accounts with chores, by the millisecond in which they are due.
	due *queue.PriorityQueue
	// busy are the accounts whose chores are under way: they are not in the queue.
	busy map[string]bool
	// wake has room for one: somebody may be due earlier than who looked last saw.
	wake chan struct{}
}

// record is what the census knows of one account.
type record struct {
	state     State
	spare     SpareState
	unsaved   bool
	used      int64    // when the grant was used last, in Unix seconds
	expires   int64    // when the authorization ends, in Unix seconds; 0: not known
	attention *Problem // nil: nobody has to do anything
}

// Problem is an account that needs a person.
type Problem struct {
	Account string
	State   State
	Since   time.Time
	Error   string // what happened
	Remedy  string // what to do
}

func newCensus() census {
	return census{known: map[string]record{}, due: queue.New(), busy: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// set takes over what is known of an account, and when its next chore is due.
func (c *census) set(name string, r record, next chore) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[name] = r
	c.schedule(name, next)
}

// schedule puts an account in the place that its chore has in the queue. One whose
// chore is under way comes back when that is done.
func (c *census) schedule(name string, next chore) {
	_, _ = c.due.PopByKey(name) // it need not be there
	if next.task == noTask || c.busy[name] {
		return
	}
	// Not found is the only error of PopByKey, a duplicate the only one of Push.
	_ = c.due.Push(&queue.Item{Key: name, Priority: next.at.UnixMilli()})
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// setUnknown is set for an account that nothing was known of.
func (c *census) setUnknown(name string, r record, next chore, still func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.known[name]; known || !still() {
		return
	}
	c.known[name] = r
	c.schedule(name, next)
}

func (c *census) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, name)
	_, _ = c.due.PopByKey(name)
}

func (c *census) knows(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.known[name]
	return known
}

// done puts an account back into the queue that take took out of it.
func (c *census) done(name string, next chore) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, name)
	if _, known := c.known[name]; known {
		c.schedule(name, next)
	}
}

// take takes the account that is due first out of the queue, for who calls done
// afterwards, or tells how long it is until then; found is false where nothing ever is.
func (c *census) take(now time.Time) (name string, wait time.Duration, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	item, err := c.due.Pop()
	if err != nil {
		return "", 0, false
	}
	at := time.UnixMilli(item.Priority + 1) // it was cut to the millisecond
	if now.Before(at) {
		_ = c.due.Push(item)
		return "", at.Sub(now), true
	}
	c.busy[item.Key] = true
	return item.Key, 0, true
}

// Overview is how the accounts of a mount are.
type Overview struct {
	Known    int           // accounts that the survey has seen, or somebody has read
	Surveyed bool          // all have been seen
	States   map[State]int // of those that are known
	Unsaved  int           // rescue copies
	Spares   map[SpareState]int
	Problems []Problem            // the accounts that need a person, in order of their names
	Ending   map[string]time.Time // authorizations that end soon, by account
	Oldest   time.Time            // when the refresh token was issued that is the oldest of those alive; zero: none is known
}

// overview sums up. At most limit problems and ending authorizations are listed.
func (c *census) overview(soon time.Time, limit int) Overview {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := Overview{Known: len(c.known), States: map[State]int{}, Spares: map[SpareState]int{}, Ending: map[string]time.Time{}}
	for name, r := range c.known {
		o.States[r.state]++
		o.Spares[r.spare]++
		if r.unsaved {
			o.Unsaved++
		}
		if r.state != StateDead && (o.Oldest.IsZero() || r.used < o.Oldest.Unix()) {
			o.Oldest = time.Unix(r.used, 0).UTC()
		}
		if r.attention != nil {
			o.Problems = append(o.Problems, *r.attention)
		}
		if r.expires != 0 && r.expires < soon.Unix() && len(o.Ending) < limit {
			o.Ending[name] = time.Unix(r.expires, 0).UTC()
		}
	}
	slices.SortFunc(o.Problems, func(a, b Problem) int { return strings.Compare(a.Account, b.Account) })
	o.Problems = o.Problems[:min(limit, len(o.Problems))]
	return o
}
