package rotation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/runner"
)

// closeMargin is what Close waits beyond a POST, for the Put after it.
const closeMargin = 5 * time.Second

// Settings are the mount's settings that matter here.
type Settings struct {
	MinTTL          time.Duration
	ExchangeTimeout time.Duration // bounds one POST; an exchange may take more than one
	// KeepaliveInterval is how long a grant may go unused; 0 for ever.
	KeepaliveInterval time.Duration
	// AuthorizationLifetime is how long an authorization lasts; 0 if it is not known.
	AuthorizationLifetime time.Duration
	// MaxExchanges bounds the exchanges in progress at one time with one token endpoint.
	MaxExchanges int
	// BackgroundRate is how many exchanges a second the plugin begins by itself.
	BackgroundRate int
}

// Client is an OAuth client, ready for an exchange. Its RevokeURL is "" if nothing
// may be sent there.
type Client struct {
	oauth.Client
	// PreviousSecret is tried if the server refuses Secret; unset if there is none.
	PreviousSecret oauth.Secret
	// Revision changes with every write of the client.
	Revision string
}

// Clients finds OAuth clients. Implementations are safe for concurrent use.
type Clients interface {
	// Exists reports whether there is a client of that name.
	Exists(ctx context.Context, name string) (bool, error)
	// Client returns nil, nil if there is no such client. An *[account.Error] says
	// why the client must not be used; the account's name is added to it.
	Client(ctx context.Context, name string) (*Client, error)
	// SecretWorked is told that the server has accepted the client's Secret of
	// that revision, so that PreviousSecret can be forgotten.
	SecretWorked(ctx context.Context, name, revision string) error
}

// PendingLogins are the logins that have begun. Implementations are safe for
// concurrent use.
type PendingLogins interface {
	// Claim makes a login used. claimed is false if there is no such login any more.
	Claim(ctx context.Context, state oauth.Secret) (claimed bool, err error)
	// Cancel ends all logins of an account.
	Cancel(ctx context.Context, account string) error
}

// Exchanger talks to the authorization server; see [oauth.Exchanger].
type Exchanger interface {
	Refresh(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result
	RedeemCode(ctx context.Context, client oauth.Client, code oauth.Code) oauth.Result
	LogIn(ctx context.Context, client oauth.Client, credentials oauth.Credentials) oauth.Result
	Revoke(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result
	// Probe presents a refresh token that was never issued.
	Probe(ctx context.Context, client oauth.Client) oauth.Result
}

var _ Exchanger = (*oauth.Exchanger)(nil)

// Options are what a Manager works with. All are required.
type Options struct {
	Storage       Storage
	Clients       Clients
	PendingLogins PendingLogins
	Exchanger     Exchanger
	// Settings returns the mount's settings. It is called for every read and must be
	// cheap.
	Settings func(ctx context.Context) (Settings, error)
	// Writable returns ErrReadOnly if this node must not write. It is asked before
	// each exchange.
	Writable func() error
	// Now is the wall clock, in UTC and without a monotonic reading: its times are stored
	// and compared on other machines. It may step.
	Now func() time.Time
	// Process identifies this process, and differs after each start.
	Process string
	// NewID returns a random identifier.
	NewID func() string
	// Jitter returns random numbers in [0, 1).
	Jitter func() float64
	// Notify is told what happens to accounts, in order for each. It is called with
	// the account's lock held and must not wait for anything.
	Notify func(Event)
	// Observe is told the outcome of each POST. It must not wait for anything.
	Observe func(Purpose, oauth.Result)
	Logger  hclog.Logger
}

// Manager holds all accounts of a mount. All methods are safe for concurrent use.
// Errors about an account are *[account.Error], [account.ErrUnknownLogin] or a bare
// [ErrReadOnly].
type Manager struct {
	opts       Options
	store      store
	cache      cache
	index      *accountIndex
	background *background
	intents    intentAges
	intentAge  func(id string) time.Duration // intents.age, made once: a cached read allocates nothing
	gates      *gates
	skew       clockSkew

	// work is what Close waits for; nothing new begins once it is closed.
	work *runner.Group
	// ctx is the context of work that has begun. It ends when Close has waited long
	// enough.
	ctx    context.Context
	cancel context.CancelFunc

	mu          sync.Mutex    // guards what follows
	postsEnd    time.Time     // no POST is in progress after it
	longestPost time.Duration // the exchange_timeout at the last POST
}

// NewManager returns a Manager. Call Close when it is not needed any more.
func NewManager(o Options) *Manager {
	m := &Manager{opts: o, store: store{o.Storage}, index: newAccountIndex(o.Now), work: runner.New(o.Logger)}
	m.background = newBackground(m)
	m.gates = newGates(m)
	m.intentAge = m.intents.age
	m.cache.changed = m.background.changed
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// open ends when Close is called.
func (m *Manager) open() context.Context { return m.work.Context() }

// Get returns the account as memory or else the storage has it. It must not be
// changed.
func (m *Manager) Get(ctx context.Context, name string) (*account.Account, error) {
	if e := m.cache.find(name); e != nil {
		if a := e.look(); a != nil {
			return a, nil
		}
	}
	epoch := m.cache.epoch.Load()
	a, err := m.store.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, notFound(name)
	}
	return m.cache.fill(m.cache.findOrMake(name), a, epoch), nil
}

// peek is Get without keeping the account in memory. It returns nil, nil if there is
// no account.
func (m *Manager) peek(name string) (*account.Account, error) {
	if e := m.cache.find(name); e != nil {
		if a := e.cached.Load(); a != nil {
			return a, nil
		}
	}
	return m.store.get(m.open(), name)
}

// List returns the names of all accounts, in order. Its error is about no account, and
// so no *[account.Error].
func (m *Manager) List(ctx context.Context) ([]string, error) {
	names, err := m.store.list(ctx, StoragePrefix)
	if err != nil {
		return nil, fmt.Errorf("storage failed while listing the accounts: %w; see Vault's log, fix the storage and try again", err)
	}
	return names, nil
}

// ClientWritten is told that a client has been written: the accounts that wait for that
// are tried again at once.
func (m *Manager) ClientWritten(name string) { m.index.wakeClient(name, m.opts.Now()) }

// ConfigWritten is told that the mount's config has been written.
func (m *Manager) ConfigWritten() { m.index.wakeClient("", m.opts.Now()) }

// Invalidate is told that another node has changed the entry of that name.
func (m *Manager) Invalidate(name string) { m.cache.drop(name) }

// Close refuses new work, and waits for exchanges in progress and for rescue copies
// to be saved: as long as an exchange may take that has just begun, and 5 s more. If
// nothing is in progress, it does not wait.
func (m *Manager) Close() {
	m.work.Close()
	finished := make(chan struct{})
	go func() {
		m.work.Wait()
		close(finished)
	}()
	began := time.Now()
	for waitFor(finished, m.end(began)) {
		if end := m.end(began); !time.Now().Before(end) {
			m.opts.Logger.Error("stopped waiting for exchanges in progress and unsaved refresh tokens")
			m.cancel()
			return
		} // else an exchange that was in progress has begun another POST
	}
	m.background.unmarkRunning()
	m.cancel()
}

// waitFor waits for finished. It returns true if end comes first.
func waitFor(finished <-chan struct{}, end time.Time) bool {
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-finished:
		return false
	case <-timer.C:
		return true
	}
}

// end is when a Close that began at a time stops waiting, as far as is known now.
func (m *Manager) end(began time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := began.Add(m.longestPost)
	if m.postsEnd.After(end) {
		end = m.postsEnd
	}
	return end.Add(closeMargin)
}

// trackDeadline notes that a POST is sent, or is about to be, that ends at the
// deadline and takes no longer than timeout.
func (m *Manager) trackDeadline(deadline time.Time, timeout time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.longestPost = timeout
	if deadline.After(m.postsEnd) {
		m.postsEnd = deadline
	}
}

// conditions are what a decision about an account has to know that memory knows.
func (m *Manager) conditions(e *entry, s Settings) account.Conditions {
	return account.Conditions{Now: m.opts.Now(), Process: m.opts.Process, MinTTL: s.MinTTL, Spread: e.spread, IntentAge: m.intentAge}
}

// conditionsFor are conditions for an account that need not be in memory.
func (m *Manager) conditionsFor(name string, s Settings) account.Conditions {
	return m.conditions(&entry{spread: account.Spread(name)}, s)
}

// intentAges remembers when this process first saw each intent of another process,
// on its own monotonic clock. The zero value is ready.
type intentAges struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// forgottenAfter is longer than any intent is waited for.
const forgottenAfter = time.Hour

// age returns how long ago the intent was first seen; 0 if that is now.
func (i *intentAges) age(id string) time.Duration {
	now := time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if first, ok := i.seen[id]; ok {
		return now.Sub(first)
	}
	if i.seen == nil {
		i.seen = map[string]time.Time{}
	}
	for id, first := range i.seen {
		if now.Sub(first) > forgottenAfter {
			delete(i.seen, id)
		}
	}
	i.seen[id] = now
	return 0
}
