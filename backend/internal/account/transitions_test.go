package account

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestTransitionsLoseNoToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAccount(t)
		before := string(encode(&a))
		begun := a.begin(Intent{ID: "new", Process: "me", Started: noon, Deadline: noon.Add(time.Minute)})
		if begun.Grant.RefreshToken != a.Grant.RefreshToken || begun.Grant.Intent.ID != "new" {
			t.Fatal("the intent lost the refresh token, or is not there")
		}
		if a.Grant.inDoubt() != !begun.Grant.DoubtSince.IsZero() {
			t.Fatal("an intent that was left behind is not remembered as a doubt")
		}
		r := drawResult(t)
		settled, step := begun.settle(outcome{Result: r, jitter: rapid.Float64Range(0, 0.999).Draw(t, "jitter"), clientRevision: "r2"})
		if string(encode(&a)) != before {
			t.Fatal("a transition changed the account that it began from")
		}
		if settled.Grant.Intent != nil {
			t.Fatal("a settled account still has an intent")
		}
		checkSettled(t, &begun, &settled, r, step)
	})
}

func checkSettled(t *rapid.T, begun, settled *Account, r oauth.Result, step next) {
	switch {
	case r.Outcome == oauth.Succeeded:
		if r.Tokens.RefreshToken.IsSet() && settled.Grant.RefreshToken != r.Tokens.RefreshToken {
			t.Fatal("the new refresh token is lost")
		}
		if r.Tokens.AccessToken.IsSet() == (settled.Failure != nil) || settled.Grant.inDoubt() || settled.Grant.Death != nil {
			t.Fatalf("after a success: state %s", settled.State())
		}
	case r.Code == oauth.CodeInvalidGrant && begun.Spare != nil:
		if step != useSpare || settled.Grant.RefreshToken != begun.Spare.RefreshToken || settled.Spare != nil || settled.Grant.Death != nil {
			t.Fatal("the spare has not taken over")
		}
	default:
		if settled.Grant.RefreshToken != begun.Grant.RefreshToken {
			t.Fatal("a failure changed the refresh token")
		}
		if c := begun.Credentials; r.Code == oauth.CodeInvalidGrant && (step == logIn) != (c != nil && !c.Refused && r.AnsweredAt.Sub(c.LastUsed) >= time.Hour) {
			t.Fatal("a login with the kept password is due once an hour")
		}
		if (r.Code == oauth.CodeInvalidGrant) != (settled.Grant.Death != nil && settled.Grant.Death != begun.Grant.Death) {
			t.Fatal("only invalid_grant kills a grant")
		}
		if r.Outcome == oauth.InDoubt && !settled.Grant.inDoubt() {
			t.Fatal("a doubt was forgotten")
		}
		if f := settled.Failure; f != nil {
			if wait := f.NextAttempt.Sub(r.AnsweredAt); wait < firstBackOff/2 || wait > max(maxRetryAfter, humanBackOff) {
				t.Fatalf("waits %s", wait)
			}
		} else if settled.Grant.Death == nil {
			t.Fatal("a failure that nothing tells of")
		}
	}
	if begun.Access != nil && settled.Access == nil {
		t.Fatal("a living access token was thrown away")
	}
}

func drawResult(t *rapid.T) oauth.Result {
	r := oauth.Result{
		Outcome:    rapid.SampledFrom([]oauth.Outcome{oauth.InDoubt, oauth.NotSent, oauth.Rejected, oauth.Succeeded}).Draw(t, "outcome"),
		Reason:     "a reason",
		RetryAfter: drawDuration(t, "retry after", 0, 48*time.Hour),
		SentAt:     noon, AnsweredAt: noon.Add(time.Second),
	}
	switch r.Outcome {
	case oauth.Rejected:
		r.Status = 400
		r.Code = rapid.SampledFrom([]oauth.ErrorCode{
			oauth.CodeInvalidGrant, oauth.CodeInvalidClient, oauth.CodeInvalidRequest, oauth.CodeOther, oauth.CodeTemporarilyUnavailable,
		}).Draw(t, "code")
	case oauth.Succeeded:
		r.Tokens.ExpiresIn = 600 * time.Second
		if rapid.Bool().Draw(t, "with refresh token") {
			r.Tokens.RefreshToken = oauth.NewSecret("next")
		}
		if rapid.Bool().Draw(t, "with access token") || !r.Tokens.RefreshToken.IsSet() {
			r.Tokens.AccessToken = oauth.NewSecret("at")
		}
	}
	return r
}

func TestBackOffGrowsToAMinuteAndStaysThere(t *testing.T) {
	for count, want := range map[int]time.Duration{0: 1, 1: 1, 2: 2, 3: 4, 6: 32, 7: 60, 8: 60, 63: 60, 64: 60, 1 << 40: 60} {
		want *= time.Second
		if low, high := backOff(count, 0), backOff(count, 0.999999); low != want/2 || high <= want/2 || high > want {
			t.Errorf("after %d failures: %s to %s, want %s to %s", count, low, high, want/2, want)
		}
	}
}

func TestExpiryCountsFromBeforeThePost(t *testing.T) {
	a := living(0).rotated(outcome{Result: oauth.Result{
		SentAt: noon, AnsweredAt: noon.Add(14 * time.Second),
		Tokens: oauth.Tokens{AccessToken: oauth.NewSecret("at"), ExpiresIn: 600 * time.Second},
	}})
	if want := noon.Add(600 * time.Second); !a.Access.Expires.Equal(want) {
		t.Errorf("expires %s, want %s", a.Access.Expires, want)
	}
	if !a.Access.Obtained.Equal(noon.Add(14 * time.Second)) {
		t.Errorf("obtained %s", a.Access.Obtained)
	}
}

func TestAnswerWithoutRefreshTokenKeepsTheOldOne(t *testing.T) {
	old := living(0)
	a := old.rotated(outcome{Result: oauth.Result{Tokens: oauth.Tokens{AccessToken: oauth.NewSecret("at")}}})
	if a.Grant.RefreshToken != old.Grant.RefreshToken {
		t.Error("the refresh token is gone (RFC 6749, section 6)")
	}
}

// Found by the simulation: a forced attempt that Vault's storage refused had cut
// the wait of an hour after invalid_request to a second.
func TestAttemptThatNeverLeftKeepsTheLongerWait(t *testing.T) {
	refused := living(0).failed(FailedRequest, outcome{Result: oauth.Result{AnsweredAt: noon, Reason: "refused"}})
	for _, kind := range []FailureKind{FailedUnreachable, FailedStorage} {
		a := refused.failed(kind, outcome{Result: oauth.Result{AnsweredAt: noon.Add(time.Second), Reason: "not sent"}})
		if a.Failure.Kind != FailedRequest || !a.Failure.NextAttempt.Equal(refused.Failure.NextAttempt) {
			t.Errorf("after %s: %+v", kind, a.Failure)
		}
		if a.LastError.Message != "not sent" {
			t.Errorf("last error %q", a.LastError.Message)
		}
	}
}
