package account

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestOutcomeOfAnExchangeDecidesTheStateAndWhatFollows(t *testing.T) {
	busy := rejected("")
	busy.Status = 429
	later := noAnswer()
	later.RetryAfter = time.Minute
	for name, c := range map[string]struct {
		result oauth.Result
		state  State
		kind   FailureKind
		next   FollowUp
		tokens string
		err    string
	}{
		"succeeded":               {succeeded("rt2"), StateReady, "", Finish, "rt2", ""},
		"no access token":         {succeededWithoutAccess("rt2"), StateFailing, FailedAnswer, Finish, "rt2", "no usable access token"},
		"not sent":                {notSent(), StateFailing, FailedUnreachable, Finish, "rt", "no connection"},
		"no answer":               {noAnswer(), StateInDoubt, FailedInDoubt, RetryPromptly, "rt", "in doubt since 2026-03-01T12:00:00Z: no answer"},
		"no answer, told to wait": {later, StateInDoubt, FailedInDoubt, Finish, "rt", "in doubt since"},
		"invalid_grant":           {rejected(oauth.CodeInvalidGrant), StateDead, "", Finish, "rt", "the server rejected the refresh token (invalid_grant) at 2026-03-01T12:00:01Z"},
		"invalid_client":          {rejected(oauth.CodeInvalidClient), StateFailing, FailedClient, Finish, "rt", "invalid_client"},
		"unauthorized_client":     {rejected(oauth.CodeUnauthorizedClient), StateFailing, FailedClient, Finish, "rt", "unauthorized_client"},
		"unsupported_grant_type":  {rejected(oauth.CodeUnsupportedGrantType), StateFailing, FailedClient, Finish, "rt", "unsupported_grant_type"},
		"invalid_scope":           {rejected(oauth.CodeInvalidScope), StateFailing, FailedClient, Finish, "rt", "invalid_scope"},
		"invalid_request":         {rejected(oauth.CodeInvalidRequest), StateFailing, FailedRequest, Finish, "rt", "invalid_request"},
		"an unknown code":         {rejected(oauth.CodeOther), StateFailing, FailedRequest, Finish, "rt", "unregistered"},
		"429":                     {busy, StateFailing, FailedThrottled, Finish, "rt", ""},
		"slow_down":               {rejected(oauth.CodeSlowDown), StateFailing, FailedThrottled, Finish, "rt", "slow_down"},
		"temporarily_unavailable": {rejected(oauth.CodeTemporarilyUnavailable), StateFailing, FailedThrottled, Finish, "rt", "temporarily"},
		"server_error":            {rejected(oauth.CodeServerError), StateFailing, FailedThrottled, Finish, "rt", "server_error"},
	} {
		before := living(100 * time.Second)
		a, next := before.refresh(c.result)
		if a.State() != c.state || next != c.next || tokensOf(&a) != c.tokens || !strings.Contains(lastError(&a), c.err) {
			t.Errorf("%s: state %s, follow-up %d, token %s, last error %q", name, a.State(), next, tokensOf(&a), lastError(&a))
		}
		var kind FailureKind
		if f := a.Grants[0].Failure; f != nil {
			kind = f.Kind
		}
		if kind != c.kind {
			t.Errorf("%s: failure %q, want %q", name, kind, c.kind)
		}
		if c.result.Outcome != oauth.Succeeded && (a.Access != before.Access || a.RefreshCount != before.RefreshCount || !a.LastRefresh.Equal(before.LastRefresh)) {
			t.Errorf("%s: a failure changed the access token, or counts as a refresh", name)
		}
	}
}

func TestSuccessIsWrittenDown(t *testing.T) {
	r := succeeded("rt2")
	r.Tokens.TokenType, r.Tokens.Scope, r.Tokens.Claims, r.Tokens.HasClaims = "DPoP", "all", "c", true
	a, _ := accountOf(grantOf("rt", refused(1))).refresh(r)
	want := AccessToken{
		Token: secret("at-rt2"), TokenType: "DPoP", Scope: "all", Claims: "c", HasClaims: true,
		Issued: noon, Obtained: noon.Add(time.Second), Expires: noon.Add(600 * time.Second),
	}
	if !reflect.DeepEqual(*a.Access, want) {
		t.Errorf("access token %+v", *a.Access)
	}
	g := a.Grants[0]
	if !a.LastRefresh.Equal(r.AnsweredAt) || !g.LastExchange.Equal(r.AnsweredAt) || a.RefreshCount != 1 || g.Failure != nil || g.Intent != nil {
		t.Errorf("%+v", a)
	}
	if g.FirstTokenHash != hash(secret("rt")) || !g.AuthorizedAt.Equal(noon.Add(-time.Hour)) {
		t.Error("an exchange began another grant")
	}
}

func TestExpiryCountsFromBeforeThePost(t *testing.T) {
	r := succeeded("rt2")
	r.AnsweredAt = noon.Add(14 * time.Second)
	a, _ := living(0).refresh(r)
	if want := noon.Add(600 * time.Second); !a.Access.Expires.Equal(want) {
		t.Errorf("expires %s, want %s", a.Access.Expires, want)
	}
	if !a.Access.Obtained.Equal(noon.Add(14 * time.Second)) {
		t.Errorf("obtained %s", a.Access.Obtained)
	}
}

func TestAnswerWithoutRefreshTokenKeepsTheOldOne(t *testing.T) {
	r := succeeded("")
	if a, _ := living(0).refresh(r); tokensOf(&a) != "rt" {
		t.Error("the refresh token is gone (RFC 6749, section 6)")
	}
}

func TestDoubtIsRememberedUntilItIsSettled(t *testing.T) {
	second := noAnswer()
	second.SentAt, second.AnsweredAt = noon.Add(2*time.Second), noon.Add(3*time.Second)
	a, next := living(0).refresh(noAnswer())
	if next != RetryPromptly {
		t.Errorf("after the first one: follow-up %d", next)
	}
	a, next = a.refresh(second)
	if next != Finish || !a.Grants[0].DoubtSince.Equal(noon) {
		t.Errorf("after the second one: follow-up %d, in doubt since %s", next, a.Grants[0].DoubtSince)
	}
	for name, r := range map[string]oauth.Result{"not sent": notSent(), "refused": rejected(oauth.CodeInvalidRequest)} {
		if b, next := a.refresh(r); next != Finish || b.State() != StateInDoubt || !strings.HasPrefix(lastError(&b), "in doubt since 2026-03-01T12:00:00Z: ") {
			t.Errorf("%s: follow-up %d, state %s, last error %q", name, next, b.State(), lastError(&b))
		}
	}
	b, _ := a.refresh(rejected(oauth.CodeInvalidGrant))
	if b.State() != StateDead || !b.Grants[0].Death.LostSince.Equal(noon) || !strings.Contains(lastError(&b), "lost in transit: the exchange sent at 2026-03-01T12:00:00Z got no answer") {
		t.Errorf("state %s, last error %q", b.State(), lastError(&b))
	}
	c, _ := a.refresh(succeeded("rt2"))
	if c.State() != StateReady || !c.Grants[0].DoubtSince.IsZero() || !strings.HasPrefix(lastError(&c), "recovered: the exchange sent at 2026-03-01T12:00:00Z got no answer") {
		t.Errorf("state %s, last error %q", c.State(), lastError(&c))
	}
}

func TestIntentThatWasLeftIsADoubt(t *testing.T) {
	a := living(0, first(intentOf("other", 20*time.Second)))
	a.Grants[0].Intent.Started = noon.Add(-time.Minute)
	begun := a.WithIntent(0, Intent{ID: "new", Process: "me", Started: noon})
	if g := begun.Grants[0]; !g.DoubtSince.Equal(noon.Add(-time.Minute)) || g.Intent.ID != "new" {
		t.Errorf("%+v", g)
	}
	if b, next := a.refresh(noAnswer()); next != Finish || !b.Grants[0].DoubtSince.Equal(noon.Add(-time.Minute)) {
		t.Errorf("follow-up %d, %+v", next, b.Grants[0])
	}
	again := begun.WithIntent(0, Intent{ID: "newer", Process: "me", Started: noon.Add(time.Minute)})
	if !again.Grants[0].DoubtSince.Equal(noon.Add(-time.Minute)) {
		t.Error("a later intent moved the doubt")
	}
}

func TestIntentThatCannotBeWrittenSpendsNothing(t *testing.T) {
	a := living(100 * time.Second)
	b := a.WithoutIntent(0, Outcome{Result: oauth.Result{Reason: "the disk is full", AnsweredAt: noon}, ClientRevision: "r1"})
	if tokensOf(&b) != "rt" || b.Grants[0].Intent != nil || b.State() != StateFailing || b.Grants[0].Failure.Kind != FailedStorage || lastError(&b) != "the disk is full" {
		t.Errorf("state %s, last error %q, %+v", b.State(), lastError(&b), b.Grants[0])
	}
}

func TestDeadAccountLogsInWithTheKeptPasswordOnceAnHour(t *testing.T) {
	answered := noon.Add(time.Second)
	for name, c := range map[string]struct {
		credentials *Credentials
		want        FollowUp
	}{
		"none":                  {nil, Finish},
		"never used":            {&Credentials{}, LogIn},
		"used an hour ago":      {&Credentials{LastUsed: answered.Add(-time.Hour)}, LogIn},
		"used within the hour":  {&Credentials{LastUsed: answered.Add(-time.Hour + 1)}, Finish},
		"used in the future":    {&Credentials{LastUsed: answered.Add(time.Hour)}, LogIn},
		"refused":               {&Credentials{Refused: true}, Finish},
		"refused, long unused ": {&Credentials{Refused: true, LastUsed: noon.Add(-24 * time.Hour)}, Finish},
	} {
		a := living(0)
		a.Credentials = c.credentials
		if _, next := a.refresh(rejected(oauth.CodeInvalidGrant)); next != c.want {
			t.Errorf("%s: follow-up %d, want %d", name, next, c.want)
		}
		a.Grants = append(a.Grants, grantOf("spare"))
		if _, next := a.refresh(rejected(oauth.CodeInvalidGrant)); next != UseNextGrant {
			t.Errorf("%s, with a spare: follow-up %d", name, next)
		}
	}
}

func TestForcedAttemptOfADeadGrantThatFailsSaysHow(t *testing.T) {
	a := living(0, first(dead))
	a.Credentials = &Credentials{}
	for name, r := range map[string]oauth.Result{"not sent": notSent(), "refused": rejected(oauth.CodeInvalidClient), "no answer": noAnswer()} {
		b, next := a.refresh(r)
		if next == LogIn || !strings.Contains(lastError(&b), r.Reason) || b.State() != StateDead {
			t.Errorf("%s: follow-up %d, last error %q", name, next, lastError(&b))
		}
	}
}

func TestSuccessWithoutAccessTokenEndsTheRefusals(t *testing.T) {
	a, _ := accountOf(grantOf("a", refused(2))).refresh(succeededWithoutAccess("a2"))
	if f := a.Grants[0].Failure; f.Kind != FailedAnswer || f.Refusals != 0 {
		t.Errorf("%+v", f)
	}
}

func TestTransitionsLoseNoToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAccount(t)
		i := rapid.IntRange(0, len(a.Grants)-1).Draw(t, "grant")
		if a.Grants[i].Death != nil { // it is presented if it is in use, and forced
			i = a.InUse()
		}
		before := string(Encode(&a))
		begun := a.WithIntent(i, Intent{ID: "new", Process: "me", Started: noon, Deadline: noon.Add(time.Minute)})
		if tokensOf(&begun) != tokensOf(&a) || begun.Grants[i].Intent.ID != "new" {
			t.Fatal("the intent lost a refresh token, or is not there")
		}
		if a.Grants[i].inDoubt() != !begun.Grants[i].DoubtSince.IsZero() {
			t.Fatal("an intent that was left is not remembered as a doubt")
		}
		written := string(Encode(&begun))
		r := drawResult(t)
		settled, next := begun.Settle(i, Outcome{Result: r, Jitter: rapid.Float64Range(0, 0.999).Draw(t, "jitter"), ClientRevision: "r2"})
		if string(Encode(&a)) != before || string(Encode(&begun)) != written {
			t.Fatal("a transition changed the account that it began from")
		}
		checkList(t, &settled)
		checkOthers(t, &begun, &settled, i, r)
		checkSettled(t, &begun, &settled, i, r, next)
		if a.Access != nil && settled.Access == nil {
			t.Fatal("an access token was thrown away")
		}
	})
}

// checkList checks what holds for the list of grants after every transition.
func checkList(t *rapid.T, a *Account) {
	if len(a.Grants) == 0 {
		t.Fatal("there is no grant left")
	}
	seen := map[string]bool{}
	for _, g := range a.Grants {
		if !g.RefreshToken.IsSet() || seen[g.FirstTokenHash] {
			t.Fatalf("a grant without a token, or twice in the list: %+v", g)
		}
		seen[g.FirstTokenHash] = true
	}
	if len(a.RetiredHashes) > maxRetired {
		t.Fatalf("%d retired grants", len(a.RetiredHashes))
	}
}

// find returns the grant of an account that a token began, or nil.
func (a *Account) find(firstTokenHash string) *Grant {
	if i := slices.IndexFunc(a.Grants, func(g Grant) bool { return g.FirstTokenHash == firstTokenHash }); i >= 0 {
		return &a.Grants[i]
	}
	return nil
}

// uses reports whether a grant is the one in use.
func (a *Account) uses(g Grant) bool { return a.Current().FirstTokenHash == g.FirstTokenHash }

// checkOthers checks the grants that were not exchanged: they stay as they are, or
// are retired because they are dead or replaced and another one has worked.
func checkOthers(t *rapid.T, begun, settled *Account, i int, r oauth.Result) {
	for j := range begun.Grants {
		g := begun.Grants[j]
		after := settled.find(g.FirstTokenHash)
		switch {
		case j == i:
		case after == nil:
			if r.Outcome != oauth.Succeeded || !settled.uses(begun.Grants[i]) || g.Death == nil && !g.Replaced {
				t.Fatalf("the exchange of another grant removed %+v", g)
			}
			if !slices.Contains(settled.RetiredHashes, g.FirstTokenHash) {
				t.Fatalf("a grant is gone and not remembered: %+v", g)
			}
		default:
			// What it waits for may end, but nothing else changes.
			if g.Replaced = g.Replaced && after.Replaced; reflect.DeepEqual(*after, g) {
				continue
			}
			t.Fatalf("the exchange of another grant changed\n%+v to\n%+v", g, *after)
		}
	}
}

// checkSettled checks the grant that was exchanged, and what follows.
func checkSettled(t *rapid.T, begun, settled *Account, i int, r oauth.Result, next FollowUp) {
	before, waiting := begun.Grants[i], i != begun.InUse()
	after := settled.find(before.FirstTokenHash)
	died := r.Code == oauth.CodeInvalidGrant
	if after == nil {
		if !died || !waiting || !slices.Contains(settled.RetiredHashes, before.FirstTokenHash) {
			t.Fatal("the grant is gone")
		}
		return
	}
	if after.Intent != nil {
		t.Fatal("a settled grant still has an intent")
	}
	if r.Outcome == oauth.Succeeded {
		checkSucceeded(t, settled, after, before, r, waiting && !settled.uses(before))
		return
	}
	if !after.RefreshToken.Equal(before.RefreshToken) {
		t.Fatal("a failure changed the refresh token")
	}
	if died != (after.Death != before.Death) {
		t.Fatal("only invalid_grant ends a grant")
	}
	if r.Outcome == oauth.InDoubt && !after.inDoubt() {
		t.Fatal("a doubt was forgotten")
	}
	if !waiting && settled.LastError == begun.LastError {
		t.Fatal("a failure that last_error does not tell")
	}
	if died {
		if after.Failure != nil || !after.Death.LostSince.Equal(before.DoubtSince) {
			t.Fatalf("a dead grant: %+v", after)
		}
		checkFollowsDeath(t, settled, r, next)
		return
	}
	checkWait(t, before.Failure, after.Failure, r)
}

func checkSucceeded(t *rapid.T, settled *Account, after *Grant, before Grant, r oauth.Result, waiting bool) {
	if r.Tokens.RefreshToken.IsSet() && !after.RefreshToken.Equal(r.Tokens.RefreshToken) {
		t.Fatal("the new refresh token is lost")
	}
	if r.Tokens.AccessToken.IsSet() == (after.Failure != nil) || after.inDoubt() || after.Death != nil {
		t.Fatalf("after a success: %+v", after)
	}
	if waiting {
		return
	}
	if settled.Grants[0].FirstTokenHash != before.FirstTokenHash || after.Replaced {
		t.Fatal("a grant that works is not the first")
	}
	if r.Tokens.AccessToken.IsSet() && settled.InUse() != 0 {
		t.Fatal("a grant that works is not in use")
	}
}

func checkFollowsDeath(t *rapid.T, settled *Account, r oauth.Result, next FollowUp) {
	want := Finish
	if settled.firstLiving() >= 0 {
		want = UseNextGrant
	} else if c := settled.Credentials; c != nil && !c.Refused {
		if since := r.AnsweredAt.Sub(c.LastUsed); since >= time.Hour || since < -2*time.Second {
			want = LogIn
		}
	}
	if next != want {
		t.Fatalf("follow-up %d, want %d", next, want)
	}
}

func checkWait(t *rapid.T, before, after *Failure, r oauth.Result) {
	if after == nil {
		t.Fatal("a failure that nothing tells of")
	}
	if after == before {
		if r.Outcome != oauth.NotSent {
			t.Fatal("a failure was not counted")
		}
		return
	}
	if wait := after.NextAttempt.Sub(r.AnsweredAt); wait < 500*time.Millisecond || wait > time.Hour {
		t.Fatalf("waits %s", wait)
	}
}

// Whatever happens to an account, in whatever order: no grant that lives is lost
// without a reason, and no value that is shared changes.
func TestAccountsKeepTheirGrantsWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAccount(t)
		fresh := 0
		token := func() oauth.Secret { fresh++; return secret(fmt.Sprint("fresh ", fresh)) }
		draw := func() func(Account) Account {
			i := rapid.IntRange(0, len(a.Grants)-1).Draw(t, "index")
			o := Outcome{Result: drawResult(t), ClientRevision: "r2"}
			o.Tokens.RefreshToken = token()
			change := Change{}
			if rapid.Bool().Draw(t, "a written grant") {
				change.RefreshToken = token()
			}
			if rapid.Bool().Draw(t, "a written spare") {
				change.SpareRefreshToken = token()
			}
			return rapid.SampledFrom([]func(Account) Account{
				func(a Account) Account { a, _ = a.exchange(a.InUse(), o.Result); return a },
				func(a Account) Account {
					if a.Grants[i].Death != nil {
						return a
					}
					a, _ = a.exchange(i, o.Result)
					return a
				},
				func(a Account) Account { return a.WithoutIntent(i, o) },
				func(a Account) Account { return a.LoggedIn(o) },
				func(a Account) Account { return a.LoggedInAsSpare(o) },
				func(a Account) Account {
					b, _, err := change.Apply("acme", &a, noon)
					if err != nil {
						t.Fatal(err)
					}
					return *b
				},
			}).Draw(t, "operation")
		}
		for range rapid.IntRange(1, 8).Draw(t, "operations") {
			before := string(Encode(&a))
			one, two := draw(), draw()
			next := one(a)
			snapshot := string(Encode(&next))
			_ = two(a)
			if string(Encode(&a)) != before {
				t.Fatal("an operation changed the account that it began from")
			}
			if string(Encode(&next)) != snapshot {
				t.Fatal("two operations on one account share memory")
			}
			checkList(t, &next)
			for _, g := range a.Grants {
				if next.find(g.FirstTokenHash) == nil && !slices.Contains(next.RetiredHashes, g.FirstTokenHash) {
					t.Fatalf("a grant is gone and not remembered: %+v", g)
				}
			}
			a = next
		}
	})
}
