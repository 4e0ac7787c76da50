package account

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func auto(a *Account) { a.AutoRefresh = true }

// usedAt gives a grant its last exchange, relative to noon.
func usedAt(since time.Duration) func(*Grant) {
	return func(g *Grant) { g.LastExchange = noon.Add(since) }
}

func TestNextTaskFollowsFromTheAccount(t *testing.T) {
	const keepalive, s, h = 10 * time.Hour, time.Second, time.Hour
	password := func(lastUsed time.Duration) func(*Account) {
		return func(a *Account) { a.Credentials = &Credentials{LastUsed: noon.Add(lastUsed)} }
	}
	spare := func(changes ...func(*Grant)) func(*Account) {
		return func(a *Account) { a.Grants = append(a.Grants, grantOf("spare", changes...)) }
	}
	issued := func(ago time.Duration) Account { return living(600*s-ago, auto) }
	none := time.Duration(-1 << 62)
	for name, c := range map[string]struct {
		account   Account
		keepalive time.Duration
		kind      TaskKind
		at        time.Duration // from noon; none for "now, whenever that is"
		grant     int
	}{
		"nothing is wanted":              {account: living(0), kind: NoTask},
		"before the first login":         {account: Account{}, keepalive: keepalive, kind: NoTask},
		"rescue copy":                    {account: living(0, auto, func(a *Account) { a.Unsaved = true }), keepalive: keepalive, kind: NoTask},
		"auto refresh, before the lead":  {account: issued(0), kind: RefreshTask, at: 450 * s}, // 600 s, less min_ttl 120 s and 5 % of the life
		"auto refresh, expired":          {account: issued(h), kind: RefreshTask, at: none},
		"auto refresh, no token yet":     {account: living(0, auto, func(a *Account) { a.Access = nil }), kind: RefreshTask, at: none},
		"auto refresh, future token":     {account: issued(-24 * h), kind: RefreshTask, at: none},
		"auto refresh, failing":          {account: living(0, auto, first(failed(FailedClient, h))), kind: RefreshTask, at: h},
		"auto refresh, failing for ever": {account: living(0, auto, first(failed(FailedClient, 24*h))), kind: RefreshTask, at: none},
		"auto refresh, foreign intent":   {account: living(0, auto, first(intentOf("other", 20*s))), kind: RefreshTask, at: 22 * s},
		"auto refresh, own intent":       {account: living(0, auto, first(intentOf("me", 20*s))), kind: RefreshTask, at: none},
		"dead":                           {account: living(0, auto, first(dead)), keepalive: keepalive, kind: NoTask},
		"dead, password kept":            {account: living(0, auto, first(dead), password(-10*time.Minute)), kind: RefreshTask, at: 50 * time.Minute},
		"dead, password never used":      {account: living(0, auto, first(dead), func(a *Account) { a.Credentials = &Credentials{} }), kind: RefreshTask, at: none},
		"dead, password used in future":  {account: living(0, auto, first(dead), password(24*h)), kind: RefreshTask, at: none},
		"dead, password, no auto":        {account: living(0, first(dead), password(-2*h)), keepalive: keepalive, kind: NoTask},
		"dead, spare about to take over": {account: living(0, auto, first(dead), spare()), kind: RefreshTask, at: none},
		"refused twice, spare ready":     {account: living(0, auto, first(refused(2), failsFor(h)), spare()), kind: RefreshTask, at: none},
		"kept alive":                     {account: living(0), keepalive: keepalive, kind: RefreshTask, at: 9 * h}, // begun an hour ago
		"kept alive since last exchange": {account: living(0, first(usedAt(-30*time.Minute))), keepalive: keepalive, kind: RefreshTask, at: 9*h + 30*time.Minute},
		"kept alive, failing":            {account: living(0, first(failed(FailedRequest, h))), keepalive: h, kind: RefreshTask, at: h},
		"kept alive, wrong clock":        {account: living(0, first(usedAt(365*24*h))), keepalive: keepalive, kind: RefreshTask, at: none},
		"kept alive, a little ahead":     {account: living(0, first(usedAt(longestWait))), keepalive: keepalive, kind: RefreshTask, at: keepalive + longestWait},
		"spare, no keepalive":            {account: living(0, spare()), kind: NoTask},
		"spare, kept alive":              {account: living(0, auto, spare(usedAt(-h)), func(a *Account) { a.Access.Expires = a.Access.Expires.Add(20 * h); a.Access.Issued = noon }), keepalive: keepalive, kind: KeepAliveTask, at: 9 * h, grant: 1},
		"spare that is due":              {account: living(0, first(usedAt(0)), spare(func(g *Grant) { g.AuthorizedAt = noon.Add(-11 * h) })), keepalive: keepalive, kind: KeepAliveTask, at: -h, grant: 1},
		"spare that fails":               {account: living(0, first(usedAt(0)), spare(func(g *Grant) { g.AuthorizedAt = noon.Add(-11 * h) }, failed(FailedClient, h))), keepalive: keepalive, kind: KeepAliveTask, at: h, grant: 1},
		"spare that another process has": {account: living(0, first(usedAt(0)), spare(func(g *Grant) { g.AuthorizedAt = noon.Add(-11 * h) }, intentOf("other", 20*s))), keepalive: keepalive, kind: KeepAliveTask, at: 22 * s, grant: 1},
		"spare with a wrong clock":       {account: living(0, spare(usedAt(365*24*h))), keepalive: keepalive, kind: KeepAliveTask, at: none, grant: 1},
		"spare is dead":                  {account: living(0, first(usedAt(0)), spare(func(g *Grant) { g.AuthorizedAt = noon.Add(-11 * h) }, dead)), keepalive: keepalive, kind: RefreshTask, at: keepalive},
		"a replaced grant only waits":    {account: living(0, first(usedAt(0)), spare(func(g *Grant) { g.AuthorizedAt = noon.Add(-11 * h) }, replaced)), keepalive: keepalive, kind: RefreshTask, at: keepalive},
		"a refused grant is kept alive": {
			account:   living(0, first(refused(2), func(g *Grant) { g.AuthorizedAt = noon.Add(-11 * h) }), spare(usedAt(0))),
			keepalive: keepalive, kind: KeepAliveTask, at: 2 * time.Minute, grant: 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			task := c.account.NextTask(Conditions{Now: noon, Process: "me", MinTTL: 2 * time.Minute}, c.keepalive)
			if task.Kind != c.kind || task.Grant != c.grant {
				t.Fatalf("%+v, want kind %d of grant %d", task, c.kind, c.grant)
			}
			if c.at == none {
				if task.At.After(noon) {
					t.Errorf("due in %s, want now", task.At.Sub(noon))
				}
			} else if c.kind != NoTask && task.At.Sub(noon) != c.at {
				t.Errorf("due in %s, want %s", task.At.Sub(noon), c.at)
			}
		})
	}
}

func TestTasksOfAccountsAreSpread(t *testing.T) {
	a := living(600*time.Second, auto)
	c := Conditions{Now: noon, MinTTL: 2 * time.Minute}
	for spread, want := range map[float64]time.Duration{0: 450 * time.Second, 0.5: 435 * time.Second} {
		c.Spread = spread
		if got := a.NextTask(c, 0).At.Sub(noon); got != want {
			t.Errorf("spread %g: refreshed in %s, want %s", spread, got, want)
		}
	}
	b := living(0, first(usedAt(0)))
	for spread, want := range map[float64]time.Duration{0: 100 * time.Hour, 0.5: 95 * time.Hour} {
		c.Spread = spread
		if got := b.NextTask(c, 100*time.Hour).At.Sub(noon); got != want {
			t.Errorf("spread %g: kept alive in %s, want %s", spread, got, want)
		}
	}
}

func TestSpreadIsAnAccountsOwn(t *testing.T) {
	for i := range 1000 {
		name := fmt.Sprint("account-", i)
		if s := Spread(name); s < 0 || s >= 1 || s != Spread(name) {
			t.Fatalf("%s: %g", name, s)
		}
	}
	if Spread("acme") == Spread("beta") {
		t.Error("two accounts have the same spread")
	}
}

func TestSpreadOfNumberedAccountsIsEven(t *testing.T) {
	for _, format := range []string{"acme-%02d", "%03d-acme", "0007:%010d"} {
		var tenths [10]int
		for i := range 100 {
			tenths[int(Spread(fmt.Sprintf(format, i))*10)]++
		}
		for i, n := range tenths {
			if n == 0 || n > 30 {
				t.Errorf("%s: %d of 100 accounts are in tenth %d", format, n, i)
			}
		}
	}
}

func TestShortLivedTokensAreRefreshedASecondAhead(t *testing.T) {
	if got := lead(4*time.Second, 0); got != time.Second {
		t.Errorf("%s", got)
	}
}

func TestIdleSinceIsWhenTheRefreshTokenInUseWasIssued(t *testing.T) {
	a := accountOf(grantOf("rt", dead, usedAt(0)), grantOf("spare"))
	if got := a.IdleSince(); !got.Equal(noon.Add(-time.Hour)) {
		t.Errorf("%s", got)
	}
	a = accountOf(grantOf("rt", usedAt(-time.Minute)))
	if got := a.IdleSince(); !got.Equal(noon.Add(-time.Minute)) {
		t.Errorf("%s", got)
	}
}

// A time of last use that a wrong clock wrote must not make the plugin run one
// exchange after the other.
func TestKeepAliveIsOverAfterOneExchange(t *testing.T) {
	wrong := func(g *Grant) { g.AuthorizedAt = noon.Add(48 * time.Hour) }
	for name, a := range map[string]Account{
		"in use":  accountOf(grantOf("a", wrong)),
		"waiting": accountOf(grantOf("a", usedAt(0)), grantOf("b", wrong)),
	} {
		a, _ = a.exchange(len(a.Grants)-1, succeeded("next"))
		now := noon.Add(time.Second)
		if task := a.NextTask(Conditions{Now: now}, 10*time.Hour); !task.At.After(now) {
			t.Errorf("%s: due again: %+v", name, task)
		}
	}
}

// Otherwise the background work would try for ever and get nowhere, or would wait
// for ever.
func TestTaskThatIsDueCanBeDone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, c := drawAccount(t), drawConditions(t)
		c.ClientRevision = "r1"
		keepalive := rapid.SampledFrom([]time.Duration{0, time.Hour, 720 * time.Hour}).Draw(t, "keepalive")
		before := string(Encode(&a))
		task := a.NextTask(c, keepalive)
		if string(Encode(&a)) != before {
			t.Fatal("a question changed the account")
		}
		if task.Kind == NoTask {
			return
		}
		if late := task.At.Sub(noon); late > max(longestWait+keepalive, a.Access.Remaining(noon)) {
			t.Fatalf("due in %s", late)
		}
		if task.At.After(noon) {
			return
		}
		i := task.Grant
		switch task.Kind {
		case RefreshTask:
			i = a.InUse()
			d := Decide(&a, c, ReadRequest{Background: true})
			if d.Action == LogInAgain {
				return
			}
			if d.Action != Exchange {
				t.Fatalf("a refresh is due, but the decision is %d, hold %d", d.Action, d.Hold.Reason)
			}
		case KeepAliveTask:
			if g := a.Grants[i]; g.Death != nil || g.Replaced || i == a.InUse() {
				t.Fatalf("keeps %+v alive", g)
			}
		default:
		}
		checkNotDueAgain(t, a, i, c, keepalive)
	})
}

// checkNotDueAgain checks that the grant at i is not due again right after an
// exchange, whatever its outcome.
func checkNotDueAgain(t *rapid.T, a Account, i int, c Conditions, keepalive time.Duration) {
	g := a.Grants[i]
	settled, _ := a.exchange(i, drawResult(t))
	c.Now = noon.Add(time.Second)
	again := settled.NextTask(c, keepalive)
	due := again.Grant
	if again.Kind == RefreshTask {
		due = settled.InUse()
	}
	if again.Kind != NoTask && !again.At.After(c.Now) && settled.Grants[due].FirstTokenHash == g.FirstTokenHash {
		t.Fatalf("due again: %+v", again)
	}
}

func TestTaskRateIsWhatTheBackgroundHasToDo(t *testing.T) {
	const h = time.Hour
	spare := func(changes ...func(*Grant)) func(*Account) {
		return func(a *Account) { a.Grants = append(a.Grants, grantOf("spare", changes...)) }
	}
	for name, c := range map[string]struct {
		account   Account
		keepalive time.Duration
		want      float64 // an hour
	}{
		"nothing is wanted":               {living(0), 0, 0},
		"before the first login":          {Account{}, h, 0},
		"auto refresh":                    {living(0, auto), 0, 8}, // 600 s, less min_ttl 120 s and 5 % of the life
		"auto refresh, no token yet":      {living(0, auto, func(a *Account) { a.Access = nil }), 0, 0},
		"kept alive":                      {living(0), 2 * h, 0.5},
		"auto refresh, and a spare":       {living(0, auto, spare()), h, 9},
		"dead, and so is the spare":       {living(0, auto, first(dead), spare(dead)), h, 0},
		"a replaced grant is left to die": {living(0, spare(replaced)), h, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := 3600 * c.account.TaskRate(Conditions{Now: noon, MinTTL: 2 * time.Minute}, c.keepalive)
			if math.Abs(got-c.want) > 1e-6 {
				t.Errorf("%f an hour, not %f", got, c.want)
			}
		})
	}
}
