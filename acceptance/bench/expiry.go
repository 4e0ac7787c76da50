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

// expiryReaders is how many readers come at the moment of expiry.
const expiryReaders = 1000

// briefAnswer is the token endpoint's answer with a token that lives for a second.
const briefAnswer = `{"access_token":"` + sandbox.PlaceholderAccessToken + `","refresh_token":"` + sandbox.PlaceholderRefreshToken +
	`","token_type":"Bearer","expires_in":1}`

// expiry measures what many readers see who come when a token has expired, beside one who comes alone.
func (s *stage) expiry(ctx context.Context, p plan, to *report.Bench) error {
	var p50, p99, alone, floor, ahead, aheadAlone []float64
	e := report.Expiry{Readers: expiryReaders, Rounds: p.rounds}
	for round := range p.rounds + 1 {
		crowd, delay, exchanges, err := s.readExpired(ctx, fmt.Sprintf("crowd-%d", round), expiryReaders)
		if err != nil {
			return err
		}
		single, delayAlone, _, err := s.readExpired(ctx, fmt.Sprintf("single-%d", round), 1)
		if err != nil {
			return err
		}
		living := s.reads("pagero/token/acme", expiryReaders)
		living.Requests = expiryReaders
		known, err := s.load.Run(ctx, living)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // all connections are open now
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

// readExpired lets so many readers come when the token of a new account has expired, and returns how long
// it took until the last of their exchanges was at the endpoint, and how many they ran. The endpoint takes
// endpointDelay.
func (s *stage) readExpired(ctx context.Context, account string, readers int) (r load.Result, ahead time.Duration, exchanges int, err error) {
	brief, err := s.server.SetFault(sandbox.Fault{User: briefUser, When: sandbox.FaultAfter, Action: sandbox.ActionBody, Body: briefAnswer, Count: 1})
	if err != nil {
		return r, 0, 0, err
	}
	defer brief.Clear()
	if err := s.enrol(ctx, pageroMount, briefUser, nil, account); err != nil {
		return r, 0, 0, err
	}
	token, err := s.vault.ReadWithContext(ctx, "pagero/token/"+account)
	if err != nil {
		return r, 0, 0, err
	}
	if err := s.expired(ctx, token); err != nil {
		return r, 0, 0, err
	}
	slow, err := s.server.SetFault(sandbox.Fault{User: briefUser, Delay: endpointDelay})
	if err != nil {
		return r, 0, 0, err
	}
	defer slow.Clear()
	before := s.exchanges()
	job := s.reads("pagero/token/"+account, readers)
	job.Requests = readers
	if r, err = s.load.Run(ctx, job); err != nil {
		return r, 0, 0, err
	}
	requests := s.server.Requests()
	return r, requests[len(requests)-1].Time.Sub(r.Began), s.exchanges() - before, nil
}

// expired waits until the token of an answer is no longer valid.
func (s *stage) expired(ctx context.Context, token *api.Secret) error {
	text, _ := token.Data["expire_time"].(string)
	expires, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return err
	}
	// The answer's time is cut to whole seconds.
	return patiently(ctx, "a token to expire", func(context.Context) (bool, error) {
		return time.Now().After(expires.Add(time.Second)), nil
	})
}
