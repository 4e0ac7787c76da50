package rotation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// fixture is a Manager with everything around it.
type fixture struct {
	*Manager
	t           *testing.T
	logins      *pendingLogins
	storage     *memory
	server      *script
	clients     *clients
	settings    Settings
	readOnly    atomic.Bool
	clockOffset time.Duration // of the process from the true time
	log         *strings.Builder
	noting      sync.Mutex
	events      []Event // noting guards it
}

// inBubble runs a test in a synctest bubble, with a fixture whose Manager is
// closed at the end.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{
			t: t, storage: newMemory(), server: &script{lifetime: 600 * time.Second}, logins: &pendingLogins{},
			clients:  &clients{client: &Client{Client: oauth.Client{ID: "id", Secret: oauth.NewSecret("secret"), RevokeURL: "https://sso.example/revoke"}, Revision: "r1"}},
			settings: Settings{MinTTL: 2 * time.Minute, ExchangeTimeout: 15 * time.Second, MaxExchanges: 128, BackgroundRate: 50},
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
		Storage: f.storage, Clients: f.clients, PendingLogins: f.logins, Exchanger: f.server,
		Settings: func(context.Context) (Settings, error) { return f.settings, nil },
		Writable: func() error {
			if f.readOnly.Load() {
				return ErrReadOnly
			}
			return nil
		},
		Now: func() time.Time { return clock().Add(f.clockOffset) }, Process: process, NewID: func() string { return "intent" }, Jitter: func() float64 { return 0.5 },
		Notify: func(e Event) {
			f.noting.Lock()
			defer f.noting.Unlock()
			f.events = append(f.events, e)
		},
		Observe: func(Purpose, oauth.Result) {},
		Logger:  hclog.New(&hclog.LoggerOptions{Output: f.log, Level: hclog.Trace, Mutex: &sync.Mutex{}}),
	})
}

// enrol stores an account with a refresh token: "rt-0" for acme.
func (f *fixture) enrol(name string, more ...func(*account.Change)) {
	f.t.Helper()
	c := account.Change{RefreshToken: oauth.NewSecret("rt-0")}
	if name != "acme" {
		c.RefreshToken = oauth.NewSecret("rt-0 of " + name)
	}
	for _, change := range more {
		change(&c)
	}
	if err := f.write(name, c); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) write(name string, c account.Change) error {
	_, err := f.Write(context.Background(), name, c)
	return err
}

func secret(s string) oauth.Secret { return oauth.NewSecret(s) }

func withSpare(c *account.Change) { c.SpareRefreshToken = oauth.NewSecret("spare-0") }

// token reads a token and wants one.
func (f *fixture) token(name string) Answer {
	f.t.Helper()
	a, err := f.Token(context.Background(), name, account.ReadRequest{})
	if err != nil {
		f.t.Fatalf("no token: %v", err)
	}
	return a
}

// refused reads a token and wants an error of a kind.
func (f *fixture) refused(name string, kind account.ErrorKind) *account.Error {
	f.t.Helper()
	a, err := f.Token(context.Background(), name, account.ReadRequest{})
	var e *account.Error
	if !errors.As(err, &e) || e.Kind != kind {
		f.t.Fatalf("got %v, %v; want an error of kind %d", a, err, kind)
	}
	if !strings.Contains(e.Error(), name) {
		f.t.Errorf("the error does not name the account: %v", e)
	}
	return e
}

// account reads the account as users see it.
func (f *fixture) account(name string) *account.Account {
	f.t.Helper()
	a, err := f.Get(context.Background(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// stored reads the account from the storage, past all memory.
func (f *fixture) stored(name string) *account.Account {
	f.t.Helper()
	f.storage.mu.Lock()
	defer f.storage.mu.Unlock()
	a, err := account.Decode(f.storage.entries[StoragePrefix+name])
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func (f *fixture) wantState(name string, want account.State) {
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

// afterPost makes Puts fail once something was presented: the intent of the
// first exchange is written, its outcome is not.
func (f *fixture) afterPost(err error, late bool) {
	f.storage.setFault(func(verb, _ string) fault {
		if verb == "put" && len(f.server.posts()) > 0 {
			return fault{err: err, late: late}
		}
		return fault{}
	})
}

// pendingLogins is a PendingLogins whose logins all exist.
type pendingLogins struct {
	err     error
	unknown bool
}

func (p *pendingLogins) Claim(context.Context, oauth.Secret) (bool, error) { return !p.unknown, p.err }
func (p *pendingLogins) Cancel(context.Context, string) error              { return p.err }
