package account

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// living returns a ready account with a token of 600 s that has so much left at
// noon.
func living(left time.Duration) Account {
	a, _, _ := Change{RefreshToken: oauth.NewSecret("rt")}.Apply("acme", nil, noon.Add(-time.Hour))
	issued := noon.Add(left - 600*time.Second)
	a.Access = &AccessToken{Token: oauth.NewSecret("at"), Issued: issued, Obtained: issued, Expires: issued.Add(600 * time.Second)}
	a.LastRefresh = issued
	return *a
}

func TestDecisionFollowsFromTheAccountTheWishAndTheTime(t *testing.T) {
	with := func(a Account, change func(*Account)) Account { change(&a); return a }
	fails := func(next time.Duration, kind FailureKind) func(*Account) {
		return func(a *Account) {
			a.Failure = &Failure{Kind: kind, NextAttempt: noon.Add(next), ClientRevision: "r1"}
		}
	}
	dead := func(a *Account) { a.Grant.Death = &Death{Time: noon, Code: oauth.CodeInvalidGrant} }
	intent := func(process string, deadline time.Duration) func(*Account) {
		return func(a *Account) {
			a.Grant.Intent = &Intent{Process: process, Started: noon, Deadline: noon.Add(deadline)}
		}
	}
	unsaved := func(a *Account) { a.Unsaved = true }
	onRead := func(a *Account) { a.RefreshOnRead = true }

	for name, c := range map[string]struct {
		account Account
		ask     Ask
		env     Env
		action  Action
		block   BlockReason
		ttl     time.Duration
		period  time.Duration
	}{
		"fresh token":                              {account: living(600 * time.Second), action: Serve, ttl: 480 * time.Second, period: 480 * time.Second},
		"a second before the window":               {account: living(121 * time.Second), action: Serve, ttl: time.Second, period: 480 * time.Second},
		"a millisecond less than a whole ttl":      {account: living(599*time.Second + 999*time.Millisecond), action: Serve, ttl: 480 * time.Second, period: 480 * time.Second},
		"at the edge of the window":                {account: living(120 * time.Second), action: Serve, ttl: time.Second, period: 480 * time.Second},
		"in the window":                            {account: living(119 * time.Second), action: Exchange},
		"expired":                                  {account: living(0), action: Exchange},
		"no token":                                 {account: with(living(600*time.Second), func(a *Account) { a.Access = nil }), action: Exchange},
		"a wish within the lifetime":               {account: living(300 * time.Second), ask: Ask{MinTTL: 299 * time.Second}, action: Serve, ttl: time.Second, period: 301 * time.Second},
		"a wish that wants more than is left":      {account: living(298 * time.Second), ask: Ask{MinTTL: 299 * time.Second}, action: Exchange},
		"a wish that wants more than half":         {account: living(301 * time.Second), ask: Ask{MinTTL: time.Hour}, action: Serve, ttl: time.Second, period: 300 * time.Second},
		"a wish below the configured min_ttl":      {account: living(119 * time.Second), ask: Ask{MinTTL: time.Second}, action: Exchange},
		"the account's min_ttl before the mount's": {account: with(living(60*time.Second), func(a *Account) { a.MinTTL = 30 * time.Second }), action: Serve, ttl: 30 * time.Second, period: 570 * time.Second},
		"forced":                                  {account: living(600 * time.Second), ask: Ask{Force: true}, action: Exchange},
		"refresh on read":                         {account: with(living(600*time.Second), onRead), action: Exchange},
		"refresh on read, after the exchange":     {account: with(living(600*time.Second), onRead), ask: Ask{shared: true}, action: Serve, ttl: 480 * time.Second, period: 480 * time.Second},
		"failing, token fresh":                    {account: with(living(600*time.Second), fails(time.Minute, FailedUnreachable)), action: Serve, block: BlockFailed, ttl: 480 * time.Second, period: 480 * time.Second},
		"failing, in the window":                  {account: with(living(100*time.Second), fails(20*time.Second, FailedUnreachable)), action: Stale, block: BlockFailed, ttl: 20 * time.Second, period: 480 * time.Second},
		"failing, next attempt soon":              {account: with(living(100*time.Second), fails(time.Second, FailedUnreachable)), action: Stale, block: BlockFailed, ttl: minStaleTTL, period: 480 * time.Second},
		"failing, next attempt after the end":     {account: with(living(30*time.Second), fails(time.Minute, FailedUnreachable)), action: Stale, block: BlockFailed, ttl: 30 * time.Second, period: 480 * time.Second},
		"failing, expired":                        {account: with(living(0), fails(time.Minute, FailedUnreachable)), action: Refuse, block: BlockFailed},
		"failing, the wait is over":               {account: with(living(0), fails(0, FailedUnreachable)), action: Exchange},
		"failing, forced":                         {account: with(living(0), fails(time.Minute, FailedUnreachable)), ask: Ask{Force: true}, action: Exchange},
		"client refused, client unknown":          {account: with(living(0), fails(time.Minute, FailedClient)), action: Refuse, block: BlockFailed},
		"client refused, client unchanged":        {account: with(living(0), fails(time.Minute, FailedClient)), env: Env{ClientRevision: "r1"}, action: Refuse, block: BlockFailed},
		"client refused, client changed":          {account: with(living(0), fails(time.Minute, FailedClient)), env: Env{ClientRevision: "r2"}, action: Exchange},
		"throttled, client changed":               {account: with(living(0), fails(time.Minute, FailedThrottled)), env: Env{ClientRevision: "r2"}, action: Refuse, block: BlockFailed},
		"dead, token alive":                       {account: with(living(300*time.Second), dead), action: Serve, block: BlockDead, ttl: 180 * time.Second, period: 480 * time.Second},
		"dead, in the window":                     {account: with(living(100*time.Second), dead), action: Stale, block: BlockDead, ttl: deadRecheck, period: 480 * time.Second},
		"dead":                                    {account: with(living(0), dead), action: Refuse, block: BlockDead},
		"dead, forced":                            {account: with(living(0), dead), ask: Ask{Force: true}, action: Exchange},
		"another process's intent":                {account: with(living(0), intent("other", 10*time.Second)), action: Refuse, block: BlockIntent},
		"another process's intent, forced":        {account: with(living(0), intent("other", 10*time.Second)), ask: Ask{Force: true}, action: Refuse, block: BlockIntent},
		"another process's intent, token alive":   {account: with(living(100*time.Second), intent("other", 10*time.Second)), action: Stale, block: BlockIntent, ttl: 12 * time.Second, period: 480 * time.Second},
		"another process's intent, too young yet": {account: with(living(0), intent("other", -takeoverGrace+time.Second)), action: Refuse, block: BlockIntent},
		"another process's intent, old enough":    {account: with(living(0), intent("other", -takeoverGrace)), action: Exchange},
		"this process's intent":                   {account: with(living(0), intent("me", time.Hour)), action: Exchange},
		"rescue copy, token fresh":                {account: with(living(600*time.Second), unsaved), action: Serve, block: BlockUnsaved, ttl: 480 * time.Second, period: 480 * time.Second},
		"rescue copy, forced":                     {account: with(living(600*time.Second), unsaved), ask: Ask{Force: true}, action: Stale, block: BlockUnsaved, ttl: minStaleTTL, period: 480 * time.Second},
		"rescue copy, expired":                    {account: with(living(0), unsaved), action: Refuse, block: BlockUnsaved},
		"the clock was set back":                  {account: living(2 * time.Hour), action: Serve, ttl: 480 * time.Second, period: 480 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			env := c.env
			env.Now, env.Process, env.MinTTL = noon, "me", 2*time.Minute
			d := Decide(&c.account, env, c.ask)
			if d.Action != c.action || d.Block.Reason != c.block {
				t.Fatalf("action %d, block %d; want %d, %d", d.Action, d.Block.Reason, c.action, c.block)
			}
			if (d.Action == Serve || d.Action == Stale) && (d.TTL != c.ttl || d.RotationPeriod != c.period) {
				t.Errorf("ttl %s, rotation_period %s; want %s, %s", d.TTL, d.RotationPeriod, c.ttl, c.period)
			}
		})
	}
}

func TestWishForMoreThanHalfTheLifetimeWarns(t *testing.T) {
	a := living(600 * time.Second)
	env := Env{Now: noon, MinTTL: 10 * time.Minute}
	if d := Decide(&a, env, Ask{}); d.Warning != "" || d.MinTTL != 300*time.Second {
		t.Errorf("configured min_ttl: %q, %s", d.Warning, d.MinTTL)
	}
	if d := Decide(&a, env, Ask{MinTTL: 301 * time.Second}); !strings.Contains(d.Warning, "5m0s") {
		t.Errorf("wished min_ttl: %q", d.Warning)
	}
}

// The policy holds for every account, not just for those of the table.
func TestDecisionsKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAccount(t)
		env := Env{
			Now: noon, Process: rapid.SampledFrom([]string{"me", "other"}).Draw(t, "process"),
			MinTTL: drawDuration(t, "mount's min_ttl", 0, 20*time.Minute),
		}
		ask := Ask{Force: rapid.Bool().Draw(t, "force"), MinTTL: drawDuration(t, "wish", 0, 20*time.Minute)}
		before := string(encode(&a))
		d := Decide(&a, env, ask)
		if string(encode(&a)) != before {
			t.Fatal("a decision changed the account")
		}
		alive := a.Access.Remaining(noon) > 0
		switch d.Action {
		case Serve, Stale:
			if !alive {
				t.Fatal("serves a token that is over")
			}
			if d.TTL < time.Second || d.RotationPeriod < time.Second || d.TTL%time.Second != 0 || (d.Action == Stale && d.TTL < minStaleTTL) {
				t.Fatalf("ttl %s, rotation_period %s", d.TTL, d.RotationPeriod)
			}
			if d.MinTTL > a.Access.Lifetime()/2 {
				t.Fatalf("min_ttl %s of a token of %s", d.MinTTL, a.Access.Lifetime())
			}
			later := env
			later.Now = noon.Add(d.TTL + 1)
			if again := Decide(&a, later, ask); d.Action == Serve && again.Action == Serve && !a.Access.Issued.After(noon) {
				t.Fatalf("serves the same token to who comes when the ttl of %s is over", d.TTL)
			}
		case Exchange:
			if a.Unsaved {
				t.Fatal("exchanges before a rescue copy is saved")
			}
			if in := a.Grant.Intent; in != nil && in.Process != env.Process && noon.Before(in.Deadline) {
				t.Fatal("exchanges while another process may")
			}
			if !ask.Force && a.Failure != nil && noon.Before(a.Failure.NextAttempt) {
				t.Fatal("exchanges before its time")
			}
			if !ask.Force && a.Grant.Death != nil {
				t.Fatal("exchanges a dead grant")
			}
		case LogIn:
			if c := a.Credentials; a.Grant.Death == nil || c == nil || c.Refused || noon.Sub(c.LastUsed) < time.Hour || a.Unsaved {
				t.Fatal("logs in, with no login due")
			}
		case Refuse:
			if alive {
				t.Fatal("refuses a reader while a token lives")
			}
			if d.Block.Reason == NotBlocked {
				t.Fatal("refuses without a reason")
			}
			if e := trouble("acme", &a, d.Block, noon); !strings.Contains(e.Error(), "acme") || len(e.Text) < 20 {
				t.Fatalf("says nothing: %v", e)
			}
		}
	})
}

func drawDuration(t *rapid.T, label string, from, to time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(int64(from), int64(to)).Draw(t, label))
}

func drawTime(t *rapid.T, label string) time.Time {
	return noon.Add(drawDuration(t, label, -2*time.Hour, 2*time.Hour)).Truncate(time.Millisecond)
}

func drawGrant(t *rapid.T, label string) Grant {
	g := newGrant(oauth.NewSecret(rapid.StringN(1, 20, -1).Draw(t, label)), drawTime(t, "authorized"))
	if rapid.Bool().Draw(t, "intent") {
		started := drawTime(t, "started")
		g.Intent = &Intent{ID: "i", Process: rapid.SampledFrom([]string{"me", "other"}).Draw(t, "of"), Started: started, Deadline: started.Add(20 * time.Second)}
	}
	if rapid.Bool().Draw(t, "doubt") {
		g.DoubtSince = drawTime(t, "since")
	}
	if rapid.Bool().Draw(t, "dead") {
		g.Death = &Death{Time: drawTime(t, "death"), Code: oauth.CodeInvalidGrant, LostSince: g.DoubtSince}
	}
	return g
}

func drawAccount(t *rapid.T) Account {
	a := Account{
		Client: DefaultClient, MinTTL: drawDuration(t, "min_ttl", 0, 20*time.Minute).Truncate(time.Second),
		RefreshOnRead: rapid.Bool().Draw(t, "refresh on read"), Unsaved: rapid.Bool().Draw(t, "unsaved"),
		Grant: drawGrant(t, "grant"),
	}
	if rapid.Bool().Draw(t, "spare") {
		spare := drawGrant(t, "spare grant")
		spare.Intent, spare.Death, spare.DoubtSince = nil, nil, time.Time{}
		a.Spare = &spare
	}
	if rapid.Bool().Draw(t, "token") {
		issued := drawTime(t, "issued")
		a.Access = &AccessToken{Token: oauth.NewSecret("at"), Issued: issued, Obtained: issued, Expires: issued.Add(drawDuration(t, "lifetime", time.Second, 2*time.Hour))}
		a.LastRefresh = issued
	}
	if rapid.Bool().Draw(t, "failed") {
		a.Failure = &Failure{
			Kind: rapid.SampledFrom([]FailureKind{
				FailedUnreachable, FailedInDoubt, FailedThrottled, FailedClient, FailedRequest, FailedAnswer, FailedStorage,
			}).Draw(t, "kind"),
			Reason: "a reason", Count: rapid.IntRange(1, 1000).Draw(t, "count"), ClientRevision: "r1",
			// No wait is longer.
			NextAttempt: noon.Add(drawDuration(t, "next", -2*time.Hour, humanBackOff)),
		}
	}
	if rapid.Bool().Draw(t, "credentials") {
		a.Credentials = &Credentials{LastUsed: drawTime(t, "last used"), Refused: rapid.Bool().Draw(t, "refused")}
	}
	return a
}
