package sandbox_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestTheJournalTellsWhatWasIssuedAndWhetherTheClientWasTold orders faults around
// one exchange each, and looks at its record.
func TestTheJournalTellsWhatWasIssuedAndWhetherTheClientWasTold(t *testing.T) {
	const enough = 1 << 20
	for name, test := range map[string]struct {
		fault        sandbox.Fault
		issued, told bool
	}{
		"no fault":            {issued: true, told: true},
		"delay":               {fault: sandbox.Fault{When: sandbox.FaultAfter, Delay: 1}, issued: true, told: true},
		"drop before":         {fault: sandbox.Fault{Action: sandbox.ActionDrop}},
		"drop after":          {fault: sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionDrop}, issued: true},
		"status after":        {fault: sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionStatus, Status: 500}, issued: true},
		"cut early":           {fault: sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionTruncate, Bytes: 40}, issued: true},
		"cut behind the body": {fault: sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionTruncate, Bytes: enough}, issued: true, told: true},
		"another body with the token": {
			fault:  sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionBody, Body: `{"refresh_token":"{{refresh_token}}"}`},
			issued: true, told: true,
		},
		"another body without it": {
			fault:  sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionBody, Body: `{"access_token":"{{access_token}}"}`},
			issued: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t, sandbox.Config{Faults: true})
			token := login(t, srv, "alice")
			setFault(t, srv, test.fault)
			<-send(testContext(t), t, srv, token)
			wantRecord(t, srv, token, test.issued, test.told)
		})
	}
}

func TestAClientThatHasGoneIsNotTold(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	token := login(t, srv, "alice")
	fault := setFault(t, srv, sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionHold})
	ctx, cancel := context.WithCancel(testContext(t))
	got := send(ctx, t, srv, token)
	if err := fault.Wait(testContext(t), 1); err != nil {
		t.Fatal(err)
	}
	held := srv.Requests()
	if len(held) != 1 || held[0].Done || held[0].NextRefreshToken == "" {
		t.Errorf("while the answer is held back, the record is %+v", held)
	}
	cancel()
	<-got
	waitFor(t, "the server to hear of it", func() bool { return srv.Requests()[0].Gone })
	fault.Clear()
	waitFor(t, "the end of the request", func() bool { return srv.Requests()[0].Done })
	wantRecord(t, srv, token, true, false)
}

// wantRecord asserts what the journal says of the one exchange of alice.
func wantRecord(t *testing.T, srv *sandbox.Server, token string, issued, told bool) {
	t.Helper()
	requests := srv.Requests()
	if len(requests) != 1 {
		t.Fatalf("%d requests were recorded, want 1", len(requests))
	}
	r := requests[0]
	if !r.Done || r.User != "alice" || r.RefreshToken != token {
		t.Errorf("done: %t, user %q, refresh token %q", r.Done, r.User, r.RefreshToken)
	}
	next, err := srv.CurrentRefreshToken(token)
	if err != nil {
		t.Fatal(err)
	}
	if issued != (r.NextRefreshToken == next && next != token) || issued != (strings.Count(r.AccessToken, ".") == 2) {
		t.Errorf("issued were %q and %q; the newest refresh token is %q", r.NextRefreshToken, r.AccessToken, next)
	}
	if r.Told != told {
		t.Errorf("told: %t, want %t", r.Told, told)
	}
}

// waitFor waits until cond is true.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx := testContext(t)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !cond() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, ctx.Err())
		}
	}
}
