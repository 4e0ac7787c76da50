package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// memory is a Storage in memory. fault, where set, is asked before each
// operation.
type memory struct {
	mu      sync.Mutex
	entries map[string][]byte
	calls   map[string]int // by verb
	fault   func(verb, key string) fault
}

// fault is what goes wrong with a storage operation.
type fault struct {
	delay time.Duration
	err   error
	// late means that the operation took effect all the same.
	late bool
}

var errDisk = errors.New("disk on fire")

func newMemory() *memory { return &memory{entries: map[string][]byte{}, calls: map[string]int{}} }

func (m *memory) do(ctx context.Context, verb, key string, effect func()) error {
	m.mu.Lock()
	m.calls[verb]++
	ask := m.fault
	m.mu.Unlock()
	var f fault
	if ask != nil {
		f = ask(verb, key)
	}
	if f.delay > 0 {
		select {
		case <-time.After(f.delay):
		case <-ctx.Done():
			if f.err == nil {
				f.err = ctx.Err()
			}
		}
	}
	if f.err == nil || f.late {
		m.mu.Lock()
		effect()
		m.mu.Unlock()
	}
	return f.err
}

func (m *memory) Get(ctx context.Context, key string) (value []byte, err error) {
	err = m.do(ctx, "get", key, func() { value = m.entries[key] })
	if err != nil {
		return nil, err
	}
	return value, nil
}

func (m *memory) Put(ctx context.Context, key string, value []byte) error {
	return m.do(ctx, "put", key, func() { m.entries[key] = slices.Clone(value) })
}

func (m *memory) Delete(ctx context.Context, key string) error {
	return m.do(ctx, "delete", key, func() { delete(m.entries, key) })
}

func (m *memory) List(ctx context.Context, prefix string) (names []string, err error) {
	err = m.do(ctx, "list", prefix, func() {
		for key := range m.entries {
			if name, below := strings.CutPrefix(key, prefix); below {
				names = append(names, name)
			}
		}
	})
	slices.Sort(names)
	return names, err
}

func (m *memory) count(verb string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[verb]
}

// failing makes all operations of some verbs fail until mended.
func (m *memory) failing(err error, verbs ...string) {
	m.setFault(func(verb, _ string) fault {
		if slices.Contains(verbs, verb) {
			return fault{err: err}
		}
		return fault{}
	})
}

func (m *memory) setFault(f func(verb, key string) fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// script is an Exchanger that answers with the results given, in order, and
// records what was presented. Without a script it grants.
type script struct {
	mu        sync.Mutex
	steps     []func(ctx context.Context, presented string) oauth.Result
	presented []string // refresh tokens, in order
	secrets   []string // client secrets, in order
	revoked   []string // refresh tokens, in order
	lifetime  time.Duration
	bare      bool // grants come without a refresh token
	flying    int
	most      int // most exchanges at one time
}

func (s *script) Refresh(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result {
	return s.answer(ctx, client, refreshToken.Reveal())
}

func (s *script) RedeemCode(ctx context.Context, client oauth.Client, code oauth.Code) oauth.Result {
	return s.answer(ctx, client, code.Code.Reveal())
}

func (s *script) LogIn(ctx context.Context, client oauth.Client, c oauth.Credentials, _ string) oauth.Result {
	return s.answer(ctx, client, c.Username+":"+c.Password.Reveal())
}

func (s *script) Revoke(ctx context.Context, _ oauth.Client, refreshToken oauth.Secret) oauth.Result {
	s.mu.Lock()
	s.revoked = append(s.revoked, refreshToken.Reveal())
	step := answer(oauth.Result{Outcome: oauth.Succeeded})
	if len(s.steps) > 0 {
		step, s.steps = s.steps[0], s.steps[1:]
	}
	s.mu.Unlock()
	return step(ctx, refreshToken.Reveal())
}

// answer takes the next step for what is presented: a refresh token, a code, or
// a name and a password.
func (s *script) answer(ctx context.Context, client oauth.Client, presented string) oauth.Result {
	s.mu.Lock()
	s.presented = append(s.presented, presented)
	s.secrets = append(s.secrets, client.Secret.Reveal())
	step := grant
	if len(s.steps) > 0 {
		step, s.steps = s.steps[0], s.steps[1:]
	}
	n := len(s.presented)
	s.flying++
	s.most = max(s.most, s.flying)
	s.mu.Unlock()

	sent := clock()
	r := step(ctx, presented)
	r.SentAt, r.AnsweredAt = sent, clock()
	if r.Outcome == oauth.Succeeded && !r.Tokens.RefreshToken.IsSet() && !s.bare {
		r.Tokens.RefreshToken = oauth.NewSecret(fmt.Sprintf("rt-%d", n))
	}
	if r.Tokens.ExpiresIn == 0 {
		r.Tokens.ExpiresIn = s.lifetime
	}
	s.mu.Lock()
	s.flying--
	s.mu.Unlock()
	return r
}

func (s *script) next(steps ...func(context.Context, string) oauth.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, steps...)
}

func (s *script) posts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.presented)
}

func grant(_ context.Context, presented string) oauth.Result {
	return oauth.Result{Outcome: oauth.Succeeded, Tokens: oauth.Tokens{AccessToken: oauth.NewSecret("at-for-" + presented)}}
}

func grantAfter(d time.Duration) func(context.Context, string) oauth.Result {
	return func(ctx context.Context, presented string) oauth.Result {
		select {
		case <-time.After(d):
			return grant(ctx, presented)
		case <-ctx.Done():
			return oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer came"}
		}
	}
}

func answer(r oauth.Result) func(context.Context, string) oauth.Result {
	return func(context.Context, string) oauth.Result { return r }
}

var (
	noAnswer      = answer(oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer came"})
	unreachable   = answer(oauth.Result{Outcome: oauth.NotSent, Reason: "the endpoint cannot be reached"})
	invalidGrant  = rejected(oauth.CodeInvalidGrant)
	invalidClient = rejected(oauth.CodeInvalidClient)
)

func rejected(code oauth.ErrorCode) func(context.Context, string) oauth.Result {
	return answer(oauth.Result{Outcome: oauth.Rejected, Code: code, Status: 400, Reason: "the server answered " + string(code)})
}

// clients is a Clients with one client, "default".
type clients struct {
	mu     sync.Mutex
	client *Client
	err    error
	worked []string
}

func (c *clients) Client(_ context.Context, name string) (*Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || name != DefaultClient || c.client == nil {
		return nil, c.err
	}
	copied := *c.client
	return &copied, nil
}

func (c *clients) SecretWorked(_ context.Context, _, revision string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worked = append(c.worked, revision)
	return nil
}

func (c *clients) set(client *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client = client
}

// fixture is a Manager with everything around it.
type fixture struct {
	*Manager
	t        *testing.T
	storage  *memory
	server   *script
	clients  *clients
	settings Settings
	readOnly atomic.Bool
	log      *strings.Builder
	noting   sync.Mutex
	events   []Event // noting guards it
}

// inBubble runs a test in a synctest bubble, with a fixture whose Manager is
// closed at the end.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{
			t: t, storage: newMemory(), server: &script{lifetime: 600 * time.Second},
			clients:  &clients{client: &Client{Client: oauth.Client{ID: "id", Secret: oauth.NewSecret("secret"), RevokeURL: "https://sso.example/revoke"}, Revision: "r1"}},
			settings: Settings{MinTTL: 2 * time.Minute, ExchangeTimeout: 15 * time.Second},
		}
		f.restart("process-1")
		defer func() { f.Close() }()
		test(t, f)
	})
}

// restart puts a new process in the place of the old one, which is not closed.
func (f *fixture) restart(process string) {
	f.log = &strings.Builder{}
	f.Manager = NewManager(Options{
		Storage: f.storage, Clients: f.clients, Exchanger: f.server,
		Settings: func(context.Context) (Settings, error) { return f.settings, nil },
		Writable: func() error {
			if f.readOnly.Load() {
				return ErrReadOnly
			}
			return nil
		},
		Process: process, NewID: func() string { return "intent" }, Jitter: func() float64 { return 0.5 },
		Notify: func(e Event) {
			f.noting.Lock()
			defer f.noting.Unlock()
			f.events = append(f.events, e)
		},
		Observe: func(Purpose, oauth.Result) {},
		Logger:  hclog.New(&hclog.LoggerOptions{Output: f.log, Level: hclog.Trace, Mutex: &sync.Mutex{}}),
	})
}

// enrol stores an account with a refresh token "rt-0".
func (f *fixture) enrol(name string, more ...func(*Change)) {
	f.t.Helper()
	c := Change{RefreshToken: oauth.NewSecret("rt-0")}
	for _, change := range more {
		change(&c)
	}
	if err := f.write(name, c); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) write(name string, c Change) error {
	return f.Update(context.Background(), name, func(old *Account) (*Account, error) {
		a, _, err := c.Apply(name, old, clock())
		return a, err
	})
}

func withSpare(c *Change) { c.SpareRefreshToken = oauth.NewSecret("spare-0") }

// token reads a token and wants one.
func (f *fixture) token(name string) Answer {
	f.t.Helper()
	a, err := f.Token(context.Background(), name, Ask{})
	if err != nil {
		f.t.Fatalf("no token: %v", err)
	}
	return a
}

// refused reads a token and wants an error of a kind.
func (f *fixture) refused(name string, kind ErrorKind) *Error {
	f.t.Helper()
	a, err := f.Token(context.Background(), name, Ask{})
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		f.t.Fatalf("got %v, %v; want an error of kind %d", a, err, kind)
	}
	if !strings.Contains(e.Error(), name) {
		f.t.Errorf("the error does not name the account: %v", e)
	}
	return e
}

// account reads the account as users see it.
func (f *fixture) account(name string) *Account {
	f.t.Helper()
	a, err := f.Get(context.Background(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// stored reads the account from the storage, past all memory.
func (f *fixture) stored(name string) *Account {
	f.t.Helper()
	f.storage.mu.Lock()
	defer f.storage.mu.Unlock()
	a, err := decode(f.storage.entries[StoragePrefix+name])
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func (f *fixture) wantState(name string, want State) {
	f.t.Helper()
	if got := f.account(name).State(); got != want {
		f.t.Errorf("state %s, want %s", got, want)
	}
}

func (f *fixture) wantPosts(want ...string) {
	f.t.Helper()
	if got := f.server.posts(); !slices.Equal(got, want) {
		f.t.Errorf("presented %q, want %q", got, want)
	}
}
