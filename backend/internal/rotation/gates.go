package rotation

import (
	"cmp"
	"context"
	"math"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// gates has the gate of each token endpoint. It is safe for concurrent use; its lock is
// taken before that of a gate.
type gates struct {
	m *Manager

	mu       sync.Mutex
	byURL    map[string]*gate // by the URL of the token endpoint
	byClient map[string]*gate // by the name of the client, which may move to another one
}

func newGates(m *Manager) *gates {
	return &gates{m: m, byURL: map[string]*gate{}, byClient: map[string]*gate{}}
}

// of returns the gate of a client's token endpoint.
func (gs *gates) of(clientName string, client *Client) *gate {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.byURL[client.TokenURL]
	if g == nil {
		g = &gate{
			endpoint: hostOf(client.TokenURL), probe: gs.probe, now: gs.m.opts.Now, work: gs.m.work, log: gs.m.opts.Logger,
			window: firstWindow, limit: math.MaxInt, // until an exchange brings the mount's
		}
		g.wake = func() { gs.wake(g) }
		gs.byURL[client.TokenURL] = g
	}
	gs.byClient[clientName] = g
	return g
}

// probe sends a harmless probe.
func (gs *gates) probe(ctx context.Context, client *Client) oauth.Result {
	settings, err := gs.m.opts.Settings(ctx)
	if err != nil {
		return oauth.Result{Outcome: oauth.NotSent}
	}
	ctx, cancel := context.WithTimeout(ctx, settings.ExchangeTimeout)
	defer cancel()
	r := gs.m.opts.Exchanger.Probe(ctx, client.Client)
	gs.m.work.Safely(func() { gs.m.opts.Observe(ForProbe, r) })
	return r
}

// wake ends the waits of the accounts whose clients use the gate.
func (gs *gates) wake(g *gate) {
	gs.mu.Lock()
	var names []string
	for name, of := range gs.byClient {
		if of == g {
			names = append(names, name)
		}
	}
	gs.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		gs.m.index.wakeClient(name, gs.m.opts.Now())
	}
}

// reached returns when the token endpoint of a client gave a readable answer last, on the
// wall clock as it is now; zero if that is not known.
func (gs *gates) reached(clientName string) time.Time {
	gs.mu.Lock()
	g := gs.byClient[clientName]
	gs.mu.Unlock()
	if g == nil {
		return time.Time{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reached.IsZero() {
		return time.Time{}
	}
	return gs.m.opts.Now().Add(-time.Since(g.reached))
}

// status returns how all gates are, in the order of their endpoints, each with the names
// of the clients that use it.
func (gs *gates) status() []GateStatus {
	gs.mu.Lock()
	clients := map[*gate][]string{}
	for name, g := range gs.byClient {
		clients[g] = append(clients[g], name)
	}
	gs.mu.Unlock()
	var all []GateStatus
	for g, names := range clients {
		s := g.status()
		s.Clients = slices.Sorted(slices.Values(names))
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b GateStatus) int { return cmp.Compare(a.Clients[0], b.Clients[0]) })
	return all
}

func hostOf(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil {
		return u.Host
	}
	return ""
}
