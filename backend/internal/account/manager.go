package account

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// closeMargin is what Close waits for what comes after a POST: the Put.
const closeMargin = 5 * time.Second

// Settings are the mount's settings that matter here.
type Settings struct {
	MinTTL          time.Duration
	ExchangeTimeout time.Duration // bounds one POST; an exchange may take more than one
	// KeepaliveInterval is how long a grant may go unused; 0: for ever.
	KeepaliveInterval time.Duration
	// AuthorizationLifetime is how long an authorization lasts; 0: not known.
	AuthorizationLifetime time.Duration
}

// Client is an OAuth client, ready for an exchange. Its RevokeURL is "" where
// nothing may be sent to it.
type Client struct {
	oauth.Client
	// PreviousSecret is tried where the server refuses Secret; unset: none.
	PreviousSecret oauth.Secret
	// Revision changes with every write of the client.
	Revision string
}

// Clients finds OAuth clients. Implementations are safe for concurrent use.
type Clients interface {
	// Client returns nil, nil where there is no such client. An *[Error] says
	// why the client must not be used; the account's name is added to it.
	Client(ctx context.Context, name string) (*Client, error)
	// SecretWorked is told that the server has accepted the client's Secret of
	// that revision, so that PreviousSecret can be forgotten.
	SecretWorked(ctx context.Context, name, revision string) error
}

// Exchanger talks to the authorization server; see [oauth.Exchanger].
type Exchanger interface {
	Refresh(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result
	RedeemCode(ctx context.Context, client oauth.Client, code oauth.Code) oauth.Result
	LogIn(ctx context.Context, client oauth.Client, credentials oauth.Credentials) oauth.Result
	Revoke(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result
}

var _ Exchanger = (*oauth.Exchanger)(nil)

// Purpose is what a POST to the authorization server is for. The values are part
// of the plugin's interface.
type Purpose string

// The purposes.
const (
	ForRefresh Purpose = "refresh" // the account's grant
	ForSpare   Purpose = "spare"   // its spare grant
	ForLogin   Purpose = "login"
	ForRevoke  Purpose = "revoke"
)

// Options are what a Manager works with. All are required.
type Options struct {
	Storage   Storage
	Clients   Clients
	Exchanger Exchanger
	// Settings returns the mount's settings; it is called for every read and
	// must be cheap.
	Settings func(ctx context.Context) (Settings, error)
	// Writable returns ErrReadOnly where this node must not write. It is asked
	// before each exchange.
	Writable func() error
	// Process is this process's identity, different for each start.
	Process string
	// NewID returns a random identifier.
	NewID func() string
	// Jitter returns random numbers in [0, 1).
	Jitter func() float64
	// Notify is told what happens to accounts, in order for each. It is called
	// while the account's lock is held and must not wait for anything.
	Notify func(Event)
	// Observe is told what became of each POST. It must not wait for anything.
	Observe func(Purpose, oauth.Result)
	Logger  hclog.Logger
}

// Manager holds all accounts of a mount. All methods are safe for concurrent
// use. Errors about an account are *[Error] or a bare [ErrReadOnly]; those of the
// functions that an Update, a Login and a Delete come with are returned as they are.
type Manager struct {
	Options
	store  store
	table  table
	census census
	tender tender

	// ctx is the context of flights; it ends when Close has waited long enough.
	ctx    context.Context
	cancel context.CancelFunc
	// open ends when Close is called: nothing new begins.
	open context.Context
	shut context.CancelFunc

	mu          sync.Mutex // guards the order of open's end and flights.Add, and what follows
	flights     sync.WaitGroup
	postsEnd    time.Time     // no POST is under way after it
	longestPost time.Duration // the exchange_timeout at the last POST
}

// NewManager returns a Manager. Call Close when it is not needed any more.
func NewManager(o Options) *Manager {
	m := &Manager{Options: o, store: store{o.Storage}, census: newCensus(), tender: newTender()}
	m.table.note = m.note
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.open, m.shut = context.WithCancel(m.ctx)
	return m
}

// Get returns the account as memory or else the storage has it. It must not be
// changed.
func (m *Manager) Get(ctx context.Context, name string) (*Account, error) {
	if s := m.table.find(name); s != nil {
		if a := s.look(); a != nil {
			return a, nil
		}
	}
	epoch := m.table.epoch.Load()
	a, err := m.store.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, notFound(name)
	}
	return m.table.fill(m.table.findOrMake(name), a, epoch), nil
}

// List returns the names of all accounts, in order. Its error is about no account, and
// so no *[Error].
func (m *Manager) List(ctx context.Context) ([]string, error) {
	names, err := m.store.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("storage failed while listing the accounts: %w; see Vault's log, mend the storage and try again", err)
	}
	return names, nil
}

// Update changes an account under its lock, after an exchange that is under
// way. change gets a copy of the account, nil where there is none, and returns
// the one to store, or an error, which Update returns as it is. A failed Update
// may have taken effect.
func (m *Manager) Update(ctx context.Context, name string, change func(*Account) (*Account, error)) error {
	s, release, err := m.acquire(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	old, err := m.read(ctx, s, name)
	if err != nil {
		return err
	}
	if old != nil {
		c := *old
		old = &c
	}
	a, err := change(old)
	if err != nil {
		return err
	}
	if err := m.mark(ctx, name, old, a); err != nil {
		return err
	}
	if err := m.store.put(ctx, name, a, storageTimeout); err != nil {
		if errors.Is(err, ErrReadOnly) {
			return ErrReadOnly
		}
		// It may have taken effect. Readers ask the storage, unless memory knows
		// more than that: then the change counts, on top of what memory knows.
		if s.ahead == nil {
			m.table.drop(name)
		} else {
			s.ahead = a
			s.publish(a)
		}
		return storageError(name, "writing the account", err)
	}
	s.ahead = nil
	s.publish(a)
	if old != nil && old.AutoRefresh && !a.AutoRefresh {
		m.unmark(ctx, name)
	}
	m.Logger.Info("account written", "account", name, "client", a.Client, "state", a.State(), "spare", a.SpareState())
	m.notify(EventWritten, name, a)
	return nil
}

// mark sets the mark of an account that becomes one that is refreshed in the
// background, before the account says so. A mark that stays behind costs one read
// after each start.
func (m *Manager) mark(ctx context.Context, name string, old, a *Account) error {
	if !a.AutoRefresh || (old != nil && old.AutoRefresh) {
		return nil
	}
	err := m.store.mark(ctx, name)
	if errors.Is(err, ErrReadOnly) {
		return ErrReadOnly
	}
	if err != nil {
		return storageError(name, "writing the account", err)
	}
	return nil
}

func (m *Manager) unmark(ctx context.Context, name string) {
	if err := m.store.unmark(ctx, name); err != nil {
		m.Logger.Debug("a mark of a background refresh stays behind", "account", name, "error", err)
	}
}

// acquire takes the lock of an account for a mutator. It waits for an exchange
// and its prompt retry, but not for a storage that has been down for long.
func (m *Manager) acquire(ctx context.Context, name string) (*slot, func(), error) {
	settings, err := m.Settings(ctx)
	if err != nil {
		return nil, nil, storageError(name, "reading the mount's config", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*settings.ExchangeTimeout+storageTimeout)
	defer cancel()
	s := m.table.findOrMake(name)
	release, err := s.acquire(ctx)
	if err != nil && m.open.Err() != nil {
		return nil, nil, closing(name)
	}
	if err != nil {
		return nil, nil, &Error{Kind: KindUnavailable, Account: name, Text: "an exchange is under way, or its result could not be saved yet; nothing was changed; try again"}
	}
	return s, release, nil
}

// read returns the account for the holder of its lock: what memory knows beyond
// the storage, or else the storage. It returns nil, nil where there is none.
func (m *Manager) read(ctx context.Context, s *slot, name string) (*Account, error) {
	if s.ahead != nil {
		return s.ahead, nil
	}
	return m.store.get(ctx, name)
}

// Invalidate is told that another node has changed the entry of that name.
func (m *Manager) Invalidate(name string) { m.table.drop(name) }

// Close refuses new exchanges, and waits for those under way and for rescue copies
// to be saved: as long as an exchange may take that was just announced, and 5 s
// more. Where nothing is under way, it does not wait.
func (m *Manager) Close() {
	m.mu.Lock()
	m.shut()
	m.mu.Unlock()

	landed := make(chan struct{})
	go func() {
		m.flights.Wait()
		close(landed)
	}()
	began := clock()
	for waitFor(landed, m.end(began)) {
		if end := m.end(began); !clock().Before(end) {
			m.Logger.Error("stopped waiting for exchanges under way and unsaved refresh tokens")
			break
		} // else a POST has begun meanwhile, of an exchange that was under way
	}
	m.cancel()
}

// waitFor waits for landed; it returns true where end comes first.
func waitFor(landed <-chan struct{}, end time.Time) bool {
	timer := time.NewTimer(end.Sub(clock()))
	defer timer.Stop()
	select {
	case <-landed:
		return false
	case <-timer.C:
		return true
	}
}

// end is when a Close that began at a time stops waiting, as it looks now.
func (m *Manager) end(began time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return later(began.Add(m.longestPost), m.postsEnd).Add(closeMargin)
}

// posting notes that a POST goes out, or is announced, that is over at the
// deadline, and takes no longer than timeout.
func (m *Manager) posting(deadline time.Time, timeout time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.longestPost = timeout
	if deadline.After(m.postsEnd) {
		m.postsEnd = deadline
	}
}

func (m *Manager) env(s Settings) Env {
	return Env{Now: clock(), Process: m.Process, MinTTL: s.MinTTL}
}

// clock is the wall clock in UTC without the monotonic reading: the times are
// stored and compared on other machines.
func clock() time.Time { return time.Now().UTC().Round(0) }
