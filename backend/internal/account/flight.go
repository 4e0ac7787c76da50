package account

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// flight is an exchange that callers wait for, from the moment that someone
// wants one to the moment that its outcome can be read from the account. It may
// be several POSTs: a prompt retry, a previous client secret, a spare grant.
type flight struct {
	started time.Time
	done    chan struct{} // closed when the flight has landed

	// What follows is written before done is closed and read after it.
	tried     bool  // an exchange was run; its outcome stands in the account
	succeeded bool  // the account has a new access token
	err       error // why no exchange was run

	// begun is the account whose intent is written, for the goroutine that
	// flies; nil: none.
	begun *Account
	// ofSpare tells that the intent is the spare's.
	ofSpare bool
}

// join returns the account's flight, and starts one where there is none.
func (m *Manager) join(name string, ask Ask) (*flight, error) {
	s := m.table.findOrMake(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight, nil
	}
	if !m.enter() {
		return nil, closing(name)
	}
	s.flight = &flight{started: time.Now(), done: make(chan struct{})}
	go m.fly(s, name, s.flight, ask)
	return s.flight, nil
}

// enter counts a flight, unless Close was called.
func (m *Manager) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open.Err() != nil {
		return false
	}
	m.flights.Add(1)
	return true
}

// land lets those go who wait for the flight. Only the first call counts.
func (s *slot) land(f *flight, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == f {
		s.flight = nil
		f.err = err
		close(f.done)
	}
}

// fly runs a flight on a goroutine of its own. No caller's context reaches it.
func (m *Manager) fly(s *slot, name string, f *flight, ask Ask) {
	defer m.flights.Done()
	release, err := s.acquire(m.open)
	if err != nil {
		s.land(f, closing(name))
		return
	}
	defer release()
	defer func() {
		if p := recover(); p != nil {
			err = m.contain(s, name, f, p)
		}
		s.land(f, err)
	}()
	err = m.exchange(s, name, f, ask)
}

// contain turns a panic into an error. An exchange that was begun is in doubt
// then.
func (m *Manager) contain(s *slot, name string, f *flight, p any) error {
	if f.begun != nil {
		o := outcome{Result: oauth.Result{Reason: "an internal error came between", SentAt: clock(), AnsweredAt: clock()}}
		settled, _ := f.begun.settle(o)
		if f.ofSpare {
			settled = f.begun.settleSpare(o)
		}
		s.ahead = &settled
		s.publish(&settled)
	}
	return m.panicked(name, p)
}

func (m *Manager) panicked(name string, p any) *Error {
	m.Logger.Error("panic in an exchange", "account", name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return &Error{Kind: KindStorage, Account: name, Text: "internal error in an exchange; see Vault's log and report it"}
}

// exchange is what a flight does under the account's lock: it reads again,
// decides again, and exchanges where that is still wanted.
func (m *Manager) exchange(s *slot, name string, f *flight, ask Ask) error {
	prepare := m.prepareEarly(name, s.cached.Load())
	a, err := m.read(m.open, s, name)
	if err != nil {
		return err
	}
	if a == nil {
		m.table.drop(name)
		return notFound(name)
	}
	s.publish(a)
	settings, err := m.Settings(m.open)
	if err != nil {
		return storageError(name, "reading the mount's config", err)
	}
	client, err := prepare(a.Client)
	if err != nil {
		return err
	}
	env := m.env(settings)
	env.ClientRevision = client.Revision
	if ask.task != noTask {
		if c := a.chore(env, settings.KeepaliveInterval, spread(name)); c.task != ask.task || env.Now.Before(c.at) {
			return nil // somebody has done it, or it is not wanted any more
		}
	}
	if ask.task == spareTask {
		return m.refreshSpare(s, name, f, a, client, settings.ExchangeTimeout)
	}
	switch Decide(a, env, ask).Action {
	case Exchange:
		return m.rotate(s, name, f, a, client, settings.ExchangeTimeout)
	case LogIn:
		return m.logInAgain(s, name, f, a, client, settings.ExchangeTimeout)
	}
	return nil
}

// rotate presents the account's refresh token until the outcome is known or has
// to be waited for, and saves it.
func (m *Manager) rotate(s *slot, name string, f *flight, a *Account, client *Client, timeout time.Duration) error {
	for {
		begun, err := m.announce(name, a.begin, client, timeout)
		if err != nil {
			return m.notAnnounced(s, name, a, err)
		}
		f.begun = begun
		jitter := m.Jitter()
		result, current := m.present(ForRefresh, begun.Grant.Intent.Deadline, client, timeout, func(ctx context.Context, c oauth.Client) oauth.Result {
			return m.Exchanger.Refresh(ctx, c, begun.Grant.RefreshToken)
		})
		settled, step := begun.settle(outcome{Result: result, clientRevision: client.Revision, jitter: jitter})
		// From here on a panic must not bring back the account before the answer, whose
		// token may be spent.
		f.begun, s.ahead = nil, &settled
		f.tried = true
		f.succeeded = result.Outcome == oauth.Succeeded && settled.Failure == nil
		switch {
		case step == retryPromptly && m.pause(time.Second+time.Duration(jitter*float64(time.Second))):
			m.report(name, begun, &settled, result)
			a = &settled
			continue
		case step == useSpare && m.open.Err() == nil && !settled.Grant.free(Env{Process: m.Process}).After(clock()):
			m.report(name, begun, &settled, result)
			a = &settled
			continue
		case step == logIn && m.open.Err() == nil:
			// Whether a person is needed, the login's end tells.
			m.Logger.Warn("grant died; logging in with the kept password", "account", name, "client", a.Client, "error", settled.LastError.Message)
			return m.logInAgain(s, name, f, &settled, client, timeout)
		}
		m.save(s, name, f, begun, &settled, result)
		if result.Outcome == oauth.Succeeded && current {
			s.land(f, nil)
			m.secretWorked(a.Client, client)
		}
		return nil
	}
}

// secretWorked is called when the server has accepted the client's current
// secret.
func (m *Manager) secretWorked(name string, client *Client) {
	if !client.PreviousSecret.IsSet() {
		return
	}
	if err := m.Clients.SecretWorked(m.ctx, name, client.Revision); err != nil {
		m.Logger.Warn("the previous client secret is kept: forgetting it failed", "client", name, "error", err)
	}
}

// save writes the outcome: one Put, access token, refresh token and metadata
// together. A failed Put of new tokens is not the end; see rescue.go. Nothing that
// can fail, and nothing that may wait, stands between the answer and the Put.
func (m *Manager) save(s *slot, name string, f *flight, before, a *Account, r oauth.Result) {
	err := m.store.put(m.ctx, name, a, storageTimeout)
	m.report(name, before, a, r)
	switch {
	case err == nil:
		s.ahead = nil
		s.publish(a)
	case r.Outcome == oauth.Succeeded:
		m.rescue(s, name, a, err, func() { s.land(f, nil) })
	default:
		s.publish(a)
		m.Logger.Warn("the outcome of an exchange is kept in memory: saving it failed", "account", name, "error", err)
	}
}

// pause waits; it returns false where Close was called meanwhile.
func (m *Manager) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.open.Done():
		return false
	}
}

// report writes one line of log for an exchange, at a level that says whether
// anybody has to do anything, and tells those who watch.
func (m *Manager) report(name string, before, after *Account, r oauth.Result) {
	fields := []any{
		"account", name, "client", before.Client, "outcome", r.Outcome.String(), "state", after.State(),
		// As text: on the way to Vault's log a Duration becomes a number of nanoseconds.
		"duration", r.AnsweredAt.Sub(r.SentAt).Round(time.Millisecond).String(),
	}
	if r.Reason != "" {
		fields = append(fields, "reason", r.Reason)
	}
	switch {
	case r.Outcome == oauth.Succeeded:
		m.Logger.Info("token refreshed", append(fields, "expires", stamp(r.SentAt.Add(r.Tokens.ExpiresIn)))...)
		m.notify(EventRefreshed, name, after)
	case after.SpareUsed && !before.SpareUsed:
		m.Logger.Warn("grant died; its spare has taken over; enrol another spare", append(fields, "error", after.LastError.Message)...)
		m.notify(EventSpareUsed, name, after)
	case after.Grant.Death != nil && after.Grant.Death != before.Grant.Death:
		m.Logger.Error("grant died; reauthorization required", append(fields, "error", after.LastError.Message)...)
		m.notify(EventReauthorizationRequired, name, after)
	default:
		m.Logger.Warn("exchange failed", append(fields, "next_attempt", stamp(after.Failure.NextAttempt))...)
		m.notify(EventRefreshFailed, name, after)
	}
}
