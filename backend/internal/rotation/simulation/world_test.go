package simulation

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

const (
	exchangeTimeout = 15 * time.Second
	keepalive       = 40 * time.Minute
)

// settings are the mount's.
var settings = rotation.Settings{MinTTL: 2 * time.Minute, ExchangeTimeout: exchangeTimeout, KeepaliveInterval: keepalive, MaxExchanges: 128, BackgroundRate: 50}

// world is one simulated cluster. mu guards all of it; it is never held while
// simulated time passes.
type world struct {
	mu      sync.Mutex
	seed    uint64
	streams map[string]*rand.Rand
	start   time.Time
	over    chan struct{} // closed at the end: frees the goroutines of dead processes
	calm    bool          // no more faults
	garbled bool          // answers arrive in a form that nobody can read

	server  *server
	storage *storage
	clients *clients

	processes []*process
	active    *process // the process that may write; it may be dead

	inFlight map[string]posting // by account: whose POST is under way
	forcing  map[string]int     // by account: operators who wait for a forced refresh

	// enrolled is what was last written for an account that was not deleted since, for
	// scripts that write it again.
	enrolled map[string]account.Change
	// mistyped has the grants over which somebody has written nonsense, by account.
	mistyped map[string]*grantOf

	exchanges  int
	violations []string
	history    []string // what happened, a line each
}

// posting is a POST that is under way.
type posting struct {
	by    *process
	grant *grantOf
}

// process is one plugin process.
type process struct {
	*rotation.Manager
	world *world
	id    string
	dead  bool
	// offset is how far its wall clock is ahead of the true time, and stepped when it
	// was set last. world.mu guards both.
	offset  time.Duration
	stepped time.Time
	// broken is when it was shown that the path to the server loses answers; zero once
	// something readable has come since. lost counts answers in a row that did not come.
	broken time.Time
	lost   int
	// received are new refresh tokens that it was given and that are not in the
	// storage yet.
	received map[string]*token
}

func newWorld(seed uint64) *world {
	w := &world{
		seed: seed, streams: map[string]*rand.Rand{}, start: time.Now(), over: make(chan struct{}),
		inFlight: map[string]posting{}, forcing: map[string]int{}, enrolled: map[string]account.Change{}, mistyped: map[string]*grantOf{},
	}
	w.server = newServer(w)
	w.storage = &storage{entries: map[string][]byte{}}
	w.clients = &clients{secret: w.server.secret, revision: "0"}
	w.startProcess()
	return w
}

// startProcess makes a new process the active one.
func (w *world) startProcess() {
	p := &process{world: w, id: fmt.Sprintf("process-%d", len(w.processes)), received: map[string]*token{}}
	p.setClock()
	ids := 0
	p.Manager = rotation.NewManager(rotation.Options{
		Storage:       view{p},
		Clients:       w.clients,
		PendingLogins: noLogins{},
		Exchanger:     wire{p},
		Settings: func(context.Context) (rotation.Settings, error) {
			return settings, nil
		},
		Writable: func() error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.active != p {
				return rotation.ErrReadOnly
			}
			return nil
		},
		Now:     p.now,
		Process: p.id,
		NewID:   func() string { w.mu.Lock(); defer w.mu.Unlock(); ids++; return fmt.Sprintf("%s/%d", p.id, ids) },
		Jitter:  func() float64 { w.mu.Lock(); defer w.mu.Unlock(); return w.stream("jitter " + p.id).Float64() },
		Notify:  func(rotation.Event) {},
		Observe: func(rotation.Purpose, oauth.Result) {},
		Logger:  hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: panics{w}}),
	})
	w.processes = append(w.processes, p)
	w.active = p
	w.log("%s is active", p.id)
	p.Tick() // as Vault's initialization does
}

// now is the wall clock of the process.
func (p *process) now() time.Time {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	return p.clock()
}

// clock is now for a caller that holds mu.
func (p *process) clock() time.Time { return time.Now().Add(p.offset).UTC().Round(0) }

// setClock sets the wall clock of the process: right mostly, else by up to two hours
// wrong. The caller holds mu, or is alone.
func (p *process) setClock() {
	r := p.world.stream("clock of " + p.id)
	p.offset, p.stepped = 0, time.Now()
	if !p.world.calm && r.IntN(4) == 0 {
		p.offset = time.Duration(r.Int64N(int64(4*time.Hour))) - 2*time.Hour
		p.world.log("the clock of %s is %s ahead", p.id, p.offset)
	}
}

// panics is a log that knows one line only.
type panics struct{ world *world }

func (p panics) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("panic in an exchange")) {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		p.world.violated("%s", line)
	}
	return len(line), nil
}

// stream returns the random numbers of one name: what one goroutine meets does
// not depend on what another does at the same time. The caller holds mu.
func (w *world) stream(name string) *rand.Rand {
	r := w.streams[name]
	if r == nil {
		h := fnv.New64a()
		_, _ = io.WriteString(h, name)
		r = rand.New(rand.NewPCG(w.seed, h.Sum64()))
		w.streams[name] = r
	}
	return r
}

// person is the key under which a context says who asks.
type person struct{}

// whoAsks tells apart who uses the storage at the same instant: a person, or the
// flight of a process.
func whoAsks(ctx context.Context, p *process) string {
	if who, ok := ctx.Value(person{}).(string); ok {
		return who
	}
	return p.id
}

// log adds a line to the history. The caller holds mu, or is alone.
func (w *world) log(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%14.6f %s", time.Since(w.start).Seconds(), fmt.Sprintf(format, args...)))
}

// violated records that an invariant does not hold. The caller holds mu.
func (w *world) violated(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.log("VIOLATION: %s", text)
	w.violations = append(w.violations, text)
}

// die ends a process without a warning. What it alone knew is lost. The caller holds
// mu.
func (w *world) die(p *process, why string) {
	if p.dead {
		return
	}
	p.dead = true
	w.log("%s dies: %s", p.id, why)
	w.forget(p)
}

// forget marks as lost what a process knows and the storage does not, since it
// cannot write any more.
func (w *world) forget(p *process) {
	for text, t := range p.received {
		w.log("%s is lost with %s", text, p.id)
		t.grant.lost = true
		delete(p.received, text)
	}
}

// end blocks a goroutine of a dead process until the simulation is over.
func (w *world) end() { <-w.over }

// nap lets simulated time pass, by a different amount each time.
func (w *world) nap(stream string, atLeast, atMost time.Duration) {
	w.mu.Lock()
	d := atLeast + time.Duration(w.stream(stream).Int64N(int64(atMost-atLeast)+1))
	w.mu.Unlock()
	time.Sleep(d)
}

// clients is the one OAuth client of the cluster, as written in Vault.
type clients struct {
	mu       sync.Mutex
	secret   string
	previous string
	revision string
	written  time.Time
}

func (c *clients) Client(context.Context, string) (*rotation.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &rotation.Client{
		Client:         oauth.Client{ID: "id", Secret: oauth.NewSecret(c.secret)},
		PreviousSecret: oauth.NewSecret(c.previous),
		Revision:       c.revision,
	}, nil
}

func (c *clients) Exists(context.Context, string) (bool, error) { return true, nil }

func (c *clients) SecretWorked(_ context.Context, _, revision string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revision == revision {
		c.previous = ""
	}
	return nil
}

// noLogins is the pending logins of a cluster that has none.
type noLogins struct{}

func (noLogins) Claim(context.Context, oauth.Secret) (bool, error) { return false, nil }
func (noLogins) Cancel(context.Context, string) error              { return nil }

// write is an operator's write of a new client secret.
func (c *clients) write(secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if secret != c.secret {
		c.previous, c.secret = c.secret, secret
	}
	c.revision += "'"
	c.written = time.Now()
}

func (c *clients) secrets() (current, previous string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secret, c.previous
}

// changed returns when the client was written last.
func (c *clients) changed() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}
