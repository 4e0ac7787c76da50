package sandbox_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestTheRecordTellsWhatWasIssuedAndWhetherTheClientWasTold runs one exchange with
// each fault and checks its record.
func TestTheRecordTellsWhatWasIssuedAndWhetherTheClientWasTold(t *testing.T) {
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
	if len(held) != 1 || held[0].Done || held[0].NextRefreshToken == "" || !held[0].Ended.IsZero() {
		t.Errorf("while the answer is held back, the record is %+v", held)
	}
	cancel()
	<-got
	waitFor(t, "the server to notice it", func() bool { return srv.Requests()[0].Gone })
	cleared := time.Now()
	fault.Clear()
	waitFor(t, "the end of the request", func() bool { return srv.Requests()[0].Done })
	if ended := srv.Requests()[0].Ended; ended.IsZero() || ended.After(cleared) {
		t.Errorf("the client went before %s, and waited until %s", cleared, ended)
	}
	wantRecord(t, srv, token, true, false)
}

func TestTheRecordTellsHowLongAClientWaited(t *testing.T) {
	for _, action := range []sandbox.FaultAction{sandbox.ActionNone, sandbox.ActionDrop, sandbox.ActionHang} {
		t.Run(string(action), func(t *testing.T) {
			srv := start(t, sandbox.Config{Faults: true})
			fault := setFault(t, srv, sandbox.Fault{Action: action})
			ctx, cancel := context.WithCancel(testContext(t))
			got := send(ctx, t, srv, login(t, srv, "alice"))
			if action == sandbox.ActionHang {
				if err := fault.Wait(testContext(t), 1); err != nil {
					t.Fatal(err)
				}
				waitFor(t, "the record of the fault", func() bool { return srv.Requests()[0].Done })
				if ended := srv.Requests()[0].Ended; !ended.IsZero() {
					t.Errorf("the client still waits, and ended at %s", ended)
				}
			}
			before := time.Now()
			if action == sandbox.ActionHang {
				cancel()
			}
			<-got
			cancel()
			waitFor(t, "the end of the request", func() bool { return !srv.Requests()[0].Ended.IsZero() })
			r := srv.Requests()[0]
			if r.Ended.Before(r.Time) || action == sandbox.ActionHang && r.Ended.Before(before) {
				t.Errorf("it came at %s, its client waited until %s; cancelled after %s", r.Time, r.Ended, before)
			}
		})
	}
}

// wantRecord asserts the record of alice's only exchange.
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
