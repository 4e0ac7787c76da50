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

// verdict is what an account makes of an answer to an exchange.
type verdict struct {
	times   int    // how many exchanges in a row meet the fault
	status  int    // that the reader gets
	message string // what the error contains
	state   string // of the account then
	// operator says that the account does not go on by itself.
	operator bool
	// repeats is how often the refresh token is presented in all, until a success or a rejection.
	repeats int
	// pause is the least time between two of these.
	pause time.Duration
}

// The verdicts. What is in doubt is presented once more in the same read: it takes two strikes to see
// anything of it.
var (
	smooth    = verdict{times: 1, status: 200, state: "ready", repeats: 1}
	recovered = verdict{times: 1, status: 200, state: "ready", repeats: 2, pause: time.Second}
	doubtful  = verdict{
		times: 2, status: 503, message: "in doubt since", state: "in_doubt", repeats: 3, pause: time.Second,
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

// trial is a fault at the token endpoint and what the plugin has to make of it.
type trial struct {
	name    string
	fault   sandbox.Fault
	verdict verdict
	reason  string // what the error says, beyond the verdict
	// only restricts the trial to faults before the refresh token is spent, or after.
	only sandbox.FaultTime
}

// A body in which the refresh token comes first, so that a cut can be made behind it. The sandbox's
// refresh tokens all have one length.
const (
	orderedBody  = `{"refresh_token":"{{refresh_token}}","access_token":"{{access_token}}","padding":"` + "%4000s" + `"}`
	beforeToken  = len(`{"refresh_token":"`)
	refreshToken = len("_1XBPWQQ_00000000-0000-0000-0000-000000000000")
)

// status answers with a status and a body.
func status(code int, body string) sandbox.Fault {
	return sandbox.Fault{Action: sandbox.ActionStatus, Status: code, Body: body}
}

// body answers 200 with a body.
func body(text string) sandbox.Fault {
	return sandbox.Fault{Action: sandbox.ActionBody, Status: http.StatusOK, Body: text}
}

// cut breaks the answer off after so many bytes of the ordered body.
func cut(bytes int) sandbox.Fault {
	return sandbox.Fault{
		When: sandbox.FaultAfter, Action: sandbox.ActionTruncate, Status: http.StatusOK, Bytes: bytes,
		Body: fmt.Sprintf(orderedBody, ""),
	}
}

// retryAfter is status with a Retry-After of so many seconds.
func retryAfter(seconds, code int, body string) sandbox.Fault {
	fault := status(code, body)
	fault.Headers = map[string]string{"Retry-After": fmt.Sprint(seconds)}
	return fault
}

// trials are all faults that the sandbox has.
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
		{name: "302", fault: redirect, verdict: doubtful, reason: "redirect"},
		{name: "400", fault: status(400, ""), verdict: doubtful, reason: "without an OAuth error code"},
		{name: "400 with a page", fault: status(400, page), verdict: doubtful, reason: "without an OAuth error code"},

		{name: "garbage", fault: body("\x00\x01garbage"), verdict: doubtful, reason: "is not JSON"},
		{name: "a page", fault: body(page), verdict: doubtful, reason: "is not JSON"},
		{name: "no token", fault: body(`{"token_type":"Bearer","expires_in":600}`), verdict: doubtful, reason: "held no token"},
		{name: "no access token", fault: body(`{"refresh_token":"{{refresh_token}}"}`), verdict: refreshTokenOnly, only: after},

		{name: "cut at once", fault: cut(0), verdict: doubtful, reason: "cut off", only: after},
		{name: "cut in a name", fault: cut(beforeToken - 5), verdict: doubtful, reason: "cut off", only: after},
		{name: "cut in the refresh token", fault: cut(beforeToken + refreshToken/2), verdict: doubtful, reason: "cut off", only: after},
		{name: "cut before its quote", fault: cut(beforeToken + refreshToken), verdict: doubtful, reason: "cut off", only: after},
		{name: "cut behind the refresh token", fault: cut(beforeToken + refreshToken + 1), verdict: refreshTokenOnly, only: after},
		{name: "cut in the access token", fault: cut(beforeToken + refreshToken + 40), verdict: refreshTokenOnly, only: after},
		{name: "cut behind the access token", fault: cut(3000), verdict: smooth, only: after},

		{name: "429", fault: status(429, ""), verdict: throttled, reason: "fewer requests", only: before},
		{name: "429 with Retry-After", fault: retryAfter(2, 429, `{"error":"slow_down"}`), verdict: waiting, reason: "fewer requests", only: before},
		{name: "400 temporarily_unavailable", fault: status(400, `{"error":"temporarily_unavailable"}`), verdict: throttled, reason: "temporarily_unavailable", only: before},
		{name: "401 invalid_client", fault: status(401, `{"error":"invalid_client"}`), verdict: clientRefused, reason: "invalid_client", only: before},
		{name: "400 unauthorized_client", fault: status(400, `{"error":"unauthorized_client"}`), verdict: clientRefused, reason: "unauthorized_client", only: before},
		{name: "400 invalid_request", fault: status(400, `{"error":"invalid_request"}`), verdict: requestRefused, reason: "invalid_request", only: before},
		{name: "400 with a new code", fault: status(400, `{"error":"something_else"}`), verdict: doubtful, reason: "an error code that OAuth does not have"},
	}
}

// trialRun is a member that meets a fault.
type trialRun struct {
	*crashfixture.Account
	trial
	when sandbox.FaultTime
}

// TestEveryFaultOfTheTokenEndpoint has accounts with and without a spare meet every fault, before and
// after their refresh token is spent: an account is lost where the token was spent, the answer
// destroyed and no spare was there, and nowhere else.
func TestEveryFaultOfTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	var cases []trialRun
	for _, trial := range trials() {
		for _, when := range []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter} {
			if trial.only == "" || trial.only == when {
				cases = append(cases, trialRun{trial: trial, when: when}, trialRun{trial: trial, when: when}) // with a spare, and without
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
		t.Errorf("for each account that is lost, one with a spare should have met the same: %s", tally)
	}
}

// lost says whether the successor of the first refresh token never comes.
func (c trialRun) lost() bool { return c.when == sandbox.FaultAfter && c.verdict.repeats > 1 }

// meet has the member run its first exchange, and looks at what a reader gets and sees of it.
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
	read, err := f.Ask(http.MethodGet, "token/"+c.Name)
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
	message := strings.Join(read.Errors, "\n")
	if read.Status != want.status || !strings.Contains(message, want.message) || !strings.Contains(message, c.reason) {
		return fmt.Errorf("%s: the reader got status %d, want %d with %q and %q: %q", c, read.Status, want.status, want.message, c.reason, message)
	}
	if about.Data["state"] != want.state {
		return fmt.Errorf("%s: the state is %v, want %s", c, about.Data["state"], want.state)
	}
	if want.operator {
		_, err = f.Ask(http.MethodPost, "refresh/"+c.Name)
	}
	return err
}

// wantEnd asserts how often the refresh token was presented and what the account says in the end.
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

// String names the case.
func (c trialRun) String() string {
	with := map[bool]string{true: "with", false: "without"}[c.HasSpare]
	return fmt.Sprintf("%s (%s), %s the token is spent, %s a spare", c.name, c.Name, c.when, with)
}
