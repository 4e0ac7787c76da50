package faults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// verdict is what the plugin is expected to conclude from the answer to an exchange.
type verdict struct {
	times   int    // how many requests in a row meet the fault
	status  int    // of the read
	message string // a part of the error
	state   string // of the account afterwards
	// operator is true if the account does not recover without an operator.
	operator bool
	// repeats is how often the refresh token is presented in total, until a success or a rejection.
	repeats int
	// pause is the minimum time between two presentations.
	pause time.Duration
}

// The verdicts. A refresh token that is in doubt is presented once more in the same request. The caller sees the doubt only
// if the fault strikes twice.
var (
	smooth    = verdict{times: 1, status: 200, state: "ready", repeats: 1}
	recovered = verdict{times: 1, status: 200, state: "ready", repeats: 2, pause: time.Second}
	doubtful  = verdict{
		times: 2, status: 503, message: "in doubt since", state: "in_doubt", repeats: 3, pause: time.Second,
	}
	// Something answers in place of the server, and will do so for a while: a wait of a minute, which a write to refresh ends.
	strange = verdict{
		times: 2, status: 400, message: "something in front of the server may be wrong", state: "in_doubt", operator: true, repeats: 3,
	}
	throttled = verdict{
		times: 1, status: 503, message: "the refresh token is untouched", state: "failing", repeats: 2, pause: time.Second / 2,
	}
	clientRefused = verdict{
		times: 1, status: 400, message: "it refuses the client", state: "failing", operator: true, repeats: 2,
	}
	requestRefused = verdict{
		times: 1, status: 400, message: "the refresh token may have been rejected", state: "failing", operator: true, repeats: 2,
	}
	refreshTokenOnly = verdict{
		times: 1, status: 503, message: "no usable access token; the refresh token is saved", state: "failing", repeats: 1,
	}
)

// trial is a fault of the token endpoint with the expected verdict.
type trial struct {
	name    string
	fault   sandbox.Fault
	verdict verdict
	reason  string // another part of the error
	// only restricts the trial to faults before, or after, the refresh token is spent.
	only sandbox.FaultTime
}

// orderedBody is a body that begins with the refresh token, so that it can be cut after the token. All refresh tokens of the
// sandbox have the same length.
const (
	orderedBody  = `{"refresh_token":"{{refresh_token}}","access_token":"{{access_token}}","padding":"` + "%4000s" + `"}`
	beforeToken  = len(`{"refresh_token":"`)
	refreshToken = len("_1XBPWQQ_00000000-0000-0000-0000-000000000000")
)

// status returns a fault that answers with a status and a body.
func status(code int, body string) sandbox.Fault {
	return sandbox.Fault{Action: sandbox.ActionStatus, Status: code, Body: body}
}

// body returns a fault that answers 200 with a body.
func body(text string) sandbox.Fault {
	return sandbox.Fault{Action: sandbox.ActionBody, Status: http.StatusOK, Body: text}
}

// cut returns a fault that ends the answer after this many bytes of orderedBody.
func cut(bytes int) sandbox.Fault {
	return sandbox.Fault{
		When: sandbox.FaultAfter, Action: sandbox.ActionTruncate, Status: http.StatusOK, Bytes: bytes,
		Body: fmt.Sprintf(orderedBody, ""),
	}
}

// retryAfter is status with a Retry-After of this many seconds.
func retryAfter(seconds, code int, body string) sandbox.Fault {
	fault := status(code, body)
	fault.Headers = map[string]string{"Retry-After": fmt.Sprint(seconds)}
	return fault
}

// trials returns a trial of every fault that the sandbox has.
func trials() []trial {
	redirect := status(http.StatusFound, "")
	redirect.Headers = map[string]string{"Location": "/elsewhere"}
	waiting := throttled
	waiting.pause = 2 * time.Second
	const (
		before, after = sandbox.FaultBefore, sandbox.FaultAfter
		page          = "<html><body>An error has occurred.</body></html>"
	)
	return []trial{
		{name: "delay", fault: sandbox.Fault{Delay: 300 * time.Millisecond}, verdict: smooth},
		{name: "a Date of an hour ago", fault: sandbox.Fault{Action: sandbox.ActionAlter, DateSkew: -time.Hour}, verdict: smooth, only: after},
		{name: "hold and clear", fault: sandbox.Fault{Action: sandbox.ActionHold}, verdict: smooth},

		{name: "drop once", fault: sandbox.Fault{Action: sandbox.ActionDrop}, verdict: recovered},
		{name: "hang", fault: sandbox.Fault{Action: sandbox.ActionHang}, verdict: recovered},
		{name: "drop", fault: sandbox.Fault{Action: sandbox.ActionDrop}, verdict: doubtful, reason: "the connection broke"},
		{name: "reset", fault: sandbox.Fault{Action: sandbox.ActionReset}, verdict: doubtful, reason: "the connection broke"},

		{name: "500", fault: status(500, ""), verdict: doubtful, reason: "HTTP status 500"},
		{name: "502 with a page", fault: status(502, page), verdict: doubtful, reason: "HTTP status 502"},
		{name: "503", fault: status(503, ""), verdict: doubtful, reason: "HTTP status 503"},
		{name: "500 server_error", fault: status(500, `{"error":"server_error"}`), verdict: throttled, reason: "server_error", only: before},
		{name: "500 with another error", fault: status(500, `{"error":"Internal Server Error"}`), verdict: doubtful, reason: "HTTP status 500"},
		{name: "503 temporarily_unavailable", fault: status(503, `{"error":"temporarily_unavailable"}`), verdict: throttled, reason: "temporarily_unavailable", only: before},
		{name: "302", fault: redirect, verdict: strange, reason: "redirect"},
		{name: "400", fault: status(400, ""), verdict: strange, reason: "without an OAuth error code"},
		{name: "400 with a page", fault: status(400, page), verdict: strange, reason: "without an OAuth error code"},

		{name: "garbage", fault: body("\x00\x01garbage"), verdict: doubtful, reason: "is not JSON"},
		{name: "a page", fault: body(page), verdict: doubtful, reason: "is not JSON"},
		{name: "no token", fault: body(`{"token_type":"Bearer","expires_in":600}`), verdict: doubtful, reason: "held no token"},
		{name: "no access token", fault: body(`{"refresh_token":"{{refresh_token}}"}`), verdict: refreshTokenOnly, only: after},

		{name: "cut at once", fault: cut(0), verdict: doubtful, reason: "cut off", only: after},
		{name: "cut in a name", fault: cut(beforeToken - 5), verdict: doubtful, reason: "cut off", only: after},
		{name: "cut in the refresh token", fault: cut(beforeToken + refreshToken/2), verdict: doubtful, reason: "cut off", only: after},
		{name: "cut before its quote", fault: cut(beforeToken + refreshToken), verdict: doubtful, reason: "cut off", only: after},
		{name: "cut after the refresh token", fault: cut(beforeToken + refreshToken + 1), verdict: refreshTokenOnly, only: after},
		{name: "cut in the access token", fault: cut(beforeToken + refreshToken + 40), verdict: refreshTokenOnly, only: after},
		{name: "cut after the access token", fault: cut(3000), verdict: smooth, only: after},

		{name: "429", fault: status(429, ""), verdict: throttled, reason: "fewer requests", only: before},
		{name: "429 with Retry-After", fault: retryAfter(2, 429, `{"error":"slow_down"}`), verdict: waiting, reason: "fewer requests", only: before},
		{name: "400 temporarily_unavailable", fault: status(400, `{"error":"temporarily_unavailable"}`), verdict: throttled, reason: "temporarily_unavailable", only: before},
		{name: "401 invalid_client", fault: status(401, `{"error":"invalid_client"}`), verdict: clientRefused, reason: "invalid_client", only: before},
		{name: "400 unauthorized_client", fault: status(400, `{"error":"unauthorized_client"}`), verdict: clientRefused, reason: "unauthorized_client", only: before},
		{name: "400 invalid_request", fault: status(400, `{"error":"invalid_request"}`), verdict: requestRefused, reason: "invalid_request", only: before},
		{name: "400 with a new code", fault: status(400, `{"error":"something_else"}`), verdict: strange, reason: "an error code that OAuth does not have"},
	}
}

// trialRun is an account that meets a fault.
type trialRun struct {
	*crashfixture.Account
	trial
	when sandbox.FaultTime
}

// TestEveryFaultOfTheTokenEndpoint has accounts with and without a spare meet every fault, before and after their refresh
// token is spent. An account may be lost only if the token was spent, the answer was destroyed and there was no spare.
func TestEveryFaultOfTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	var cases []trialRun
	for _, trial := range trials() {
		for _, when := range []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter} {
			if trial.only == "" || trial.only == when {
				cases = append(cases, trialRun{trial: trial, when: when}, trialRun{trial: trial, when: when}) // one with a spare, one without
			}
		}
	}
	f := crashfixture.New(fixture.New(t), len(cases), 6*time.Second)
	f.Concurrency = 24 // they mostly wait
	byMember := map[*crashfixture.Account]trialRun{}
	for i, account := range f.Accounts {
		cases[i].Account = account
		byMember[account] = cases[i]
	}
	if err := f.Each(f.Accounts, func(account *crashfixture.Account) error { return byMember[account].meet(f) }); err != nil {
		t.Error(err)
	}
	f.Settle()
	for _, c := range cases {
		c.wantEnd(f)
	}
	f.ReloadPlugin()
	tally := f.Check()
	t.Logf("%d cases", len(cases))
	if tally.LostWithoutSpare != tally.LostAnswers/2 {
		t.Errorf("every account without a spare that is lost should have a counterpart with a spare: %s", tally)
	}
}

// lost reports whether the successor of the first refresh token is lost.
func (c trialRun) lost() bool { return c.when == sandbox.FaultAfter && c.verdict.repeats > 1 }

// meet has the account make its first exchange, and checks what a caller gets and what the account says. The call is a
// write to refresh, because so many faults at one time close the gate, which holds back the exchanges of readers.
func (c trialRun) meet(f *crashfixture.Fixture) error {
	fault := c.fault
	fault.When, fault.User, fault.Count = c.when, c.Name, c.verdict.times
	handle, err := f.Sandbox.SetFault(fault)
	if err != nil {
		return err
	}
	if fault.Action == sandbox.ActionHold {
		go func() {
			if handle.Wait(f.Ctx, 1) == nil {
				handle.Clear()
			}
		}()
	}
	answer, err := f.Ask(http.MethodPost, "refresh/"+c.Name)
	if err != nil {
		return err
	}
	about, err := f.Ask(http.MethodGet, "accounts/"+c.Name)
	if err != nil {
		return err
	}
	want := c.verdict
	if want.times == 1 && c.lost() && !c.HasSpare {
		want.status, want.message, want.state = http.StatusBadRequest, "lost in transit", "reauthorization_required"
	}
	message := strings.Join(answer.Errors, "\n")
	if answer.Status != want.status || !strings.Contains(message, want.message) || !strings.Contains(message, c.reason) {
		return fmt.Errorf("%s: the caller got status %d, want %d with %q and %q: %q", c, answer.Status, want.status, want.message, c.reason, message)
	}
	if about.Data["state"] != want.state {
		return fmt.Errorf("%s: the state is %v, want %s", c, about.Data["state"], want.state)
	}
	if want.operator {
		_, err = f.Ask(http.MethodPost, "refresh/"+c.Name)
	}
	return err
}

// wantEnd asserts how often the refresh token was presented, and what the account says in the end.
func (c trialRun) wantEnd(f *crashfixture.Fixture) {
	f.T.Helper()
	ledger := f.Ledger(len(f.Sandbox.Requests()))
	presented := ledger.Presentations[c.RefreshTokens[0]]
	if len(presented) != c.verdict.repeats {
		f.T.Errorf("%s: the refresh token was presented %d times, want %d", c, len(presented), c.verdict.repeats)
	}
	for i := 1; i < len(presented); i++ {
		if pause := presented[i].Time.Sub(presented[i-1].Time); pause < c.verdict.pause {
			f.T.Errorf("%s: the refresh token was presented again after %s, want at least %s", c, pause, c.verdict.pause)
		}
	}
	state, spare := "ready", "none"
	switch {
	case c.HasSpare && c.lost():
		spare = "used"
	case c.HasSpare:
		spare = "ready"
	case c.lost():
		state = "reauthorization_required"
	}
	about := f.Read("accounts/" + c.Name)
	if got := about.Text("state"); got != state {
		f.T.Errorf("%s: the state is %s in the end, want %s", c, got, state)
	}
	if got := about.Text("spare"); got != spare {
		f.T.Errorf("%s: the spare is %s in the end, want %s", c, got, spare)
	}
}

// String describes the trial.
func (c trialRun) String() string {
	with := map[bool]string{true: "with", false: "without"}[c.HasSpare]
	return fmt.Sprintf("%s (%s), %s the token is spent, %s a spare", c.name, c.Name, c.when, with)
}
