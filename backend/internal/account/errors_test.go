package account

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestWhatHoldsAnExchangeIsSaidInWords(t *testing.T) {
	fails := func(kind FailureKind) Account { return living(0, first(failed(kind, time.Minute))) }
	password := func(c Credentials) func(*Account) { return func(a *Account) { a.Credentials = &c } }
	doubt := fails(FailedInDoubt)
	doubt.Grants[0].DoubtSince = noon.Add(-time.Minute)
	for name, c := range map[string]struct {
		account Account
		kind    ErrorKind
		next    time.Duration // 0 if it is not known
		want    []string
	}{
		"rescue copy":      {living(0, func(a *Account) { a.Unsaved = true }), KindStorage, 0, []string{"held in memory"}},
		"another process":  {living(0, first(intentOf("other", 20*time.Second))), KindUnavailable, 22 * time.Second, []string{"another process began an exchange at 2026-03-01T12:00:00Z", "next attempt at 2026-03-01T12:00:22Z"}},
		"dead":             {living(0, first(dead)), KindDead, 0, []string{"reauthorization required", "(invalid_grant)", "authorize/acme", "accounts/acme"}},
		"dead, password":   {living(0, first(dead), password(Credentials{LastUsed: noon.Add(-time.Minute)})), KindDead, 59 * time.Minute, []string{"logs in again with the kept password at 2026-03-01T12:59:00Z"}},
		"dead, refused":    {living(0, first(dead), password(Credentials{Refused: true})), KindDead, 0, []string{"refused the kept password, too"}},
		"client refused":   {fails(FailedClient), KindClient, time.Minute, []string{"a reason", `refuses the client "default"`, "correct clients/default", "next attempt at 2026-03-01T12:01:00Z"}},
		"request refused":  {fails(FailedRequest), KindClient, time.Minute, []string{"check clients/default", "accounts/acme"}},
		"unreachable":      {fails(FailedUnreachable), KindUnavailable, time.Minute, []string{"nothing was sent"}},
		"throttled":        {fails(FailedThrottled), KindUnavailable, time.Minute, []string{"the refresh token is untouched"}},
		"no access token":  {fails(FailedAnswer), KindUnavailable, time.Minute, []string{"the refresh token is saved"}},
		"storage":          {fails(FailedStorage), KindStorage, time.Minute, []string{"fix Vault's storage"}},
		"in doubt":         {doubt, KindUnavailable, time.Minute, []string{"in doubt since 2026-03-01T11:59:00Z", "presented once more"}},
		"no answer at all": {fails(FailedInDoubt), KindUnavailable, time.Minute, []string{"a reason, so it is not known whether the refresh token was spent"}},
	} {
		e := HoldError("acme", &c.account, c.account.Hold(Conditions{Now: noon, Process: "me"}, false), noon)
		if e.Kind != c.kind || !strings.Contains(e.Error(), `account "acme"`) {
			t.Errorf("%s: kind %d, %v", name, e.Kind, e)
		}
		for _, want := range c.want {
			if !strings.Contains(e.Error(), want) {
				t.Errorf("%s: %v; want %q", name, e, want)
			}
		}
		if c.next == 0 && !e.NextAttempt.IsZero() || c.next != 0 && e.NextAttempt.Sub(noon) != c.next {
			t.Errorf("%s: next attempt at %s", name, e.NextAttempt)
		}
	}
}

func TestWaitThatIsOverIsSaidToBe(t *testing.T) {
	for name, wait := range map[string]time.Duration{"over": 0, "of a wrong clock": 24 * time.Hour} {
		a := living(0, first(failed(FailedThrottled, wait)))
		if e := HoldError("acme", &a, Hold{Reason: HeldByFailure}, noon); !strings.Contains(e.Text, "the next read tries again") {
			t.Errorf("%s: %v", name, e)
		}
	}
	a := living(0, first(dead))
	a.Credentials = &Credentials{}
	if e := HoldError("acme", &a, Hold{Reason: HeldDead}, noon); !strings.Contains(e.Text, "the next read logs in again") {
		t.Errorf("%v", e)
	}
}

func TestOutcomeErrorSaysHowTheLastExchangeFailed(t *testing.T) {
	var e *Error
	if a := living(0); OutcomeError("acme", &a, noon) != nil {
		t.Error("a success is an error")
	}
	a, _ := living(0).refresh(rejected(oauth.CodeInvalidClient))
	if err := OutcomeError("acme", &a, noon); !errors.As(err, &e) || e.Kind != KindClient || e.NextAttempt.Sub(noon) != time.Minute+time.Second {
		t.Errorf("%v", err)
	}
	a, _ = a.refresh(rejected(oauth.CodeInvalidGrant))
	if err := OutcomeError("acme", &a, noon); !errors.As(err, &e) || e.Kind != KindDead {
		t.Errorf("%v", err)
	}
}

func TestSecondRefusalIsAnErrorOrTriesTheNextGrant(t *testing.T) {
	refusal := rejected(oauth.CodeInvalidRequest)
	a, next := accountOf(grantOf("a"), grantOf("b")).refresh(refusal, refusal)
	if next != UseNextGrant && OutcomeError("acme", &a, noon) == nil {
		t.Errorf("follow-up %d, no error, state %s", next, a.State())
	}
}

func TestAttentionNamesWhatAPersonHasToDo(t *testing.T) {
	refusedAccount, _ := living(0).refresh(rejected(oauth.CodeInvalidClient))
	unreachable, _ := living(0).refresh(notSent())
	for name, c := range map[string]struct {
		account Account
		since   time.Time
		err     string // "" if nobody has to do anything within a minute
		remedy  string
	}{
		"ready":             {account: living(0)},
		"unreachable":       {account: unreachable},
		"dead, spare ready": {account: accountOf(grantOf("a", dead), grantOf("b"))},
		"dead":              {living(0, first(dead)), noon.Add(-time.Minute), "(invalid_grant)", "authorize/acme"},
		"refused":           {refusedAccount, noon.Add(time.Second), "invalid_client", "clients/default"},
	} {
		p, from := c.account.Attention("acme", noon)
		if c.err == "" {
			if p != nil && !from.After(noon.Add(time.Minute)) {
				t.Errorf("%s: %+v", name, p)
			}
			continue
		}
		if p == nil || p.Account != "acme" || p.State != c.account.State() || !p.Since.Equal(c.since) || from.After(noon.Add(time.Minute)) || !strings.Contains(p.Error, c.err) || !strings.Contains(p.Remedy, c.remedy) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestDoubtWithoutAFailureNeedsAttention(t *testing.T) {
	a := accountOf(grantOf("rt", func(g *Grant) { g.DoubtSince = noon }))
	if p, _ := a.Attention("acme", noon); p == nil || p.State != StateInDoubt {
		t.Errorf("%+v", p)
	}
}

func TestAuthorizationEndsALifetimeAfterItBegan(t *testing.T) {
	const lifetime = 3 * 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		account  Account
		lifetime time.Duration
		want     time.Time
	}{
		"known":     {living(0), lifetime, noon.Add(lifetime - time.Hour)},
		"not known": {living(0), 0, time.Time{}},
		"of the grant in use": {
			accountOf(grantOf("a", dead), grantOf("b", func(g *Grant) { g.AuthorizedAt = noon })), lifetime, noon.Add(lifetime),
		},
	} {
		if got := c.account.AuthorizationEnd(c.lifetime); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
