package rotation

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/queue"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// accountIndex is what memory knows of all accounts, in few bytes each: for the status,
// and for the plugin's own tasks. It learns of an account when a scan or a reader reads
// it from the storage, and of every change from then on, because this process is the
// only one that writes. It is safe for concurrent use; its lock is the innermost.
type accountIndex struct {
	mu    sync.Mutex
	now   func() time.Time // the wall clock
	known map[string]summary
	// holders says which account holds a refresh token.
	holders map[account.TokenID]string
	// due holds the accounts that have a task, by the millisecond in which it is due.
	due *queue.PriorityQueue
	// inProgress holds the accounts whose tasks are in progress. They are not in due.
	inProgress map[string]*change
	// wake (capacity 1) signals that the head of the queue may have changed.
	wake chan struct{}
}

// change is what has changed about an account while its task is in progress.
type change struct {
	count int          // how often it has changed
	next  account.Task // its next task after the last change
}

// summary is what the index knows of one account.
type summary struct {
	state     account.State
	spare     account.SpareState
	unsaved   bool
	used      int64            // when its newest refresh token was issued, in Unix seconds
	expires   int64            // when the authorization ends, in Unix seconds; 0 if not known
	attention *account.Problem // nil if nothing is wrong
	from      int64            // from when on attention needs a person, in Unix seconds
	client    string
	tokens    []account.TokenID // that it is known to hold
	waiting   bool              // its next exchange waits for its client or its token endpoint
	rate      float32           // exchanges a second that it takes in the background
	settings  int               // the generation of the mount's settings that this is based on
}

func newAccountIndex(now func() time.Time) *accountIndex {
	return &accountIndex{
		now: now, known: map[string]summary{}, holders: map[account.TokenID]string{}, due: queue.New(),
		inProgress: map[string]*change{}, wake: make(chan struct{}, 1),
	}
}

// set takes over what is known of an account, and its next task.
func (x *accountIndex) set(name string, s summary, next account.Task) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.learn(name, s)
	x.schedule(name, next)
}

// learn takes over what is known of an account.
func (x *accountIndex) learn(name string, s summary) {
	x.letGo(name, x.known[name].tokens...)
	for _, id := range s.tokens {
		if _, held := x.holders[id]; !held {
			x.holders[id] = name
		}
	}
	x.known[name] = s
}

func (x *accountIndex) letGo(name string, tokens ...account.TokenID) {
	for _, id := range tokens {
		if x.holders[id] == name {
			delete(x.holders, id)
		}
	}
}

// claim notes that an account is about to hold refresh tokens, before they are written.
// If another account holds one, it claims none, and returns that account and its token.
// writing means that the other account is being given the token at this moment.
func (x *accountIndex) claim(name string, tokens []account.TokenID) (holder string, held account.TokenID, writing bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range tokens {
		if other, ok := x.holders[id]; ok && other != name {
			return other, id, !slices.Contains(x.known[other].tokens, id)
		}
	}
	for _, id := range tokens {
		x.holders[id] = name
	}
	return "", account.TokenID{}, false
}

// unclaimUnwritten takes back the claim of an account to tokens that it is not known to
// hold since.
func (x *accountIndex) unclaimUnwritten(name string, tokens []account.TokenID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	known := x.known[name].tokens
	for _, id := range tokens {
		if !slices.Contains(known, id) {
			x.letGo(name, id)
		}
	}
}

// unclaim takes back the claim of an account that does not hold a token any more.
func (x *accountIndex) unclaim(name string, id account.TokenID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.letGo(name, id)
}

// schedule puts an account into the queue. If its task is in progress, done does.
func (x *accountIndex) schedule(name string, next account.Task) {
	if c := x.inProgress[name]; c != nil {
		c.count++
		c.next = next
		return
	}
	_, _ = x.due.PopByKey(name) // it need not be there
	if next.Kind == account.NoTask {
		return
	}
	// "Not found" is the only error of PopByKey, and "duplicate" the only one of Push.
	_ = x.due.Push(&queue.Item{Key: name, Priority: next.At.UnixMilli(), Value: later(next.At, x.now())})
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// setUnknown is set for an account that the index does not know with these settings,
// unless still returns false.
func (x *accountIndex) setUnknown(name string, s summary, next account.Task, still func() bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old, known := x.known[name]; known && old.settings == s.settings || !still() {
		return
	}
	x.learn(name, s)
	x.schedule(name, next)
}

func (x *accountIndex) forget(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.letGo(name, x.known[name].tokens...)
	delete(x.known, name)
	_, _ = x.due.PopByKey(name)
}

// wakeClient makes the tasks of a client's accounts due that wait for the client or its
// token endpoint: the client was written, or the token endpoint is reached again. ""
// stands for all clients.
func (x *accountIndex) wakeClient(client string, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var waiting []string
	for name, s := range x.known {
		if s.waiting && (client == "" || s.client == client) {
			waiting = append(waiting, name)
		}
	}
	slices.Sort(waiting) // so that a simulation can be replayed
	for _, name := range waiting {
		if item, err := x.due.PopByKey(name); err == nil && item != nil { // it has a task
			x.schedule(name, account.Task{Kind: account.RefreshTask, At: now})
		}
	}
}

// knows reports whether the index knows the account with these settings.
func (x *accountIndex) knows(name string, settings int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, known := x.known[name]
	return known && s.settings == settings
}

// changes counts how often an account whose task is in progress has changed.
func (x *accountIndex) changes(name string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.inProgress[name]; c != nil {
		return c.count
	}
	return 0
}

// done puts an account that pop has returned back into the queue, for its next task.
// seen is what changes returned before next was determined: a later change counts more.
// No task is due before a time.
func (x *accountIndex) done(name string, next account.Task, seen int, notBefore time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.inProgress[name]; c != nil && c.count != seen {
		next = c.next
	}
	delete(x.inProgress, name)
	if _, known := x.known[name]; !known {
		return
	}
	if next.At.Before(notBefore) {
		next.At = notBefore
	}
	x.schedule(name, next)
}

// pop removes and returns an account that is due; the caller must call done.
// Otherwise it returns the time until the next one is due; ok is false if the queue is
// empty.
func (x *accountIndex) pop(now time.Time) (name string, wait time.Duration, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	item, err := x.due.Pop()
	if err != nil {
		return "", 0, false
	}
	at := time.UnixMilli(item.Priority + 1) // it was cut to the millisecond
	if now.Before(at) {
		_ = x.due.Push(item)
		return "", at.Sub(now), true
	}
	x.inProgress[item.Key] = &change{}
	return item.Key, 0, true
}

// Overview is how the accounts of a mount are.
type Overview struct {
	Known        int                   // accounts that the scan has read, or a reader
	ScanComplete bool                  // all have been read since the start
	States       map[account.State]int // of those that are known
	Unsaved      int                   // rescue copies
	Spares       map[account.SpareState]int
	Problems     []account.Problem    // the accounts that need a person, in order of their names
	ProblemCount int                  // how many there are, whatever the limit
	Ending       map[string]time.Time // authorizations that end soon, by account
	Gates        []GateStatus         // of the token endpoints
	ClockSkew    time.Duration        // how far the server's clock is ahead of ours; 0 if by a minute at most
	Background   BackgroundStatus
	Oldest       time.Time // when the oldest living refresh token was issued; zero if none is known
}

// BackgroundStatus is how the plugin's own exchanges keep up.
type BackgroundStatus struct {
	Rate         int           // how many may begin a second
	DuePerSecond float64       // how many are due a second while all is well
	Lag          time.Duration // how late the most overdue task is that has not begun; 0 if none is due
}

// lag is how long the first task in the queue could have run, and was known, but has not
// begun. The caller holds mu.
func (x *accountIndex) lag(now time.Time) time.Duration {
	item, err := x.due.Pop()
	if err != nil {
		return 0
	}
	_ = x.due.Push(item)
	since, _ := item.Value.(time.Time)
	return max(0, now.Sub(since))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// overview sums up. At most limit problems and ending authorizations are listed.
func (x *accountIndex) overview(now, soon time.Time, limit int) Overview {
	x.mu.Lock()
	defer x.mu.Unlock()
	o := Overview{
		Known: len(x.known), Background: BackgroundStatus{Lag: x.lag(now)}, States: map[account.State]int{}, Spares: map[account.SpareState]int{}, Ending: map[string]time.Time{},
	}
	for name, s := range x.known {
		o.States[s.state]++
		o.Spares[s.spare]++
		o.Background.DuePerSecond += float64(s.rate)
		if s.unsaved {
			o.Unsaved++
		}
		if s.state != account.StateDead && (o.Oldest.IsZero() || s.used < o.Oldest.Unix()) {
			o.Oldest = time.Unix(s.used, 0).UTC()
		}
		if s.attention != nil && s.from <= now.Unix() {
			o.Problems = append(o.Problems, *s.attention)
		}
		if s.expires != 0 && s.expires < soon.Unix() && len(o.Ending) < limit {
			o.Ending[name] = time.Unix(s.expires, 0).UTC()
		}
	}
	slices.SortFunc(o.Problems, func(a, b account.Problem) int { return strings.Compare(a.Account, b.Account) })
	o.ProblemCount = len(o.Problems)
	o.Problems = o.Problems[:min(limit, len(o.Problems))]
	return o
}
