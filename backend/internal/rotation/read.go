package rotation

import (
	"context"
	"errors"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// staleWait bounds how long a reader that still has a valid token waits for an
// exchange. It is measured from the start of the exchange, so readers that arrive
// later do not wait.
const staleWait = 3 * time.Second

// NotSaved warns of a rescue copy.
const NotSaved = "the newest refresh token is not saved yet, because Vault's storage fails; it is kept in memory and saving is being retried"

// maxRounds bounds how often a reader looks again. Each round answers or waits for an
// exchange. More than two happen only if an account is written at the same time.
const maxRounds = 5

// Source is where an answer comes from. The values are part of the plugin's
// interface.
type Source string

// The sources.
const (
	FromCache    Source = "cache"    // memory, or the storage after a start
	FromExchange Source = "exchange" // an exchange that the reader has waited for
	FromStale    Source = "stale"    // a refresh is due that cannot run now: there is a warning
)

// Answer is an access token for a reader.
type Answer struct {
	Source         Source
	Token          *account.AccessToken
	TTL            time.Duration // whole seconds, at least 1
	RotationPeriod time.Duration // whole seconds, at least 1
	Warnings       []string
}

// Cached answers from memory, without a lock and without storage. ok is false if that
// is not enough; call Token then. Nearly every read takes this path.
func (m *Manager) Cached(name string, settings Settings, r account.ReadRequest) (answer Answer, ok bool) {
	e := m.cache.find(name)
	if e == nil {
		return Answer{}, false
	}
	a := e.look()
	if a == nil || a.Unsaved {
		return Answer{}, false
	}
	d := account.Decide(a, m.conditions(e, settings), r)
	if d.Action != account.Serve {
		return Answer{}, false
	}
	return serve(a, d), true
}

// Shared starts or joins the exchange that the read needs, waits for it like Token, and
// returns its token. ok is false if the read needs more; call Token then. Many readers at
// the moment of expiry take this path, and cost little more than cached reads.
func (m *Manager) Shared(ctx context.Context, name string, settings Settings, r account.ReadRequest) (answer Answer, ok bool, err error) {
	e := m.cache.find(name)
	if e == nil {
		return Answer{}, false, nil
	}
	a, c := e.look(), m.conditions(e, settings)
	if a == nil || account.Decide(a, c, r).Action != account.Exchange {
		return Answer{}, false, nil
	}
	run, err := m.await(ctx, name, r, account.NoTask, a.Access.Remaining(c.Now) > 0)
	if err != nil {
		if answer, err = m.lastResort(name, settings, err); isReadOnly(err) {
			return Answer{}, false, nil // Token knows where to go with that
		}
		return answer, err == nil, err
	}
	r.Shared = run.succeeded
	if answer, ok = m.Cached(name, settings, r); ok {
		answer.Source = FromExchange
	}
	return answer, ok, nil
}

// Token returns an access token that works, and runs an exchange if one is due. It
// waits for the exchange as long as ctx lives, and until the exchange has taken
// staleWait if the current token still lives. The exchange itself does not depend on
// ctx. Concurrent callers share one exchange and its result.
func (m *Manager) Token(ctx context.Context, name string, r account.ReadRequest) (Answer, error) {
	for range maxRounds {
		a, settings, err := m.look(ctx, name)
		if err != nil {
			return Answer{}, err
		}
		c := m.conditionsFor(name, settings)
		d := account.Decide(a, c, r)
		if d.Action == account.Refuse && a.WaitsForClient() {
			c.ClientRevision, c.EndpointReached = m.clientRevision(ctx, a), m.gates.reached(a.Client)
			d = account.Decide(a, c, r)
		}
		switch d.Action {
		case account.Serve:
			answer := serve(a, d)
			if r.Shared {
				answer.Source = FromExchange
			}
			return answer, nil
		case account.ServeStale, account.Refuse:
			// Only the node that may write knows whether an exchange is in progress. An
			// exchange finds out by itself where it is.
			if err := m.opts.Writable(); err != nil {
				return Answer{}, err
			}
			why := account.HoldError(name, a, d.Hold, c.Now)
			if d.Action == account.Refuse {
				return Answer{}, why
			}
			return stale(a, d, why), nil
		}
		run, err := m.await(ctx, name, r, account.NoTask, a.Access.Remaining(c.Now) > 0)
		if err != nil {
			return m.lastResort(name, settings, err)
		}
		// A success is good enough for everyone who waited for it. A failure
		// stands in the account and holds the next round.
		r.Shared = run.succeeded
	}
	return Answer{}, contended(name)
}

func contended(name string) error {
	return unavailable(name, "the account is being changed all the time; try again")
}

// Refresh runs the refresh grant now, whatever the token's age, and returns the account
// afterwards. It overrides a wait and, once a call, a dead grant. It joins an exchange
// that is in progress.
func (m *Manager) Refresh(ctx context.Context, name string) (*account.Account, error) {
	for tried, round := false, 0; round < maxRounds; round++ {
		a, settings, err := m.look(ctx, name)
		if err != nil {
			return nil, err
		}
		c := m.conditionsFor(name, settings)
		if tried {
			return a, account.OutcomeError(name, a, c.Now)
		}
		if err := m.opts.Writable(); err != nil {
			return nil, err
		}
		r := account.ReadRequest{Force: true}
		if d := account.Decide(a, c, r); d.Action != account.Exchange {
			return nil, account.HoldError(name, a, d.Hold, c.Now)
		}
		run, err := m.await(ctx, name, r, account.NoTask, false)
		if err != nil {
			return nil, err
		}
		tried = run.tried
	}
	return nil, contended(name)
}

// look returns the account and the mount's settings.
func (m *Manager) look(ctx context.Context, name string) (*account.Account, Settings, error) {
	a, err := m.Get(ctx, name)
	if err != nil {
		return nil, Settings{}, err
	}
	settings, err := m.opts.Settings(ctx)
	if err != nil {
		return nil, Settings{}, storageError(name, "reading the mount's config", err)
	}
	return a, settings, nil
}

// clientRevision returns the revision of the account's client, "" if it is not known.
func (m *Manager) clientRevision(ctx context.Context, a *account.Account) string {
	client, err := m.opts.Clients.Client(ctx, a.Client)
	if err != nil || client == nil {
		return ""
	}
	return client.Revision
}

// await starts or joins an exchange and waits for it: until it has taken staleWait if
// the reader has a living token, otherwise as long as ctx lives.
func (m *Manager) await(ctx context.Context, name string, r account.ReadRequest, task account.TaskKind, live bool) (*exchangeRun, error) {
	run, err := m.joinOrStart(name, r, task)
	if err != nil {
		return nil, err
	}
	var patience <-chan time.Time
	if live {
		timer := time.NewTimer(staleWait - time.Since(run.started))
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case <-run.done:
		return run, run.err
	case <-patience:
		return nil, unavailable(name, "the exchange takes long; it goes on in the background")
	case <-ctx.Done():
		return nil, unavailable(name, "the request ended before the exchange did, which goes on in the background; read again")
	}
}

// lastResort answers a reader whose exchange could not be started or waited for: with
// the current token, if it lives, and a warning.
func (m *Manager) lastResort(name string, settings Settings, cause error) (Answer, error) {
	var why *account.Error
	e := m.cache.find(name)
	if e == nil || !errors.As(cause, &why) { // a node that may write answers ErrReadOnly
		return Answer{}, cause
	}
	a, c := e.cached.Load(), m.conditions(e, settings)
	if a == nil || a.Access.Remaining(c.Now) == 0 {
		return Answer{}, cause
	}
	return stale(a, account.LastResort(a, c, why.NextAttempt), why), nil
}

// serve answers with the current token. If the server may have ended it, a warning says
// so at once.
func serve(a *account.Account, d account.Decision) Answer {
	answer := current(a, d)
	if doubt := a.Doubt(); doubt != "" {
		answer.Warnings = append(answer.Warnings, doubt)
	}
	return answer
}

func current(a *account.Account, d account.Decision) Answer {
	answer := Answer{Source: FromCache, Token: a.Access, TTL: d.TTL, RotationPeriod: d.RotationPeriod}
	if d.Warning != "" {
		answer.Warnings = append(answer.Warnings, d.Warning)
	}
	if a.Unsaved {
		answer.Warnings = append(answer.Warnings, NotSaved)
	}
	return answer
}

// stale answers with the current token although a refresh is due, and says why.
func stale(a *account.Account, d account.Decision, why *account.Error) Answer {
	answer := current(a, d)
	answer.Source = FromStale
	answer.Warnings = append(answer.Warnings, "the access token is valid until "+account.Stamp(a.Access.Expires)+", but could not be refreshed: "+why.Error())
	return answer
}
