package sandbox_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// outcome is the answer to a request, or the error of the transport.
type outcome struct {
	reply
	err error
}

// send starts a refresh and returns the channel on which its outcome comes.
func send(ctx context.Context, t *testing.T, srv *sandbox.Server, token string) <-chan outcome {
	t.Helper()
	c := client(t, srv)
	done := make(chan outcome, 1)
	go func() {
		got, err := post(ctx, c, srv.TokenURL(), refreshForm(token), byDefault)
		done <- outcome{got, err}
	}()
	return done
}

func setFault(t *testing.T, srv *sandbox.Server, f sandbox.Fault) *sandbox.FaultHandle {
	t.Helper()
	handle, err := srv.SetFault(f)
	if err != nil {
		t.Fatal(err)
	}
	return handle
}

func wantTransportError(target error) func(*testing.T, outcome) {
	return func(t *testing.T, got outcome) {
		t.Helper()
		if !errors.Is(got.err, target) {
			t.Errorf("HTTP %d and error %v, want %v", got.status, got.err, target)
		}
	}
}

func TestFaultActions(t *testing.T) {
	const delay = 20 * time.Millisecond
	tests := []struct {
		name   string
		fault  sandbox.Fault
		check  func(*testing.T, outcome) // what the client sees, before and after
		runs   bool                      // the request is processed even if the fault strikes before
		status int                       // recorded; 0 if no answer was sent
	}{
		{
			name: "delay", fault: sandbox.Fault{Delay: delay}, runs: true, status: 200,
			check: func(t *testing.T, got outcome) {
				t.Helper()
				if got.err != nil || got.status != http.StatusOK {
					t.Errorf("HTTP %d, %v", got.status, got.err)
				}
			},
		},
		{name: "drop", fault: sandbox.Fault{Action: sandbox.ActionDrop}, check: wantTransportError(io.EOF)},
		{name: "drop after a delay", fault: sandbox.Fault{Action: sandbox.ActionDrop, Delay: delay}, check: wantTransportError(io.EOF)},
		{name: "reset", fault: sandbox.Fault{Action: sandbox.ActionReset}, check: wantTransportError(syscall.ECONNRESET)},
		{
			name: "truncate", fault: sandbox.Fault{Action: sandbox.ActionTruncate, Bytes: 10, Body: `{"access_token":"cut off"}`}, status: 200,
			check: func(t *testing.T, got outcome) {
				t.Helper()
				wantTransportError(io.ErrUnexpectedEOF)(t, got)
				if got.status != http.StatusOK || got.raw != `{"access_t` {
					t.Errorf("HTTP %d with body %q", got.status, got.raw)
				}
			},
		},
		{
			name: "status", fault: sandbox.Fault{
				Action: sandbox.ActionStatus, Status: 429, Body: `{"error":"slow_down"}`,
				Headers: map[string]string{"Retry-After": "7"},
			}, status: 429,
			check: func(t *testing.T, got outcome) {
				t.Helper()
				wantError(t, got.reply, 429, "slow_down")
				if got.header.Get("Retry-After") != "7" {
					t.Errorf("headers %v", got.header)
				}
			},
		},
		{
			name: "body", fault: sandbox.Fault{Action: sandbox.ActionBody, Body: `{"expires_in":0}`}, status: 200,
			check: func(t *testing.T, got outcome) {
				t.Helper()
				if got.err != nil || got.status != http.StatusOK || got.raw != `{"expires_in":0}` {
					t.Errorf("HTTP %d, body %q, %v", got.status, got.raw, got.err)
				}
			},
		},
	}
	for _, test := range tests {
		for _, when := range []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter} {
			t.Run(test.name+"/"+string(when), func(t *testing.T) {
				srv := start(t, sandbox.Config{Faults: true, Replay: sandbox.ReplayRefuse})
				token := login(t, srv, "alice")
				fault := test.fault
				fault.When, fault.Count = when, 1
				handle := setFault(t, srv, fault)
				began := time.Now()
				got := <-send(testContext(t), t, srv, token)
				if took := time.Since(began); took < fault.Delay {
					t.Errorf("it took %s, want at least %s", took, fault.Delay)
				}
				test.check(t, got)
				if handle.Hits() != 1 {
					t.Errorf("%d hits, want 1", handle.Hits())
				}
				requests := srv.Requests()
				if len(requests) != 1 || requests[0].Status != test.status || requests[0].Fault != fault.Action {
					t.Errorf("recorded %d requests, the first with status %d and fault %q", len(requests), requests[0].Status, requests[0].Fault)
				}
				spent := test.runs || when == sandbox.FaultAfter
				if processed := requests[0].Processed; processed.IsZero() == spent {
					t.Errorf("recorded as processed at %s", processed)
				}
				wantSpent(t, srv, token, spent)
			})
		}
	}
}

// wantSpent asserts whether a refresh token has been spent. It asks the sandbox and
// then presents the token.
func wantSpent(t *testing.T, srv *sandbox.Server, token string, want bool) {
	t.Helper()
	current, err := srv.CurrentRefreshToken(token)
	if err != nil {
		t.Fatal(err)
	}
	if spent := current != token; spent != want {
		t.Errorf("the token is spent: %t, want %t", spent, want)
	}
	if got := refresh(t, srv, token); (got.status != http.StatusOK) != want {
		t.Errorf("presented again it is answered HTTP %d", got.status)
	}
}

func TestHangLastsUntilTheClientGoesAway(t *testing.T) {
	for _, when := range []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter} {
		t.Run(string(when), func(t *testing.T) {
			srv := start(t, sandbox.Config{Faults: true, Replay: sandbox.ReplayRefuse})
			token := login(t, srv, "alice")
			handle := setFault(t, srv, sandbox.Fault{Action: sandbox.ActionHang, When: when, Count: 1})
			ctx, cancel := context.WithCancel(testContext(t))
			got := send(ctx, t, srv, token)
			if err := handle.Wait(testContext(t), 1); err != nil {
				t.Fatal(err)
			}
			cancel()
			if out := <-got; !errors.Is(out.err, context.Canceled) {
				t.Errorf("error %v, want that of the context", out.err)
			}
			wantSpent(t, srv, token, when == sandbox.FaultAfter)
		})
	}
}

func TestHangEndsWithTheServer(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	handle := setFault(t, srv, sandbox.Fault{Action: sandbox.ActionHang})
	got := send(testContext(t), t, srv, login(t, srv, "alice"))
	if err := handle.Wait(testContext(t), 1); err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if out := <-got; out.err == nil {
		t.Errorf("the request was answered HTTP %d", out.status)
	}
}

func TestHeldRequestGoesOnWhenTheFaultIsCleared(t *testing.T) {
	for _, when := range []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter} {
		t.Run(string(when), func(t *testing.T) {
			srv := start(t, sandbox.Config{Faults: true})
			token := login(t, srv, "alice")
			handle := setFault(t, srv, sandbox.Fault{Action: sandbox.ActionHold, When: when, Count: 1})
			got := send(testContext(t), t, srv, token)
			if err := handle.Wait(testContext(t), 1); err != nil {
				t.Fatal(err)
			}
			if current, _ := srv.CurrentRefreshToken(token); (current == token) != (when == sandbox.FaultBefore) {
				t.Error("the held request is on the wrong side of its processing")
			}
			held := srv.Requests()[0]
			if held.Processed.IsZero() != (when == sandbox.FaultBefore) || held.Done {
				t.Errorf("while it is held: processed at %s, done: %t", held.Processed, held.Done)
			}
			cleared := time.Now()
			handle.Clear()
			if out := <-got; out.err != nil || out.status != http.StatusOK {
				t.Errorf("HTTP %d, %v", out.status, out.err)
			}
			processed := srv.Requests()[0].Processed
			if processed.Before(cleared) != (when == sandbox.FaultAfter) || processed.Before(held.Time) || processed.After(time.Now()) {
				t.Errorf("arrived at %s, cleared at %s, processed at %s", held.Time, cleared, processed)
			}
		})
	}
}

// A request can be processed late, after its client has given up. That is why an
// exchange in doubt is dangerous.
func TestHeldRequestIsProcessedAfterItsClientHasGone(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	token := login(t, srv, "alice")
	handle := setFault(t, srv, sandbox.Fault{Action: sandbox.ActionHold, Count: 1})
	done := setFault(t, srv, sandbox.Fault{Endpoint: sandbox.EndpointAPI}) // counts the requests that reach it
	ctx, cancel := context.WithCancel(testContext(t))
	got := send(ctx, t, srv, token)
	if err := handle.Wait(testContext(t), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-got
	handle.Clear()
	if err := srv.Close(); err != nil { // waits for the request
		t.Fatal(err)
	}
	if current, err := srv.CurrentRefreshToken(token); err != nil || current == token {
		t.Errorf("the token was not spent, error %v", err)
	}
	if done.Hits() != 0 {
		t.Error("a fault of another endpoint struck")
	}
}

func TestTruncatedRightAnswer(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	token := login(t, srv, "alice")
	setFault(t, srv, sandbox.Fault{Action: sandbox.ActionTruncate, Bytes: 40, When: sandbox.FaultAfter})
	got := <-send(testContext(t), t, srv, token)
	wantTransportError(io.ErrUnexpectedEOF)(t, got)
	if len(got.raw) != 40 || !strings.HasPrefix(got.raw, `{"access_token":"ey`) {
		t.Errorf("body of %d bytes", len(got.raw))
	}
}

func TestBodyMayHoldTheIssuedTokens(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	token := login(t, srv, "alice")
	setFault(t, srv, sandbox.Fault{
		Action: sandbox.ActionBody, When: sandbox.FaultAfter, Count: 1,
		Body: `{"refresh_token":"{{refresh_token}}","access_token":"{{access_token}}","scope":"changed"}`,
	})
	got := mustRefresh(t, srv, token)
	if got.Scope != "changed" || callAPI(t, srv, got.Access).StatusCode != http.StatusOK {
		t.Errorf("scope %q, or the access token does not work", got.Scope)
	}
	mustRefresh(t, srv, got.Refresh)
}

func TestFaultsOfOtherEndpoints(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	for _, endpoint := range []sandbox.Endpoint{sandbox.EndpointAuthorize, sandbox.EndpointRevoke, sandbox.EndpointAPI} {
		setFault(t, srv, sandbox.Fault{Endpoint: endpoint, Action: sandbox.ActionStatus, Status: 503})
	}
	c := client(t, srv)
	for _, target := range []string{srv.AuthorizeURL(), srv.RevokeURL(), srv.DocumentsURL()} {
		answer, err := c.Get(target)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: HTTP %d, want 503", target, answer.StatusCode)
		}
	}
	mustRefresh(t, srv, login(t, srv, "alice"))
}

func TestFaultsOfOneUserAndGrantType(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	setFault(t, srv, sandbox.Fault{Action: sandbox.ActionStatus, Status: 502, GrantType: "password"})
	setFault(t, srv, sandbox.Fault{Action: sandbox.ActionStatus, Status: 503, User: "bob", GrantType: "refresh_token"})
	alice, bob := login(t, srv, "alice"), login(t, srv, "bob")
	mustRefresh(t, srv, alice)
	if got := refresh(t, srv, bob); got.status != http.StatusServiceUnavailable {
		t.Errorf("bob's refresh: HTTP %d, want 503", got.status)
	}
	srv.ClearFaults()
	mustRefresh(t, srv, bob)
}

func TestFaultsAreUsedUpInTheirOrder(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	token := login(t, srv, "alice")
	first := setFault(t, srv, sandbox.Fault{Action: sandbox.ActionStatus, Status: 500, Count: 2})
	setFault(t, srv, sandbox.Fault{Action: sandbox.ActionStatus, Status: 502, Count: 1})
	for i, want := range []int{500, 500, 502, 200} {
		if got := refresh(t, srv, token); got.status != want {
			t.Errorf("request %d: HTTP %d, want %d", i, got.status, want)
		}
	}
	if err := first.Wait(testContext(t), 2); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Wait(ended, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("a third hit: error %v, want that of the context", err)
	}
	if n := srv.Stats().Exchanges["not_processed"]; n != 3 {
		t.Errorf("%d exchanges not processed, want 3", n)
	}
}

func TestBadFaultsAreRefused(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	for name, fault := range map[string]sandbox.Fault{
		"endpoint":              {Endpoint: "elsewhere"},
		"when":                  {When: "during"},
		"action":                {Action: "explode"},
		"count":                 {Count: -1},
		"delay":                 {Delay: -1},
		"jitter":                {Delay: 1, Jitter: 2},
		"bytes":                 {Action: sandbox.ActionTruncate, Bytes: -1},
		"status without one":    {Action: sandbox.ActionStatus},
		"status out of range":   {Action: sandbox.ActionStatus, Status: 99},
		"header size":           {Action: sandbox.ActionBody, HeaderBytes: -1},
		"duration":              {Lasts: -1},
		"encoding":              {Action: sandbox.ActionBody, Encoding: "br"},
		"encoding of a cut":     {Action: sandbox.ActionTruncate, Encoding: sandbox.EncodingGzip},
		"skew without answer":   {Action: sandbox.ActionDrop, DateSkew: 1},
		"alter before":          {Action: sandbox.ActionAlter},
		"members of a body":     {Action: sandbox.ActionBody, Members: map[string]any{"scope": ""}},
		"members without JSON":  {Action: sandbox.ActionAlter, When: sandbox.FaultAfter, Members: map[string]any{"scope": make(chan int)}},
		"result before":         {Action: sandbox.ActionBody, Result: "ok"},
		"placeholder before":    {Action: sandbox.ActionBody, Body: "{{refresh_token}}"},
		"placeholder elsewhere": {Action: sandbox.ActionBody, When: sandbox.FaultAfter, Endpoint: sandbox.EndpointAPI, Body: "{{access_token}}"},
	} {
		if _, err := srv.SetFault(fault); err == nil {
			t.Errorf("%s: the fault was accepted", name)
		}
	}
}
