package main

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/plugins/probe"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// exchangesARound is the number of measured exchanges in a round.
const exchangesARound = 40

// exchangeSeries holds the medians of the rounds, in ms.
type exchangeSeries struct{ read, endpoint, handling, post, puts, bare []float64 }

// exchange measures a read that makes an exchange. It compares the read with:
//
//   - the same exchange by a plain client,
//   - two writes to KV version 1, because the plugin writes twice, too: the intent and the outcome,
//   - a plugin that only does the storage operations of an exchange.
func (f *fixture) exchange(ctx context.Context, p plan, to *report.Bench) error {
	if err := f.mount(ctx, kv1Mount, "kv"); err != nil {
		return err
	}
	if err := f.enrol(ctx, pageroMount, promptUser, nil, "exchanging"); err != nil {
		return err
	}
	var (
		m     exchangeSeries
		steps = []func(context.Context, *exchangeSeries) error{f.exchangingReads, f.plainExchanges, f.pairsOfPuts, f.bareExchanges}
	)
	for round := range p.rounds + 1 {
		for i := range steps {
			if err := steps[(round+i)%len(steps)](ctx, &m); err != nil {
				return err
			}
		}
		if round == 0 {
			m = exchangeSeries{} // the first round is a warm-up
		}
	}
	beyond := func(endpoint []float64) []float64 {
		rest := make([]float64, len(m.read))
		for i := range rest {
			rest[i] = m.read[i] - endpoint[i]
		}
		return rest
	}
	to.Exchange = report.Exchange{
		Reads: exchangesARound, Read: summarise(m.read), Endpoint: summarise(m.endpoint), Handling: summarise(m.handling),
		Beyond: compare(beyond(m.endpoint), m.puts), BeyondHandling: compare(beyond(m.handling), m.puts),
		Bare: compare(m.bare, m.puts), BeyondBare: compare(beyond(m.endpoint), m.bare),
		Post: compare(m.post, m.endpoint), BeyondPost: compare(beyond(m.post), m.bare),
	}
	return nil
}

// exchangingReads reads a token repeatedly. Each read makes an exchange.
func (f *fixture) exchangingReads(ctx context.Context, m *exchangeSeries) error {
	before := f.exchanges()
	posted, err := f.posts(ctx, pageroMount)
	if err != nil {
		return err
	}
	job := f.refreshes("exchanging", 1)
	job.Requests = exchangesARound
	r, err := f.load.Run(ctx, job)
	if err != nil {
		return err
	}
	n := f.exchanges() - before
	all, err := f.posts(ctx, pageroMount)
	if err != nil {
		return err
	}
	m.post = append(m.post, (all.seconds-posted.seconds)/float64(all.count-posted.count)*1e3)
	m.read = append(m.read, millis(r.Latency.P50))
	m.handling = append(m.handling, millis(f.handling(exchangesARound)))
	return must(n == exchangesARound, "%d reads ran %d exchanges", exchangesARound, n)
}

// handling returns the median time that the token endpoint took for its last requests, from the last byte of the request to
// the first byte of the answer.
func (f *fixture) handling(count int) time.Duration {
	var took []time.Duration
	requests := f.server.Requests()
	for _, r := range requests[len(requests)-count:] {
		took = append(took, r.Processed.Sub(r.Time))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// plainExchanges makes the same exchanges with a plain client. Each has its own connection, as in the plugin.
func (f *fixture) plainExchanges(ctx context.Context, m *exchangeSeries) error {
	job := load.Job{
		Connections: 1, Requests: exchangesARound, Method: "POST", URL: f.server.TokenURL(), CACert: string(f.server.CACertPEM()),
		Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	}
	for range exchangesARound {
		token, err := f.server.Login(ctx, sandbox.DefaultClientID, promptUser)
		if err != nil {
			return err
		}
		job.Bodies = append(job.Bodies, url.Values{
			"grant_type": {sandbox.GrantRefreshToken}, "refresh_token": {token},
			"client_id": {sandbox.DefaultClientID}, "client_secret": {sandbox.DefaultClientSecret},
		}.Encode())
	}
	r, err := f.load.Run(ctx, job)
	m.endpoint = append(m.endpoint, millis(r.Latency.P50))
	return err
}

// bareExchanges has the bare plugin do the storage operations of an exchange.
func (f *fixture) bareExchanges(ctx context.Context, m *exchangeSeries) error {
	job := f.reads(bareMount+"/"+probe.ExchangePath, 1)
	job.Requests = exchangesARound
	r, err := f.load.Run(ctx, job)
	m.bare = append(m.bare, millis(r.Latency.P50))
	return err
}

// pairsOfPuts writes pairs of values with about the size of an account's entry.
func (f *fixture) pairsOfPuts(ctx context.Context, m *exchangeSeries) error {
	job := f.reads("kv1/entry", 1)
	body, err := json.Marshal(map[string]string{"value": strings.Repeat("x", probe.EntrySize)})
	if err != nil {
		return err
	}
	job.Method, job.Requests, job.Samples, job.Bodies = "PUT", 2*exchangesARound, true, []string{string(body)}
	r, err := f.load.Run(ctx, job)
	if err != nil {
		return err
	}
	var pairs []time.Duration
	for pair := range slices.Chunk(r.Samples, 2) {
		pairs = append(pairs, pair[0]+pair[len(pair)-1])
	}
	slices.Sort(pairs)
	m.puts = append(m.puts, millis(pairs[len(pairs)/2]))
	return nil
}
