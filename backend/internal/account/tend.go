package account

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxChores bounds the exchanges that the plugin runs by itself at one time,
	// and choresPerSecond how many it begins: the server has other clients.
	maxChores       = 32
	choresPerSecond = 50
	// choreRetry is the wait after a chore that could not even begin.
	choreRetry = time.Minute
	// surveyShare is which part of the accounts the survey reads a minute, so that it
	// is done in half an hour, and surveyLeast how many at the least.
	surveyShare = 30
	surveyLeast = 200
	// sweepInterval is how long an account stays in memory that nobody reads, at the
	// least, and half of how long at the most.
	sweepInterval = 10 * time.Minute
)

// tender keeps the accounts: it surveys them after the start, refreshes those that
// are to be refreshed in the background, and keeps idle grants from getting too
// old.
type tender struct {
	limiter *rate.Limiter // of how many chores begin
	slots   chan struct{} // one for each chore under way

	mu       sync.Mutex // guards what follows
	running  bool       // the loop that does what is due
	busy     bool       // a share of the survey is under way
	begun    bool       // the survey has its list
	left     []string   // names that the survey has not come to
	share    int        // how many it comes to a minute
	swept    time.Time  // when the accounts that nobody reads were last taken out of memory
	settings Settings   // at the last kick
}

func newTender() tender {
	return tender{limiter: rate.NewLimiter(choresPerSecond, 1), slots: make(chan struct{}, maxChores)}
}

// Tend is called every minute. It does not wait for anything: it starts what
// keeps the accounts, where this node may write.
func (m *Manager) Tend() {
	m.tender.mu.Lock()
	defer m.tender.mu.Unlock()
	if m.tender.busy || !m.enter() {
		return
	}
	m.tender.busy = true
	go func() {
		defer m.flights.Done()
		m.contained(m.tend)
		m.tender.mu.Lock()
		defer m.tender.mu.Unlock()
		m.tender.busy = false
	}()
}

// contained does work beside the exchanges, whose panic must not end the process, nor
// one of those.
func (m *Manager) contained(work func()) {
	defer func() {
		if p := recover(); p != nil {
			m.Logger.Error("panic in the background work", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	work()
}

// tend starts the loop, once, and reads a share of the accounts. Memory is swept
// on every node: standbys answer reads, too.
func (m *Manager) tend() {
	m.sweep()
	if m.Writable() != nil {
		return
	}
	settings, err := m.Settings(m.open)
	if err == nil {
		m.keepSettings(settings)
		m.startChores()
		err = m.survey()
	}
	if err != nil && m.open.Err() == nil {
		m.Logger.Warn("the accounts could not be surveyed; it goes on in a minute", "error", err)
	}
}

// sweep takes accounts out of memory that nobody reads: those of applications that
// are gone, and those whose grants are only kept alive.
func (m *Manager) sweep() {
	t := &m.tender
	now := clock()
	t.mu.Lock()
	due := now.Sub(t.swept) >= sweepInterval
	if due {
		t.swept = now
	}
	t.mu.Unlock()
	if due {
		m.table.evictUnused()
	}
}

// keepSettings begins the survey anew where the settings have changed: what is due
// when depends on them.
func (m *Manager) keepSettings(settings Settings) {
	t := &m.tender
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settings != settings {
		t.begun = false
		m.census.mu.Lock()
		defer m.census.mu.Unlock()
		clear(m.census.known)
	}
	t.settings = settings
}

// survey reads its share of the accounts that are not known yet: those that are
// refreshed in the background first, and all of them at once.
func (m *Manager) survey() error {
	t := &m.tender
	t.mu.Lock()
	begun, left, share := t.begun, t.left, t.share
	t.mu.Unlock()
	if !begun {
		first, err := m.store.listAuto(m.open)
		if err != nil {
			return err
		}
		all, err := m.store.list(m.open)
		if err != nil {
			return err
		}
		left, share = append(first, all...), max(surveyLeast, (len(all)+surveyShare-1)/surveyShare)
		t.mu.Lock()
		t.share = share
		t.mu.Unlock()
		share += len(first)
	}
	share = min(len(left), share)
	for i, name := range left[:share] {
		if err := m.visit(name); err != nil {
			m.remember(append(slices.Clone(left[i+1:]), name)) // one that cannot be read keeps up no other
			return err
		}
	}
	m.remember(left[share:])
	return nil
}

func (m *Manager) remember(left []string) {
	m.tender.mu.Lock()
	defer m.tender.mu.Unlock()
	m.tender.begun, m.tender.left = true, left
}

// visit reads an account for the census and keeps nothing else of it.
func (m *Manager) visit(name string) error {
	if m.open.Err() != nil {
		return m.open.Err()
	}
	for !m.census.knows(name) {
		epoch := m.table.epoch.Load()
		a, err := m.store.get(m.open, name)
		var e *Error
		if errors.As(err, &e) && e.Unreadable {
			m.Logger.Warn("an account could not be surveyed", "error", e)
			return nil
		}
		if err != nil || a == nil {
			return err
		}
		r, next := m.describe(name, a)
		m.census.setUnknown(name, r, next, func() bool { return m.table.epoch.Load() == epoch })
	}
	return nil
}

// note tells the census of an account.
func (m *Manager) note(name string, a *Account) {
	r, next := m.describe(name, a)
	m.census.set(name, r, next)
}

// describe says what the census has to know of an account.
func (m *Manager) describe(name string, a *Account) (record, chore) {
	m.tender.mu.Lock()
	settings := m.tender.settings
	m.tender.mu.Unlock()
	env := m.env(settings)
	r := record{
		state: a.State(), spare: a.SpareState(), unsaved: a.Unsaved, attention: a.problem(name, env.Now),
		used: later(a.Grant.Authorized, a.Grant.Used).Unix(),
	}
	if settings.AuthorizationLifetime > 0 && a.Grant.Death == nil {
		r.expires = a.Grant.Authorized.Add(settings.AuthorizationLifetime).Unix()
	}
	return r, a.chore(env, settings.KeepaliveInterval, spread(name))
}

// problem says what a person has to do about the account, if anything.
func (a *Account) problem(name string, now time.Time) *Problem {
	p := &Problem{Account: name, State: a.State()}
	switch {
	case a.Grant.Death != nil:
		p.Since, p.Error = a.Grant.Death.Time, a.Grant.Death.describe()
		p.Remedy = fmt.Sprintf("%slog in again: authorize/%s begins a login in a browser", a.describeNextLogin(now), name)
	case a.Failure != nil && (a.Failure.Kind == FailedClient || a.Failure.Kind == FailedRequest) && a.LastError != nil:
		p.Since, p.Error = a.LastError.Time, a.LastError.Message
		p.Remedy = fmt.Sprintf("correct clients/%s; where that is right, log in again: authorize/%s begins a login in a browser", a.Client, name)
	default:
		return nil
	}
	return p
}

// Overview says how the accounts are: from memory, whatever their number. At
// most limit accounts are named in each list; soon is until when an authorization
// counts as ending.
func (m *Manager) Overview(soon time.Time, limit int) Overview {
	o := m.census.overview(soon, limit)
	m.tender.mu.Lock()
	defer m.tender.mu.Unlock()
	o.Surveyed = m.tender.begun && len(m.tender.left) == 0
	return o
}

// startChores starts the loop that does what is due, if it does not run yet.
func (m *Manager) startChores() {
	t := &m.tender
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running || !m.enter() {
		return
	}
	t.running = true
	go func() {
		defer m.flights.Done()
		m.contained(m.doChores)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.running = false
	}()
}

// doChores does what is due until the plugin ends, or until the node may not
// write any more.
func (m *Manager) doChores() {
	for {
		name, wait, found := m.census.take(clock())
		if name == "" {
			if !m.idle(wait, found) {
				return
			}
			continue
		}
		if !m.begin(name) {
			return
		}
	}
}

// begin begins to do an account's chore, as soon as one more may begin. Where it
// cannot, the account goes back to the queue; it returns false then.
func (m *Manager) begin(name string) (begun bool) {
	defer func() {
		if !begun { // a panic is one reason
			m.census.done(name, chore{refreshTask, clock().Add(choreRetry)})
		}
	}()
	if !m.mayBegin() {
		return false
	}
	go func() {
		defer m.flights.Done()
		defer func() { <-m.tender.slots }()
		next := chore{refreshTask, clock().Add(choreRetry)}
		m.contained(func() { next = m.do(name) })
		m.census.done(name, next)
	}()
	return true
}

// mayBegin waits until one more chore may begin, and counts it; it returns false
// where the node may not write any more or the plugin ends.
func (m *Manager) mayBegin() bool {
	if m.tender.limiter.Wait(m.open) != nil || m.Writable() != nil {
		return false
	}
	select {
	case m.tender.slots <- struct{}{}:
	case <-m.open.Done():
		return false
	}
	if !m.enter() {
		<-m.tender.slots
		return false
	}
	return true
}

// idle waits until something may be due; it returns false when the plugin ends.
func (m *Manager) idle(wait time.Duration, timed bool) bool {
	var due <-chan time.Time
	if timed {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
		return true
	case <-m.census.wake:
		return true
	case <-m.open.Done():
		return false
	}
}

// do does an account's chore, in a flight like any other, which looks again
// whether it is still due. It returns what is to be done next, not before some time
// has passed.
func (m *Manager) do(name string) chore {
	again := chore{refreshTask, clock().Add(choreRetry)}
	settings, err := m.Settings(m.open)
	if err != nil {
		return again
	}
	a, err := m.peek(name)
	if err != nil {
		return again
	}
	if a == nil {
		m.census.forget(name)
		return chore{}
	}
	next := a.chore(m.env(settings), settings.KeepaliveInterval, spread(name))
	if next.task == noTask {
		return next
	}
	f, err := m.join(name, Ask{task: next.task})
	if err != nil {
		return again
	}
	select {
	case <-f.done:
	case <-m.open.Done():
		return again
	}
	if a, err = m.peek(name); f.err != nil || err != nil || a == nil {
		return again
	}
	next = a.chore(m.env(settings), settings.KeepaliveInterval, spread(name))
	next.at = later(next.at, clock().Add(time.Second))
	return next
}

// peek returns the account as memory or else the storage has it, without keeping
// it in memory; nil, nil where there is none.
func (m *Manager) peek(name string) (*Account, error) {
	if s := m.table.find(name); s != nil {
		if a := s.cached.Load(); a != nil {
			return a, nil
		}
	}
	return m.store.get(m.open, name)
}
