package rotation

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/runner"
)

const (
	// maxTasks bounds the tasks that are in progress at one time. The gate of their token
	// endpoint bounds the exchanges.
	maxTasks = 1024
	// taskRetry is the wait after a task that could not even begin.
	taskRetry = time.Minute
	// tolerableStep is a step of the wall clock between two ticks that nothing depends on.
	tolerableStep = 2 * time.Second
	// evictInterval is how often unused accounts are evicted. An account that nobody
	// reads stays in memory for one to two intervals.
	evictInterval = 10 * time.Minute
)

// background is what the plugin does by itself: it scans the accounts after the start,
// refreshes those that are to be refreshed in the background, and keeps idle grants
// from getting too old.
type background struct {
	m       *Manager
	ticking runner.Single // one Tick at a time
	tasks   runner.Single // the loop that runs due tasks
	limiter *rate.Limiter // of tasks that begin
	running chan struct{} // one element for each task in progress
	// scanning limits a scan of all accounts at once.
	scanning *rate.Limiter

	mu       sync.Mutex // guards what follows
	settings Settings   // at the last Tick
	// generation counts the changes of settings: what is due when depends on them.
	generation int
	scan       scan
	complete   bool      // a scan has finished since the start
	marked     bool      // the mark that the plugin runs is written
	unclean    bool      // the process before has ended without Close
	evicted    time.Time // when unused accounts were last evicted
	ticked     time.Time // the last tick, with its monotonic reading
	wall       time.Time // the wall clock then
}

func newBackground(m *Manager) *background {
	b := &background{m: m, limiter: rate.NewLimiter(1, 1), running: make(chan struct{}, maxTasks), scanning: rate.NewLimiter(scanRate, scanRate)}
	b.ticking.Group, b.tasks.Group = m.work, m.work
	return b
}

// Tick is called every minute. It does not wait for anything: it starts the background
// work, if this node may write.
func (m *Manager) Tick() {
	m.background.ticking.Start(func(context.Context) { m.background.tick() })
}

// tick starts the loop that runs due tasks, and scans a share of the accounts. It evicts
// unused accounts on every node, because standbys answer reads, too.
func (b *background) tick() {
	b.evict()
	if b.m.opts.Writable() != nil {
		return
	}
	settings, err := b.m.opts.Settings(b.m.open())
	if err == nil {
		err = b.markRunning()
	}
	if err == nil {
		b.setSettings(settings)
		b.noticeStep()
		b.tasks.Start(func(context.Context) { b.runTasks() })
		err = b.scanShare()
	}
	if err != nil && !b.m.work.Closed() {
		b.m.opts.Logger.Warn("the accounts could not be scanned; the scan goes on in a minute", "error", err)
	}
}

func (b *background) evict() {
	now := time.Now()
	b.mu.Lock()
	due := now.Sub(b.evicted) >= evictInterval
	if due {
		b.evicted = now
	}
	b.mu.Unlock()
	if due {
		b.m.cache.evictUnused()
	}
}

// setSettings begins a new scan if the settings have changed. The index keeps what it
// knows until then.
func (b *background) setSettings(settings Settings) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.settings != settings {
		b.settings = settings
		b.limiter.SetLimit(rate.Limit(settings.BackgroundRate))
		b.generation++
		b.scan = scan{}
	}
}

// noticeStep begins a new scan of all accounts at once if the wall clock has stepped since
// the last tick: what is due when depends on it.
func (b *background) noticeStep() {
	now, wall := time.Now(), b.m.opts.Now()
	b.mu.Lock()
	step := wall.Sub(b.wall) - now.Sub(b.ticked)
	stepped := !b.ticked.IsZero() && step.Abs() > tolerableStep
	b.ticked, b.wall = now, wall
	if stepped {
		b.generation++
		b.scan, b.unclean = scan{}, true
	}
	b.mu.Unlock()
	if stepped {
		b.m.opts.Logger.Warn("this machine's clock was set; the plugin reads all accounts again", "by", step.Round(time.Millisecond).String())
	}
}

// rate is how many tasks may begin a second; 0 before the first Tick.
func (b *background) rate() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settings.BackgroundRate
}

// changed tells the index of an account that readers get to see.
func (b *background) changed(name string, a *account.Account) {
	s, next := b.summarize(name, a)
	b.m.index.set(name, s, next)
}

// summarize returns what the index has to know of an account.
func (b *background) summarize(name string, a *account.Account) (summary, account.Task) {
	b.mu.Lock()
	settings, generation := b.settings, b.generation
	b.mu.Unlock()
	c := b.m.conditionsFor(name, settings)
	c.EndpointReached = b.m.gates.reached(a.Client)
	attention, from := a.Attention(name, c.Now)
	s := summary{
		state: a.State(), spare: a.SpareState(), unsaved: a.Unsaved, attention: attention, from: from.Unix(),
		used: a.IdleSince().Unix(), client: a.Client, tokens: a.TokenIDs(), waiting: a.WaitsForClient(), settings: generation,
		rate: float32(a.TaskRate(c, settings.KeepaliveInterval)),
	}
	if end := a.AuthorizationEnd(settings.AuthorizationLifetime); !end.IsZero() && s.state != account.StateDead {
		s.expires = end.Unix()
	}
	return s, a.NextTask(c, settings.KeepaliveInterval)
}

// Overview says how the accounts are: from memory, whatever their number. At most limit
// accounts are named in each list; an authorization that ends before soon counts as
// ending.
func (m *Manager) Overview(soon time.Time, limit int) Overview {
	o := m.index.overview(m.opts.Now(), soon, limit)
	o.ScanComplete, o.Background.Rate = m.background.scanComplete(), m.background.rate()
	o.Gates, o.ClockSkew = m.gates.status(), m.skew.get()
	return o
}

// runTasks runs due tasks until the plugin ends, or until the node may not write any
// more.
func (b *background) runTasks() {
	for {
		name, wait, ok := b.m.index.pop(b.m.opts.Now())
		if name == "" {
			if !b.idle(wait, ok) {
				return
			}
			continue
		}
		if !b.startTask(name) {
			return
		}
	}
}

// idle waits until a task may be due. It returns false when the plugin ends.
func (b *background) idle(wait time.Duration, timed bool) bool {
	var due <-chan time.Time
	if timed {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
		return true
	case <-b.m.index.wake:
		return true
	case <-b.m.open().Done():
		return false
	}
}

// startTask starts an account's task as soon as one more may begin. If it cannot, it
// puts the account back into the queue and returns false.
func (b *background) startTask(name string) (started bool) {
	defer func() {
		if !started { // a panic is one reason
			b.retry(name)
		}
	}()
	if b.limiter.Wait(b.m.open()) != nil || b.m.opts.Writable() != nil {
		return false
	}
	select {
	case b.running <- struct{}{}:
	case <-b.m.open().Done():
		return false
	}
	started = b.m.work.Go(func(context.Context) {
		done := false
		defer func() {
			<-b.running
			if !done {
				b.retry(name)
			}
		}()
		done = b.runTask(name)
	})
	if !started {
		<-b.running
	}
	return started
}

// retry puts an account whose task could not be run back into the queue.
func (b *background) retry(name string) {
	at := b.m.opts.Now().Add(taskRetry)
	b.m.index.done(name, account.Task{Kind: account.RefreshTask, At: at}, b.m.index.changes(name), at)
}

// runTask runs an account's task in an exchange like any other, which checks again
// whether the task is still due. It puts the account back into the queue for its next
// task, or returns false if the task could not be run.
func (b *background) runTask(name string) bool {
	settings, err := b.m.opts.Settings(b.m.open())
	if err != nil {
		return false
	}
	next := func() (account.Task, int, error) {
		seen := b.m.index.changes(name)
		a, err := b.m.peek(name)
		if err != nil || a == nil {
			return account.Task{}, seen, err
		}
		c := b.m.conditionsFor(name, settings)
		c.EndpointReached = b.m.gates.reached(a.Client)
		return a.NextTask(c, settings.KeepaliveInterval), seen, nil
	}
	task, seen, err := next()
	if err != nil {
		return false
	}
	if task.Kind != account.NoTask {
		run, err := b.m.joinOrStart(name, account.ReadRequest{Background: true}, task.Kind)
		if err != nil {
			return false
		}
		select {
		case <-run.done:
		case <-b.m.open().Done():
			return false
		}
		if task, seen, err = next(); err != nil || run.err != nil {
			return false
		}
	}
	b.m.index.done(name, task, seen, b.m.opts.Now().Add(time.Second))
	return true
}
