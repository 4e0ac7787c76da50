package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// expiryReaders is the number of readers at the moment of expiry.
const expiryReaders = 1000

// briefAnswer is an answer of the token endpoint with a token that lives for one second.
const briefAnswer = `{"access_token":"` + sandbox.PlaceholderAccessToken + `","refresh_token":"` + sandbox.PlaceholderRefreshToken +
	`","token_type":"Bearer","expires_in":1}`

// expiry measures many simultaneous reads of an expired token, and a single one.
func (f *fixture) expiry(ctx context.Context, p plan, to *report.Bench) error {
	var p50, p99, alone, floor, ahead, aheadAlone []float64
	e := report.Expiry{Readers: expiryReaders, Rounds: p.rounds}
	for round := range p.rounds + 1 {
		crowd, delay, exchanges, err := f.readExpired(ctx, fmt.Sprintf("crowd-%d", round), expiryReaders)
		if err != nil {
			return err
		}
		single, delayAlone, _, err := f.readExpired(ctx, fmt.Sprintf("single-%d", round), 1)
		if err != nil {
			return err
		}
		living := f.reads("pagero/token/acme", expiryReaders)
		living.Requests = expiryReaders
		known, err := f.load.Run(ctx, living)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // this round opened all connections
		}
		e.Exchanges += exchanges
		p50, p99 = append(p50, millis(crowd.Latency.P50)), append(p99, millis(crowd.Latency.P99))
		ahead, aheadAlone = append(ahead, millis(delay)), append(aheadAlone, millis(delayAlone))
		alone, floor = append(alone, millis(single.Latency.P50)), append(floor, millis(known.Latency.P99))
	}
	e.P50, e.P99, e.Floor = summarise(p50), compare(p99, alone), compare(p99, floor)
	e.Ahead = compare(ahead, aheadAlone)
	to.Expiry = e
	return must(e.Exchanges == p.rounds, "%d times %d readers of an expired token ran %d exchanges", p.rounds, expiryReaders, e.Exchanges)
}

// readExpired has readers read the expired token of a new account. It returns the time until the last of their exchanges
// reached the endpoint, and the number of exchanges. The endpoint takes endpointDelay.
func (f *fixture) readExpired(ctx context.Context, account string, readers int) (r load.Result, ahead time.Duration, exchanges int, err error) {
	brief, err := f.server.SetFault(sandbox.Fault{User: briefUser, When: sandbox.FaultAfter, Action: sandbox.ActionBody, Body: briefAnswer, Count: 1})
	if err != nil {
		return r, 0, 0, err
	}
	defer brief.Clear()
	if err := f.enrol(ctx, pageroMount, briefUser, nil, account); err != nil {
		return r, 0, 0, err
	}
	token, err := f.vault.ReadWithContext(ctx, "pagero/token/"+account)
	if err != nil {
		return r, 0, 0, err
	}
	if err := f.expired(ctx, token); err != nil {
		return r, 0, 0, err
	}
	slow, err := f.server.SetFault(sandbox.Fault{User: briefUser, Delay: endpointDelay})
	if err != nil {
		return r, 0, 0, err
	}
	defer slow.Clear()
	before := f.exchanges()
	job := f.reads("pagero/token/"+account, readers)
	job.Requests = readers
	if r, err = f.load.Run(ctx, job); err != nil {
		return r, 0, 0, err
	}
	requests := f.server.Requests()
	return r, requests[len(requests)-1].Time.Sub(r.Began), f.exchanges() - before, nil
}

// expired waits until the token of an answer is no longer valid.
func (f *fixture) expired(ctx context.Context, token *api.Secret) error {
	text, _ := token.Data["expire_time"].(string)
	expires, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return err
	}
	// The time in the answer is cut to whole seconds.
	return patiently(ctx, "a token to expire", func(context.Context) (bool, error) {
		return time.Now().After(expires.Add(time.Second)), nil
	})
}
