package rotation

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// exchangeRun is an exchange that callers wait for, from the moment that someone wants
// one to the moment that its outcome can be read from the account. It may take several
// POSTs: a prompt retry, a previous client secret, another grant.
type exchangeRun struct {
	started time.Time
	request account.ReadRequest
	task    account.TaskKind // NoTask if a reader or an operator wants it
	done    chan struct{}    // closed when the run has finished

	// What follows is written before done is closed and read after it.
	tried     bool  // an exchange for readers was run; its outcome stands in the account
	succeeded bool  // the account has a new access token
	err       error // why no exchange was run

	// begun is the account whose intent is written, for the goroutine that runs; nil
	// if there is none. grant is the index of the grant that is presented.
	begun *account.Account
	grant int
}

// joinOrStart returns the exchange of the account that is in progress, and starts one
// if there is none.
func (m *Manager) joinOrStart(name string, r account.ReadRequest, task account.TaskKind) (*exchangeRun, error) {
	e := m.cache.findOrMake(name)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.run != nil {
		return e.run, nil
	}
	leave, ok := m.work.Enter()
	if !ok {
		return nil, closing(name)
	}
	run := &exchangeRun{started: time.Now(), request: r, task: task, done: make(chan struct{})}
	e.run = run
	go func() {
		defer leave()
		m.runExchange(name, run)
	}()
	return run, nil
}

// finish ends the waiting for the run. Only the first call counts.
func (e *entry) finish(run *exchangeRun, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.run == run {
		e.run = nil
		run.err = err
		close(run.done)
	}
}

// runExchange runs an exchange on a goroutine of its own. No caller's context reaches
// it.
func (m *Manager) runExchange(name string, run *exchangeRun) {
	for {
		l, err := m.tryLock(m.open(), name)
		if err == nil && m.work.Closed() {
			l.release()
		}
		if err != nil || m.work.Closed() {
			m.cache.findOrMake(name).finish(run, closing(name))
			return
		}
		wait := l.attempt(run)
		if wait == nil {
			return
		}
		wait.gate.wait(m.open(), wait.turn)
	}
}

// attempt runs an exchange, finishes the run and releases the lock. If the exchange has to
// wait for its turn, it only releases the lock, and returns what to wait for.
func (l *lockedAccount) attempt(run *exchangeRun) (wait *turnError) {
	var err error
	defer l.release()
	defer func() {
		if p := recover(); p != nil {
			err = l.recoverExchange(run, p)
		}
		if !errors.As(err, &wait) {
			l.entry.finish(run, err)
		}
	}()
	err = l.exchange(run)
	return wait
}

// turnError says that an exchange has to wait for its turn at a gate.
type turnError struct {
	gate *gate
	turn chan struct{}
}

func (*turnError) Error() string { return "rotation: the exchange has to wait for its turn" }

// recoverExchange turns a panic into an error. An exchange that was begun is in doubt
// then.
func (l *lockedAccount) recoverExchange(run *exchangeRun, p any) error {
	if run.begun != nil {
		now := l.m.opts.Now()
		settled, _ := run.begun.Settle(run.grant, account.Outcome{Result: oauth.Result{Reason: "an internal error interrupted it", SentAt: now, AnsweredAt: now}})
		l.keep(settled)
	}
	return l.m.panicked(l.name, p)
}

func (m *Manager) panicked(name string, p any) error {
	m.opts.Logger.Error("panic in an exchange", "account", name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return &account.Error{Kind: account.KindStorage, Account: name, Text: "internal error in an exchange; see Vault's log and report it"}
}

// exchange loads the account again, decides again, and runs the exchange if it is
// still wanted.
func (l *lockedAccount) exchange(run *exchangeRun) error {
	prepare := l.prefetch()
	a, err := l.load(l.m.open())
	if err != nil {
		return err
	}
	if a == nil {
		l.m.cache.drop(l.name)
		return notFound(l.name)
	}
	if shown := l.entry.cached.Load(); shown == nil || shown.Generation != a.Generation { // else it may know of an exchange that could not begin
		l.entry.publish(a)
	}
	settings, err := l.m.opts.Settings(l.m.open())
	if err != nil {
		return storageError(l.name, "reading the mount's config", err)
	}
	client, err := prepare(a.Client)
	if err != nil {
		return l.notBegun(a, account.FailedSetup, err)
	}
	x := &exchanging{lockedAccount: l, run: run, client: client, timeout: settings.ExchangeTimeout, limit: settings.MaxExchanges}
	defer x.leaveGate()
	c := l.m.conditions(l.entry, settings)
	c.ClientRevision, c.EndpointReached = client.Revision, l.m.gates.reached(a.Client)
	if run.task != account.NoTask {
		due := a.NextTask(c, settings.KeepaliveInterval)
		if due.Kind != run.task || c.Now.Before(due.At) {
			return nil // it is done already, or not wanted any more
		}
		if due.Kind == account.KeepAliveTask {
			return x.rotate(a, due.Grant)
		}
	}
	switch account.Decide(a, c, run.request).Action {
	case account.Exchange:
		return x.rotate(a, a.InUse())
	case account.LogInAgain:
		return x.logInAgain(a)
	}
	return nil
}

// notBegun records in memory that an exchange could not begin, and returns cause with the
// next attempt. If that is news, it writes a line of log and an event. [ErrReadOnly] is
// no failure: another node exchanges.
func (l *lockedAccount) notBegun(a *account.Account, kind account.FailureKind, cause error) error {
	var e *account.Error
	if !errors.As(cause, &e) {
		return cause
	}
	shown := l.entry.cached.Load()
	failed := a.NotBegun(shown, kind, account.Outcome{
		Result: oauth.Result{Reason: e.Text, AnsweredAt: l.m.opts.Now()}, Jitter: l.m.opts.Jitter(), RetryAt: e.NextAttempt,
	})
	failed.Generation = l.generation
	l.entry.publish(&failed)
	f := failed.Current().Failure
	if f == nil || f.Kind != kind {
		return cause
	}
	news := shown == nil || shown.Current().Failure == nil || shown.Current().Failure.Kind != kind
	if news && kind != account.FailedHeldBack { // the gate has said so, once for all accounts
		l.m.opts.Logger.Warn("no exchange can begin; nothing was sent", "account", l.name, "client", a.Client, "reason", e.Text)
		l.m.notify(EventRefreshFailed, l.name, &failed)
	}
	told := *e
	told.NextAttempt = f.NextAttempt
	return &told
}

// exchanging is an exchange of an account whose lock is held.
type exchanging struct {
	*lockedAccount
	run     *exchangeRun
	client  *Client
	timeout time.Duration // of one POST
	limit   int           // the mount's max_exchanges
	gate    *gate         // that the run has passed; nil if it has not
	pass    *gatePass
}

// enterGate takes a pass if one more exchange may begin. The error is a *turnError if it
// has to wait; otherwise exchanges are held back.
func (x *exchanging) enterGate(a *account.Account) error {
	if x.gate != nil {
		return nil
	}
	x.gate = x.m.gates.of(a.Client, x.client)
	pass, turn, err := x.gate.enter(x.name, x.client, x.limit, x.run.request.Force, a.Careful())
	switch {
	case err != nil:
		x.gate = nil
		return x.notBegun(a, account.FailedHeldBack, err)
	case pass == nil:
		return &turnError{x.gate, turn}
	}
	x.pass = pass
	return nil
}

// leaveGate lets the next exchange through.
func (x *exchanging) leaveGate() { x.pass.leave() }

// rotate presents the refresh token of the grant at i until the outcome is known or has
// to be waited for, and saves it. Other grants may follow.
func (x *exchanging) rotate(a *account.Account, i int) error {
	for {
		if err := x.enterGate(a); err != nil {
			return err
		}
		begun, err := x.writeIntent(a, i)
		if err != nil {
			return err
		}
		x.run.begun, x.run.grant = begun, i
		waiting, jitter := i != a.InUse(), x.m.opts.Jitter()
		result, current := x.m.send(purposeOf(waiting), x.client.longest(x.timeout), x.client, x.timeout, func(ctx context.Context, c oauth.Client) oauth.Result {
			return x.m.opts.Exchanger.Refresh(ctx, c, begun.Grants[i].RefreshToken)
		})
		x.gate.report(result)
		settled, next := begun.Settle(i, account.Outcome{Result: result, ClientRevision: x.client.Revision, Jitter: jitter})
		// From here on a panic must not bring back the account before the answer, whose
		// token may be spent.
		x.run.begun = nil
		x.remember(&settled)
		waiting = waiting && settled.RefreshCount == begun.RefreshCount
		if !waiting {
			x.run.tried = true
			x.run.succeeded = result.Outcome == oauth.Succeeded && settled.Current().Failure == nil
		}
		r := report{before: begun, after: &settled, result: result, waiting: waiting}
		switch {
		case next == account.RetryPromptly && x.gate.open(x.run.request.Force) && x.pause(time.Second+time.Duration(jitter*float64(time.Second))):
			x.report(r)
			a = &settled
			continue
		case next == account.UseNextGrant && x.mayGoOn(&settled):
			r.goesOn = true
			x.report(r)
			a, i = &settled, settled.InUse()
			continue
		case next == account.LogIn && !x.m.work.Closed():
			// Whether a person is needed, the outcome of the login tells.
			x.m.opts.Logger.Warn("grant died; logging in with the kept password", "account", x.name, "client", a.Client, "error", settled.LastError.Message)
			return x.logInAgain(&settled)
		}
		x.save(r)
		if result.Outcome == oauth.Succeeded && current {
			x.entry.finish(x.run, nil)
			x.m.secretWorked(a.Client, x.client)
		}
		return nil
	}
}

func purposeOf(waiting bool) Purpose {
	if waiting {
		return ForSpare
	}
	return ForRefresh
}

// save commits the outcome: access token, refresh token and metadata in one Put.
func (x *exchanging) save(r report) {
	c := commit{
		account: *r.after, doing: "saving the outcome of an exchange", ifNot: keepInMemory,
		written: func() {
			x.leaveGate() // a rescue may take long
			x.report(r)
		},
	}
	if r.result.Outcome == oauth.Succeeded {
		c.ifNot, c.served = retry, func() { x.entry.finish(x.run, nil) }
	}
	_ = x.commit(c) // the outcome stands in memory, if not in the storage
}

// mayGoOn reports whether the grant that is in use now may be exchanged at once.
func (x *exchanging) mayGoOn(a *account.Account) bool {
	c := x.m.conditions(x.entry, Settings{})
	c.ClientRevision = x.client.Revision
	return !x.m.work.Closed() && x.gate.open(x.run.request.Force) && a.Hold(c, false).Reason == account.NotHeld
}

// pause waits. It returns false if Close was called meanwhile.
func (x *exchanging) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.m.open().Done():
		return false
	}
}

// report is what is known of a POST that is over, for the log and for events.
type report struct {
	before, after *account.Account
	result        oauth.Result
	waiting       bool // the grant that was presented is not in use
	goesOn        bool // another grant is presented at once
}

// debug logs what helps the server's support to find an exchange that failed.
func (x *exchanging) debug(r oauth.Result) {
	if r.Status != 0 {
		x.m.opts.Logger.Debug("what the server said about an exchange that failed", "account", x.name, "status", r.Status,
			"error_description", r.ErrorDescription, "date", account.Stamp(r.Date), "request_id", r.RequestID)
	}
}

// report writes one line of log for a POST, at a level that says whether a person has
// to act, and one event.
func (x *exchanging) report(r report) {
	log, after := x.m.opts.Logger, r.after
	fields := []any{
		"account", x.name, "client", after.Client, "outcome", r.result.Outcome.String(), "state", after.State(),
		// As text: on the way to Vault's log a Duration becomes a number of nanoseconds.
		"duration", r.result.AnsweredAt.Sub(r.result.SentAt).Round(time.Millisecond).String(),
	}
	if r.result.Reason != "" {
		fields = append(fields, "reason", r.result.Reason)
		x.debug(r.result)
	}
	lost := len(r.after.Grants) < len(r.before.Grants)
	died := r.result.Outcome == oauth.Rejected && r.result.Code == oauth.CodeInvalidGrant
	switch {
	case r.waiting && r.result.Outcome == oauth.Succeeded:
		log.Info("spare refreshed", fields...)
	case r.waiting && lost:
		log.Warn("spare grant died; enrol another", append(fields, "error", after.LastError.Message)...)
		x.m.notify(EventSpareLost, x.name, after)
	case r.waiting:
		log.Warn("exchange of the spare failed", fields...)
	case r.result.Outcome == oauth.Succeeded && after.SpareUsed && !r.before.SpareUsed:
		log.Warn("grant died; its spare has taken over; enrol another spare", append(fields, "error", after.LastError.Message)...)
		x.m.notify(EventSpareUsed, x.name, after)
	case r.result.Outcome == oauth.Succeeded:
		log.Info("token refreshed", append(fields, "expires", account.Stamp(r.result.SentAt.Add(r.result.Tokens.ExpiresIn)))...)
		x.m.notify(EventRefreshed, x.name, after)
	case died && after.Current().Death == nil:
		log.Warn("grant died; the next grant is tried", append(fields, "error", after.LastError.Message)...)
		if !r.goesOn {
			x.m.notify(EventRefreshFailed, x.name, after)
		}
	case died:
		log.Error("grant died; reauthorization required", append(fields, "error", after.LastError.Message)...)
		x.m.notify(EventReauthorizationRequired, x.name, after)
	default:
		log.Warn("exchange failed", append(fields, "next_attempt", account.Stamp(after.NextAttempt(x.m.opts.Now())))...)
		x.m.notify(EventRefreshFailed, x.name, after)
	}
}
