package account

import (
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestShortWaitsGrowToAMinuteAndStayThere(t *testing.T) {
	for count, want := range map[int]time.Duration{
		-1: 1, 0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 32, 7: 60, 8: 60, 63: 60, 64: 60, 1 << 40: 60,
	} {
		want *= time.Second
		if low, high := BackOff(count, 0), BackOff(count, 0.999999); low != want/2 || high <= want*9/10 || high > want {
			t.Errorf("after %d failures: %s to %s, want %s to %s", count, low, high, want/2, want)
		}
	}
}

// fail runs an exchange that fails in a way, and is answered at noon and a second.
func (a Account) fail(kind FailureKind, jitter float64, retryAfter time.Duration) Account {
	busy := rejected("")
	busy.Status = 429
	r := map[FailureKind]oauth.Result{
		FailedUnreachable: notSent(), FailedStorage: notSent(), FailedThrottled: busy, FailedAnswer: succeededWithoutAccess("rt"),
		FailedInDoubt: noAnswer(), FailedClient: rejected(oauth.CodeInvalidClient), FailedRequest: rejected(oauth.CodeInvalidRequest),
	}[kind]
	r.RetryAfter = retryAfter
	o := Outcome{Result: r, Jitter: jitter, ClientRevision: "r1"}
	if kind == FailedStorage {
		return a.WithoutIntent(0, o)
	}
	a, _ = a.WithIntent(0, Intent{ID: "new", Process: "me"}).Settle(0, o)
	return a
}

// waitAfter returns the wait after failures of one kind.
func waitAfter(kind FailureKind, times int, jitter float64, retryAfter time.Duration) time.Duration {
	a := living(0)
	for range times {
		a = a.fail(kind, jitter, retryAfter)
	}
	return a.Grants[0].Failure.NextAttempt.Sub(noon.Add(time.Second))
}

func TestWaitFollowsFromTheKindOfFailureAndTheirNumber(t *testing.T) {
	short := []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, 60 * time.Second, 60 * time.Second}
	doubt := append([]time.Duration{2 * time.Second}, short[1:]...)
	long := []time.Duration{1 * time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, 60 * time.Minute, 60 * time.Minute}
	for kind, c := range map[FailureKind]struct {
		waits []time.Duration
		drawn bool // between half and whole
	}{
		FailedUnreachable: {short, true},
		FailedStorage:     {short, true},
		FailedThrottled:   {short, true},
		FailedAnswer:      {short, true},
		FailedInDoubt:     {doubt, true},
		FailedClient:      {long, false},
		FailedRequest:     {long, false},
	} {
		for i, whole := range c.waits {
			least := whole
			if c.drawn {
				least = whole / 2
			}
			low := waitAfter(kind, i+1, 0, 0)
			high := waitAfter(kind, i+1, 0.999999, 0)
			if low != least || high > whole || high < whole-time.Millisecond {
				t.Errorf("%s, failure %d: %s to %s, want %s to %s", kind, i+1, low, high, least, whole)
			}
		}
	}
}

func TestNoWaitIsLongerThanTheLongest(t *testing.T) {
	for _, kind := range []FailureKind{FailedUnreachable, FailedInDoubt, FailedUnreadable, FailedRefused, FailedThrottled, FailedClient, FailedRequest, FailedAnswer, FailedStorage, FailedSetup} {
		retryAfter := 48 * time.Hour
		if kind == FailedStorage || kind == FailedSetup { // nobody has answered
			retryAfter = 0
		}
		if wait := waitAfter(kind, 100, 0.999999, retryAfter); wait > kind.longest() {
			t.Errorf("%s: a wait of %s would not count, because it is longer than %s", kind, wait, kind.longest())
		}
	}
}

func TestRetryAfterIsBoundedAndNeverShortensAWait(t *testing.T) {
	for name, c := range map[string]struct {
		kind       FailureKind
		times      int
		retryAfter time.Duration
		want       time.Duration
	}{
		"it counts":                         {FailedThrottled, 1, 90 * time.Second, 90 * time.Second},
		"it is bounded":                     {FailedThrottled, 1, 48 * time.Hour, 10 * time.Minute},
		"a shorter one does not count":      {FailedThrottled, 7, 5 * time.Second, 30 * time.Second},
		"a longer one after a refusal":      {FailedRequest, 1, 3 * time.Minute, 3 * time.Minute},
		"a shorter one after many refusals": {FailedClient, 7, 48 * time.Hour, time.Hour},
		"in doubt":                          {FailedInDoubt, 1, time.Minute, time.Minute},
		"in doubt, a shorter one":           {FailedInDoubt, 1, time.Millisecond, time.Second},
	} {
		if got := waitAfter(c.kind, c.times, 0, c.retryAfter); got != c.want {
			t.Errorf("%s: waits %s, want %s", name, got, c.want)
		}
	}
}

func TestFailuresAndRefusalsAreCountedApart(t *testing.T) {
	a := living(0)
	for i, c := range []struct {
		kind            FailureKind
		count, refusals int
		wait            time.Duration
	}{
		{FailedThrottled, 1, 0, 500 * time.Millisecond},
		{FailedRequest, 2, 1, time.Minute}, // the first refusal, though the second failure
		{FailedThrottled, 3, 1, 2 * time.Second},
		{FailedClient, 4, 2, 2 * time.Minute}, // both kinds of refusal count together
		{FailedThrottled, 5, 2, 8 * time.Second},
		{FailedRequest, 6, 3, 4 * time.Minute},
	} {
		a = a.fail(c.kind, 0, 0)
		f := a.Grants[0].Failure
		if wait := f.NextAttempt.Sub(noon.Add(time.Second)); f.Kind != c.kind || f.Count != c.count || f.Refusals != c.refusals || wait != c.wait {
			t.Errorf("failure %d (%s): %+v, wait %s; want count %d, refusals %d, wait %s", i+1, c.kind, f, wait, c.count, c.refusals, c.wait)
		}
	}
}

func TestFailureKeepsWhatTheServerSaid(t *testing.T) {
	a, _ := living(0).refresh(rejected(oauth.CodeInvalidClient))
	f := a.Grants[0].Failure
	if f.Kind != FailedClient || f.Code != oauth.CodeInvalidClient || f.Reason != "the server answered invalid_client" || f.ClientRevision != "r1" {
		t.Errorf("%+v", f)
	}
}

// Found by the simulation: a forced attempt that Vault's storage refused had cut
// the wait of an hour after invalid_request to a second.
func TestAttemptThatWasNotSentKeepsTheLongerWait(t *testing.T) {
	refused, _ := living(0).refresh(rejected(oauth.CodeInvalidRequest))
	later := Outcome{Result: oauth.Result{AnsweredAt: noon.Add(2 * time.Second), Reason: "not sent", Outcome: oauth.NotSent}}
	unreachable, _ := refused.WithIntent(0, Intent{ID: "i", Process: "me"}).Settle(0, later)
	for name, a := range map[string]Account{
		"unreachable": unreachable,
		"storage":     refused.WithoutIntent(0, later),
	} {
		f := a.Grants[0].Failure
		if f.Kind != FailedRequest || !f.NextAttempt.Equal(refused.Grants[0].Failure.NextAttempt) || f.Refusals != 1 {
			t.Errorf("after %s: %+v", name, f)
		}
		if lastError(&a) != "not sent" {
			t.Errorf("after %s: last error %q", name, lastError(&a))
		}
	}
}

func TestAttemptThatWasNotSentDoesNotKeepAWaitThatIsOver(t *testing.T) {
	a, _ := living(0, first(refused(1), waited)).refresh(notSent())
	if f := a.Grants[0].Failure; f.Kind != FailedUnreachable || f.NextAttempt.Sub(noon) != 2*time.Second || f.Refusals != 1 {
		t.Errorf("%+v", f)
	}
}

func TestAttemptThatWasNotSentWaitsInSpiteOfATimeFromAWrongClock(t *testing.T) {
	a, _ := living(0, first(failed(FailedThrottled, 48*time.Hour))).refresh(notSent())
	if h := a.Hold(Conditions{Now: noon.Add(time.Second)}, false); h.Reason != HeldByFailure {
		t.Errorf("the next attempt does not wait: %+v", a.Grants[0].Failure)
	}
}

func TestWaitCountsOnlyWithinTheLongestOne(t *testing.T) {
	for name, c := range map[string]struct {
		kind FailureKind
		next time.Duration
		held bool
	}{
		"over":                         {FailedRequest, 0, false},
		"a second":                     {FailedRequest, time.Second, true},
		"the longest":                  {FailedRequest, time.Hour + clockMargin, true},
		"longer than the longest":      {FailedRequest, time.Hour + clockMargin + 1, false},
		"a year, of a wrong clock":     {FailedRequest, 365 * 24 * time.Hour, false},
		"the longest Retry-After":      {FailedThrottled, maxRetryAfter + clockMargin, true},
		"longer than that":             {FailedThrottled, maxRetryAfter + clockMargin + 1, false},
		"the longest of a storage":     {FailedStorage, time.Minute + clockMargin, true},
		"twenty minutes of a storage":  {FailedStorage, 20 * time.Minute, false},
		"the longest of the gate":      {FailedHeldBack, time.Hour, true},
		"the longest without a client": {FailedSetup, setupWait, true},
	} {
		f := &Failure{Kind: c.kind, NextAttempt: noon.Add(c.next)}
		if held := f.waitsUntil(noon).After(noon); held != c.held {
			t.Errorf("%s: held %t", name, held)
		}
	}
	if !(*Failure)(nil).waitsUntil(noon).IsZero() {
		t.Error("no failure waits")
	}
}

func TestChangeOfTheClientEndsTheWaitsThatItMayHaveCaused(t *testing.T) {
	for kind, want := range map[FailureKind]bool{
		FailedClient: true, FailedRequest: true, FailedUnreachable: true,
		FailedInDoubt: false, FailedThrottled: false, FailedAnswer: false, FailedStorage: false,
	} {
		a := accountOf(grantOf("rt", failed(kind, time.Minute))) // with the revision r1
		for revision, over := range map[string]bool{"": false, "r1": false, "r2": want} {
			if got := a.Hold(Conditions{Now: noon, ClientRevision: revision}, false).Reason == NotHeld; got != over {
				t.Errorf("%s, now the client's revision is %q: the wait is over: %t, want %t", kind, revision, got, over)
			}
		}
		if a.WaitsForClient() != want {
			t.Errorf("%s: waits for the client: %t, want %t", kind, !want, want)
		}
	}
	if a := living(0); a.WaitsForClient() {
		t.Error("an account without a failure waits for its client")
	}
}
