package account

import (
	"context"
	"errors"
	"time"
)

// staleWait is how long an exchange may take that a reader waits for whose token
// still lives. It counts from the exchange's begin: who comes later than that does
// not wait at all, however many they are.
const staleWait = 3 * time.Second

// NotSaved warns of a rescue copy.
const NotSaved = "the newest refresh token is not saved yet, because Vault's storage fails; it is kept in memory and saving is being retried"

// maxRounds bounds how often a reader looks again. Each round answers or waits
// for an exchange; more than two happen only where an account is written at
// the same time.
const maxRounds = 5

// Source is where an answer comes from. The values are part of the plugin's
// interface.
type Source string

// The sources.
const (
	FromCache    Source = "cache"    // memory, or the storage after a start
	FromExchange Source = "exchange" // the reader waited for one
	FromStale    Source = "stale"    // a refresh is due that cannot run now: there is a warning
)

// Answer is an access token for a reader.
type Answer struct {
	Source         Source
	Token          *AccessToken
	TTL            time.Duration // whole seconds, at least 1
	RotationPeriod time.Duration // whole seconds, at least 1
	Warnings       []string
}

// Cached answers from memory, without a lock and without storage, or not at
// all: ok is false where more has to be done, which Token does. It is the path
// of nearly every read.
func (m *Manager) Cached(name string, settings Settings, ask Ask) (answer Answer, ok bool) {
	s := m.table.find(name)
	if s == nil {
		return Answer{}, false
	}
	a := s.look()
	if a == nil || a.Unsaved {
		return Answer{}, false
	}
	d := Decide(a, m.env(settings), ask)
	if d.Action != Serve {
		return Answer{}, false
	}
	return serve(a, d), true
}

// Shared answers a reader for whom nothing but an exchange is wanted: he begins it, or
// joins it, waits for it as Token says, and shares its token. ok is false where more has
// to be done, which Token does. Many readers at the moment of expiry come here, and cost
// little more than cached reads.
func (m *Manager) Shared(ctx context.Context, name string, settings Settings, ask Ask) (answer Answer, ok bool, err error) {
	s := m.table.find(name)
	if s == nil {
		return Answer{}, false, nil
	}
	a, env := s.look(), m.env(settings)
	if a == nil || Decide(a, env, ask).Action != Exchange {
		return Answer{}, false, nil
	}
	f, err := m.await(ctx, name, ask, a.Access.Remaining(env.Now) > 0)
	switch {
	case errors.Is(err, ErrReadOnly): // where to go with that, Token knows
		return Answer{}, false, nil
	case err != nil:
		answer, err = m.lastResort(name, settings.MinTTL, err)
		return answer, err == nil, err
	}
	ask.shared = f.succeeded
	if answer, ok = m.Cached(name, settings, ask); ok {
		answer.Source = FromExchange
	}
	return answer, ok, nil
}

// Token returns an access token that works, running an exchange where one is
// due. It waits for the exchange as long as ctx lives, and until that has taken
// staleWait where the current token still lives; the exchange itself does not
// depend on ctx. Concurrent callers share one exchange and its result.
func (m *Manager) Token(ctx context.Context, name string, ask Ask) (Answer, error) {
	for range maxRounds {
		a, env, err := m.look(ctx, name)
		if err != nil {
			return Answer{}, err
		}
		d := Decide(a, env, ask)
		if d.Action == Refuse && a.Failure.waitsForClient() {
			d = Decide(a, m.withRevision(ctx, env, a), ask)
		}
		if d.Action == Serve {
			answer := serve(a, d)
			if ask.shared {
				answer.Source = FromExchange
			}
			return answer, nil
		}
		if d.Action == Stale || d.Action == Refuse {
			// Only the node that may write knows whether an exchange is under way. An
			// exchange finds out by itself where it is.
			if err := m.Writable(); err != nil {
				return Answer{}, err
			}
			why := trouble(name, a, d.Block, env.Now)
			if d.Action == Refuse {
				return Answer{}, why
			}
			return stale(a, d, why), nil
		}
		f, err := m.await(ctx, name, ask, a.Access.Remaining(env.Now) > 0)
		if err != nil {
			return m.lastResort(name, env.MinTTL, err)
		}
		// A success is good enough for everyone who waited for it. A failure
		// stands in the account and blocks the next round.
		ask.shared = f.succeeded
	}
	return Answer{}, contended(name)
}

// Refresh runs the refresh grant now, whatever the token's age, and returns
// the account afterwards. It overrides a back-off and, once a call, a dead
// grant. An exchange that is under way is joined.
func (m *Manager) Refresh(ctx context.Context, name string) (*Account, error) {
	for tried, round := false, 0; round < maxRounds; round++ {
		a, env, err := m.look(ctx, name)
		if err != nil {
			return nil, err
		}
		if tried {
			return a, lastFailure(name, a, env.Now)
		}
		if err := m.Writable(); err != nil {
			return nil, err
		}
		ask := Ask{Force: true}
		if d := Decide(a, env, ask); d.Action != Exchange {
			return nil, trouble(name, a, d.Block, env.Now)
		}
		f, err := m.await(ctx, name, ask, false)
		if err != nil {
			return nil, err
		}
		tried = f.tried
	}
	return nil, contended(name)
}

// look returns the account and what a decision has to know beside it.
func (m *Manager) look(ctx context.Context, name string) (*Account, Env, error) {
	a, err := m.Get(ctx, name)
	if err != nil {
		return nil, Env{}, err
	}
	settings, err := m.Settings(ctx)
	if err != nil {
		return nil, Env{}, storageError(name, "reading the mount's config", err)
	}
	return a, m.env(settings), nil
}

// withRevision adds the client's revision, where it can be had.
func (m *Manager) withRevision(ctx context.Context, env Env, a *Account) Env {
	if client, err := m.Clients.Client(ctx, a.Client); err == nil && client != nil {
		env.ClientRevision = client.Revision
	}
	return env
}

// await starts or joins an exchange and waits for it: until it has taken staleWait
// where the reader has a living token, else as long as ctx lives.
func (m *Manager) await(ctx context.Context, name string, ask Ask, live bool) (*flight, error) {
	f, err := m.join(name, ask)
	if err != nil {
		return nil, err
	}
	var patience <-chan time.Time
	if live {
		timer := time.NewTimer(staleWait - time.Since(f.started))
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case <-f.done:
		return f, f.err
	case <-patience:
		return nil, &Error{Kind: KindUnavailable, Account: name, Text: "the exchange takes long; it goes on in the background"}
	case <-ctx.Done():
		return nil, &Error{Kind: KindUnavailable, Account: name, Text: "the request ended before the exchange did, which goes on in the background; read again"}
	}
}

// lastResort answers a reader whose exchange could not be begun or waited for:
// with the current token where it lives, and a warning.
func (m *Manager) lastResort(name string, minTTL time.Duration, cause error) (Answer, error) {
	var e *Error
	if !errors.As(cause, &e) {
		return Answer{}, cause // ErrReadOnly: the node that may write answers
	}
	s := m.table.find(name)
	if s == nil {
		return Answer{}, cause
	}
	a := s.cached.Load()
	now := clock()
	if a == nil || a.Access.Remaining(now) == 0 {
		return Answer{}, cause
	}
	d := Decide(a, Env{Now: now, Process: m.Process, MinTTL: minTTL}, Ask{shared: true})
	d.TTL = minStaleTTL
	return stale(a, d, e), nil
}

// lastFailure tells how an exchange that was waited for has ended.
func lastFailure(name string, a *Account, now time.Time) error {
	switch {
	case a.Grant.Death != nil:
		return trouble(name, a, Block{Reason: BlockDead}, now)
	case a.Failure != nil:
		return trouble(name, a, Block{Reason: BlockFailed, Until: a.Failure.NextAttempt}, now)
	}
	return nil
}

func serve(a *Account, d Decision) Answer {
	answer := Answer{Source: FromCache, Token: a.Access, TTL: d.TTL, RotationPeriod: d.RotationPeriod}
	if d.Warning != "" {
		answer.Warnings = append(answer.Warnings, d.Warning)
	}
	if a.Unsaved {
		answer.Warnings = append(answer.Warnings, NotSaved)
	}
	return answer
}

func stale(a *Account, d Decision, why *Error) Answer {
	answer := serve(a, d)
	answer.Source = FromStale
	answer.Warnings = append(answer.Warnings, "the access token is valid until "+stamp(a.Access.Expires)+", but could not be refreshed: "+why.Error())
	return answer
}
