package rotation

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestRescueCopyServesReadersUntilItIsSaved(t *testing.T) {
	for name, late := range map[string]bool{"the Put failed": false, "the Put held, but its answer was lost": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.enrol("acme")
				f.afterPost(errDisk, late)
				for range 3 {
					a := f.token("acme")
					if a.Token.Token.Reveal() != "at-for-rt-0" || len(a.Warnings) != 1 {
						t.Fatalf("got %+v, want the new token with a warning", a)
					}
				}
				// No other exchange before it is saved: neither forced nor because
				// the token is over, and no write comes between.
				if _, err := f.Refresh(t.Context(), "acme"); err == nil {
					t.Error("a forced refresh went past an unsaved refresh token")
				}
				time.Sleep(599 * time.Second)
				f.token("acme")
				time.Sleep(time.Minute)
				f.refused("acme", account.KindStorage)
				if err := f.write("acme", account.Change{RefreshToken: oauth.NewSecret("new")}); err == nil {
					t.Error("a write went past an unsaved refresh token")
				}
				f.wantPosts("rt-0")

				f.storage.setFault(nil)
				time.Sleep(2 * time.Minute)
				if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
					t.Fatalf("stored refresh token %s, want rt-1", got)
				}
				if a := f.token("acme"); len(a.Warnings) != 0 {
					t.Errorf("warnings after the rescue: %q", a.Warnings)
				}
				f.wantPosts("rt-0", "rt-1")
			})
		})
	}
}

func TestInvalidationKeepsARescueCopy(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.afterPost(errDisk, false)
		f.token("acme")
		f.Invalidate("acme")
		if a := f.token("acme"); a.Token.Token.Reveal() != "at-for-rt-0" {
			t.Errorf("got %+v", a)
		}
		f.wantPosts("rt-0")
	})
}

func TestInDoubtIsRetriedPromptlyOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(noAnswer)
		start := time.Now()
		f.token("acme")
		if d := time.Since(start); d < time.Second || d > 2*time.Second {
			t.Errorf("the retry came after %s, want 1 to 2 s", d)
		}
		f.wantPosts("rt-0", "rt-0")
		f.wantState("acme", account.StateReady)
		if e := f.account("acme").LastError; e == nil || !strings.HasPrefix(e.Message, "recovered") || !strings.Contains(e.Message, account.Stamp(start)) {
			t.Errorf("last error %+v, want recovered, and since when it was in doubt", e)
		}
	})
}

func TestInDoubtBacksOffAfterThePromptRetry(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		for range 100 {
			f.server.next(noAnswer)
		}
		f.server.probed = oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer came"}
		start := clock()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { f.refused("acme", account.KindUnavailable) })
		}
		wg.Wait()
		f.wantPosts("rt-0", "rt-0")
		f.wantState("acme", account.StateInDoubt)
		a := f.stored("acme")
		if !a.Grants[0].DoubtSince.Equal(start) || a.Grants[0].Intent != nil {
			t.Errorf("stored: in doubt since %s, intent %v; want %s and none", a.Grants[0].DoubtSince, a.Grants[0].Intent, start)
		}
		if e := a.LastError; !strings.Contains(e.Message, "in doubt since "+account.Stamp(start)) {
			t.Errorf("last error: %s", e.Message)
		}
		// An hour of readers every second: exchanges are held back, and probed for.
		for range 3600 {
			time.Sleep(time.Second)
			f.refused("acme", account.KindUnavailable)
		}
		if n := len(f.server.posts()); n < 3 || n > 5 {
			t.Errorf("%d presentations in an hour of outage", n)
		}
		if n := f.server.probes; n < 55 || n > 70 {
			t.Errorf("%d probes in an hour of outage", n)
		}
	})
}

func TestLostInTransitIsToldApart(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(noAnswer, invalidGrant)
		start := time.Now()
		e := f.refused("acme", account.KindDead)
		if !strings.Contains(e.Error(), "lost in transit") || !strings.Contains(e.Error(), account.Stamp(start)) {
			t.Errorf("message: %v", e)
		}
		if m := f.account("acme").LastError.Message; !strings.Contains(m, "lost in transit") {
			t.Errorf("last error: %s", m)
		}
	})
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(invalidGrant)
		if e := f.refused("acme", account.KindDead); strings.Contains(e.Error(), "lost in transit") {
			t.Errorf("message: %v; nothing was in doubt", e)
		}
	})
}

func TestIntentOfADeadProcessIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.token("acme")
		// The process stops for good in the middle of the next exchange.
		time.Sleep(550 * time.Second)
		f.server.next(grantAfter(time.Hour))
		first := f.Manager
		go first.Token(t.Context(), "acme", account.ReadRequest{}) //nolint:errcheck // nobody gets its answer
		synctest.Wait()
		frozen := f.stored("acme")
		began := time.Now()
		defer first.Close()

		f.restart("process-2")
		a := f.token("acme")
		if a.Token.Token.Reveal() != "at-for-rt-0" || len(a.Warnings) != 1 || a.TTL < 3*time.Second {
			t.Errorf("got %+v, want the living token with a warning", a)
		}
		f.wantState("acme", account.StateInDoubt)
		if _, err := f.Refresh(t.Context(), "acme"); err == nil {
			t.Error("a forced refresh went past another process's intent")
		}
		for time.Since(began) < f.settings.ExchangeTimeout {
			f.token("acme")
			f.wantPosts("rt-0", "rt-1")
			time.Sleep(time.Second)
		}
		time.Sleep(time.Until(frozen.Grants[0].Intent.Deadline.Add(2 * time.Second)))
		f.token("acme")
		f.wantPosts("rt-0", "rt-1", "rt-1")
		if e := f.account("acme").LastError; e == nil || !strings.HasPrefix(e.Message, "recovered") {
			t.Errorf("last error %+v", e)
		}
	})
}

func TestIntentOfADeadProcessIsNamedWhereNoTokenIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(grantAfter(time.Hour))
		first := f.Manager
		go first.Token(t.Context(), "acme", account.ReadRequest{}) //nolint:errcheck // nobody gets its answer
		synctest.Wait()
		defer first.Close()
		f.restart("process-2")
		e := f.refused("acme", account.KindUnavailable)
		if want := f.stored("acme").Grants[0].Intent.Deadline.Add(2 * time.Second); !e.NextAttempt.Equal(want) || !strings.Contains(e.Error(), account.Stamp(want)) {
			t.Errorf("next attempt at %s, want %s: %v", e.NextAttempt, want, e)
		}
	})
}

func TestOutageMakesOnePostAWait(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(unreachable, unreachable)
		for range 50 {
			f.refused("acme", account.KindUnavailable)
		}
		f.wantPosts("rt-0")
		wait := func() time.Duration { return time.Until(f.account("acme").Grants[0].Failure.NextAttempt) }
		first := wait()
		time.Sleep(first)
		f.refused("acme", account.KindUnavailable)
		f.wantPosts("rt-0", "rt-0")
		if second := wait(); first <= 0 || second != 2*first {
			t.Errorf("it waits %s, and then %s", first, second)
		}
		if a := f.account("acme"); a.State() != account.StateFailing || !a.Current().DoubtSince.IsZero() {
			t.Error("an exchange that was never sent left the account in doubt")
		}
	})
}

func TestOutageIsAWarningWhileTheTokenLives(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		first := f.token("acme")
		time.Sleep(500 * time.Second)
		for range 100 {
			f.server.next(unreachable)
		}
		for range 90 {
			a := f.token("acme")
			if a.Token.Token.Reveal() != first.Token.Token.Reveal() || len(a.Warnings) != 1 || a.TTL < 3*time.Second {
				t.Fatalf("got %+v, want the living token, a warning and a ttl of 3 s at least", a)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(11 * time.Second)
		f.refused("acme", account.KindUnavailable)
		if n := len(f.server.posts()); n > 12 {
			t.Errorf("%d presentations in 100 s of outage", n)
		}
	})
}

func TestRetryAfterIsHonouredUpToABound(t *testing.T) {
	for _, c := range []struct{ asked, want time.Duration }{
		{30 * time.Second, 30 * time.Second}, {24 * time.Hour, 10 * time.Minute}, {0, 750 * time.Millisecond},
	} {
		inBubble(t, func(t *testing.T, f *fixture) {
			f.enrol("acme")
			f.server.next(answer(oauth.Result{Outcome: oauth.Rejected, Status: 429, Reason: "too many requests", RetryAfter: c.asked}))
			e := f.refused("acme", account.KindUnavailable)
			if got := e.NextAttempt.Sub(clock()); got != c.want {
				t.Errorf("Retry-After %s: waits %s, want %s", c.asked, got, c.want)
			}
		})
	}
}

func TestRefusedClientWaitsForACorrection(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(invalidClient)
		f.refused("acme", account.KindClient)
		time.Sleep(59 * time.Second)
		f.refused("acme", account.KindClient)
		f.wantPosts("rt-0")
		f.clients.set(&Client{Client: oauth.Client{Secret: oauth.NewSecret("right")}, Revision: "r2"})
		f.token("acme")
		f.wantPosts("rt-0", "rt-0")
	})
}

func TestOtherRefusalsAreNotRepeatedInALoop(t *testing.T) {
	for _, code := range []oauth.ErrorCode{oauth.CodeInvalidRequest, oauth.CodeOther, oauth.CodeInvalidScope, oauth.CodeUnauthorizedClient} {
		inBubble(t, func(t *testing.T, f *fixture) {
			f.enrol("acme")
			for range 100 {
				f.server.next(rejected(code))
			}
			for range 24 * 60 {
				f.refused("acme", account.KindClient)
				time.Sleep(time.Minute)
			}
			if n := len(f.server.posts()); n < 25 || n > 35 {
				t.Errorf("%d presentations in a day", n)
			}
		})
	}
}

func TestPreviousSecretIsTriedWhereTheNewOneIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.clients.client.PreviousSecret = oauth.NewSecret("old secret")
		f.server.next(invalidClient)
		f.token("acme")
		if got := strings.Join(f.server.secrets, ","); got != "secret,old secret" || len(f.clients.worked) != 0 {
			t.Errorf("tried %s; worked: %v", got, f.clients.worked)
		}
		time.Sleep(10 * time.Minute)
		f.token("acme")
		synctest.Wait()
		if len(f.clients.worked) != 1 || f.clients.worked[0] != "r1" {
			t.Errorf("worked: %v, want r1 once", f.clients.worked)
		}
	})
}

func TestSpareTakesOverInTheSameRead(t *testing.T) {
	for name, first := range map[string]func(f *fixture){
		"rejected":        func(f *fixture) { f.server.next(invalidGrant) },
		"lost in transit": func(f *fixture) { f.server.next(noAnswer, invalidGrant) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.enrol("acme", withSpare)
				if got := f.account("acme").SpareState(); got != account.SpareReady {
					t.Errorf("spare %s before", got)
				}
				first(f)
				if a := f.token("acme"); a.Token.Token.Reveal() != "at-for-spare-0" || len(a.Warnings) != 0 {
					t.Errorf("got %+v", a)
				}
				a := f.stored("acme")
				if a.SpareState() != account.SpareUsed || a.State() != account.StateReady || !strings.Contains(a.LastError.Message, name) {
					t.Errorf("stored: spare %s, state %s, last error %+v", a.SpareState(), a.State(), a.LastError)
				}
			})
		})
	}
}

func TestDeadSpareEndsTheAccount(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", withSpare)
		f.server.next(invalidGrant, invalidGrant)
		f.refused("acme", account.KindDead)
		f.wantPosts("rt-0", "spare-0")
		a := f.account("acme")
		if got := a.SpareState(); got != account.SpareNone {
			t.Errorf("spare %s, though it never worked", got)
		}
		if strings.Contains(f.log.String(), "has taken over") || !strings.Contains(a.LastError.Message, "the next grant, too") {
			t.Errorf("last error %q, log:\n%s", a.LastError.Message, f.log)
		}
	})
}

func TestSpareSurvivesAStorageThatFailsWhenItTakesOver(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", withSpare)
		f.server.next(invalidGrant)
		f.afterPost(errDisk, false)
		f.refused("acme", account.KindStorage)
		f.wantPosts("rt-0")
		f.storage.setFault(nil)
		time.Sleep(time.Minute)
		f.token("acme")
		f.wantPosts("rt-0", "spare-0")
	})
}

// A server may call a dead token by another name than invalid_grant.
func TestARefusedGrantStepsBackBehindOneThatWorks(t *testing.T) {
	for _, step := range []func(context.Context, string) oauth.Result{
		rejected(oauth.CodeInvalidRequest), rejected(oauth.CodeAccessDenied), rejected(oauth.CodeUnauthorizedClient),
		answer(oauth.Result{Outcome: oauth.Refused, Status: 401, Reason: "the server answered HTTP status 401 without an OAuth error code"}),
	} {
		inBubble(t, func(t *testing.T, f *fixture) {
			f.enrol("acme", withSpare)
			f.server.always = func(ctx context.Context, presented string) oauth.Result {
				if presented == "rt-0" {
					return step(ctx, presented)
				}
				return grant(ctx, presented)
			}
			start := time.Now()
			for {
				if _, err := f.Token(t.Context(), "acme", account.ReadRequest{}); err == nil {
					break
				}
				time.Sleep(time.Second)
			}
			if d := time.Since(start); d > 65*time.Second {
				t.Errorf("the spare was tried after %s", d)
			}
			a := f.stored("acme")
			if len(a.Grants) != 2 || a.Grants[1].RefreshToken.Reveal() != "rt-0" || a.SpareState() != account.SpareUsed || a.State() != account.StateReady {
				t.Errorf("grants %v, spare %s, state %s", a.Grants, a.SpareState(), a.State())
			}
			if !strings.Contains(a.LastError.Message, "the spare grant has taken over") {
				t.Errorf("last error %q", a.LastError.Message)
			}
		})
	}
}

func TestAGatewayThatIsWrongForHalfAMinuteCostsAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		start := time.Now()
		f.server.always = func(ctx context.Context, presented string) oauth.Result {
			if time.Since(start) < 30*time.Second {
				return oauth.Result{Outcome: oauth.Refused, Status: 404, Reason: "the server answered HTTP status 404 without an OAuth error code"}
			}
			return grant(ctx, presented)
		}
		for {
			if _, err := f.Token(t.Context(), "acme", account.ReadRequest{}); err == nil {
				break
			}
			time.Sleep(time.Second)
		}
		if d := time.Since(start); d > 90*time.Second {
			t.Errorf("it worked again after %s", d)
		}
	})
}

func TestAWrongTokenURLIsNotAskedThousandsOfTimesADay(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.always = answer(oauth.Result{Outcome: oauth.Refused, Status: 404, Reason: "the server answered HTTP status 404 without an OAuth error code"})
		for range 24 * 60 {
			_, _ = f.Token(t.Context(), "acme", account.ReadRequest{})
			time.Sleep(time.Minute)
		}
		if n := len(f.server.posts()); n < 20 || n > 40 {
			t.Errorf("%d presentations in a day", n)
		}
		if o := f.Overview(time.Now(), 10); len(o.Problems) != 1 || !strings.Contains(o.Problems[0].Remedy, "token_url") {
			t.Errorf("%+v", o.Problems)
		}
	})
}

func TestASlipOfTheKeyboardDoesNotCostTheGrantThatWorks(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", withSpare)
		f.token("acme")
		if err := f.write("acme", account.Change{RefreshToken: secret("typo")}); err != nil {
			t.Fatal(err)
		}
		f.server.next(invalidGrant)
		if got := f.token("acme").Token.Token.Reveal(); got != "at-for-rt-1" {
			t.Errorf("got %s", got)
		}
		f.wantPosts("rt-0", "typo", "rt-1")
		a := f.stored("acme")
		if !strings.Contains(a.LastError.Message, "the refresh token that was written was useless") || a.SpareState() != account.SpareReady {
			t.Errorf("last error %q, spare %s", a.LastError.Message, a.SpareState())
		}
	})
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.token("acme")
		if err := f.write("acme", account.Change{RefreshToken: secret("better")}); err != nil {
			t.Fatal(err)
		}
		if got := f.account("acme").SpareState(); got != account.SpareNone {
			t.Errorf("the former grant counts as a spare: %s", got)
		}
		f.token("acme")
		if a := f.stored("acme"); len(a.Grants) != 1 {
			t.Errorf("the former grant is still there: %v", a.Grants)
		}
	})
}

func TestTheTokenOfADeadGrantComesWithAWarningAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.token("acme")
		f.server.next(invalidGrant)
		if _, err := f.Refresh(t.Context(), "acme"); err == nil {
			t.Fatal("no error")
		}
		a := f.token("acme")
		if len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "may have ended this access token") || a.Source != FromCache {
			t.Errorf("%+v", a)
		}
	})
}
