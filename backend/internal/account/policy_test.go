package account

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestDecisionFollowsFromTheAccountTheRequestAndTheTime(t *testing.T) {
	unsaved := func(a *Account) { a.Unsaved = true }
	onRead := func(a *Account) { a.RefreshOnRead = true }
	noToken := func(a *Account) { a.Access = nil }
	minTTL := func(d time.Duration) func(*Account) { return func(a *Account) { a.MinTTL = d } }
	fails := func(wait time.Duration, kind FailureKind) func(*Account) { return first(failed(kind, wait)) }
	password := func(lastUsed time.Duration) func(*Account) {
		return func(a *Account) { a.Credentials = &Credentials{LastUsed: noon.Add(lastUsed)} }
	}
	refusedPassword := func(a *Account) { a.Credentials = &Credentials{Refused: true} }
	spare := func(changes ...func(*Grant)) func(*Account) {
		return func(a *Account) { a.Grants = append(a.Grants, grantOf("spare", changes...)) }
	}
	force := ReadRequest{Force: true}
	const s, period = time.Second, 480 * time.Second

	for name, c := range map[string]struct {
		account Account
		request ReadRequest
		client  string // the client's revision
		action  Action
		hold    HoldReason
		ttl     time.Duration
		period  time.Duration
	}{
		"fresh token":                              {account: living(600 * s), action: Serve, ttl: 480 * s, period: period},
		"a second before the window":               {account: living(121 * s), action: Serve, ttl: s, period: period},
		"a millisecond less than a whole TTL":      {account: living(599*s + 999*time.Millisecond), action: Serve, ttl: 480 * s, period: period},
		"at the edge of the window":                {account: living(120 * s), action: Serve, ttl: s, period: period},
		"in the window":                            {account: living(119 * s), action: Exchange},
		"expired":                                  {account: living(0), action: Exchange},
		"no token":                                 {account: living(600*s, noToken), action: Exchange},
		"a wish within the lifetime":               {account: living(300 * s), request: ReadRequest{MinTTL: 299 * s}, action: Serve, ttl: s, period: 301 * s},
		"a wish for more than is left":             {account: living(298 * s), request: ReadRequest{MinTTL: 299 * s}, action: Exchange},
		"a wish for more than half":                {account: living(301 * s), request: ReadRequest{MinTTL: time.Hour}, action: Serve, ttl: s, period: 300 * s},
		"a wish below the configured min_ttl":      {account: living(119 * s), request: ReadRequest{MinTTL: s}, action: Exchange},
		"the account's min_ttl before the mount's": {account: living(60*s, minTTL(30*s)), action: Serve, ttl: 30 * s, period: 570 * s},
		"forced":                               {account: living(600 * s), request: force, action: Exchange},
		"in the background":                    {account: living(600 * s), request: ReadRequest{Background: true}, action: Exchange},
		"refresh on read":                      {account: living(590*s, onRead), action: Exchange},
		"refresh on read, just refreshed":      {account: living(591*s, onRead), action: Serve, ttl: s, period: period},
		"refresh on read, after the exchange":  {account: living(600*s, onRead), request: ReadRequest{Shared: true}, action: Serve, ttl: 10 * s, period: period},
		"failing, token fresh":                 {account: living(600*s, fails(time.Minute, FailedUnreachable)), action: Serve, hold: HeldByFailure, ttl: 480 * s, period: period},
		"failing, in the window":               {account: living(100*s, fails(20*s, FailedUnreachable)), action: ServeStale, hold: HeldByFailure, ttl: 20 * s, period: period},
		"failing, next attempt soon":           {account: living(100*s, fails(s, FailedUnreachable)), action: ServeStale, hold: HeldByFailure, ttl: minStaleTTL, period: period},
		"failing, next attempt after the end":  {account: living(30*s, fails(time.Minute, FailedUnreachable)), action: ServeStale, hold: HeldByFailure, ttl: 30 * s, period: period},
		"failing, expired":                     {account: living(0, fails(time.Minute, FailedUnreachable)), action: Refuse, hold: HeldByFailure},
		"failing, the wait is over":            {account: living(0, fails(0, FailedUnreachable)), action: Exchange},
		"failing, forced":                      {account: living(0, fails(time.Minute, FailedUnreachable)), request: force, action: Exchange},
		"failing, the wait cannot be true":     {account: living(0, fails(365*24*time.Hour, FailedRequest)), action: Exchange},
		"client refused, client unknown":       {account: living(0, fails(time.Minute, FailedClient)), action: Refuse, hold: HeldByFailure},
		"client refused, client unchanged":     {account: living(0, fails(time.Minute, FailedClient)), client: "r1", action: Refuse, hold: HeldByFailure},
		"client refused, client changed":       {account: living(0, fails(time.Minute, FailedClient)), client: "r2", action: Exchange},
		"throttled, client changed":            {account: living(0, fails(time.Minute, FailedThrottled)), client: "r2", action: Refuse, hold: HeldByFailure},
		"dead, token lives":                    {account: living(300*s, first(dead)), action: Serve, hold: HeldDead, ttl: 180 * s, period: period},
		"dead, in the window":                  {account: living(100*s, first(dead)), action: ServeStale, hold: HeldDead, ttl: 60 * s, period: period},
		"dead, the token ends sooner":          {account: living(20*s, first(dead)), action: ServeStale, hold: HeldDead, ttl: 20 * s, period: period},
		"dead":                                 {account: living(0, first(dead)), action: Refuse, hold: HeldDead},
		"dead, forced":                         {account: living(0, first(dead)), request: force, action: Exchange},
		"dead, another grant waits":            {account: living(0, first(dead), spare()), action: Exchange},
		"dead, another grant waits and fails":  {account: living(0, first(dead), spare(failed(FailedInDoubt, s))), action: Refuse, hold: HeldByFailure},
		"all grants are dead":                  {account: living(0, first(dead), spare(dead)), action: Refuse, hold: HeldDead},
		"refused twice, another grant waits":   {account: living(0, first(refused(2), failsFor(time.Hour)), spare()), action: Exchange},
		"refused once, another grant waits":    {account: living(0, first(refused(1), failsFor(time.Hour)), spare()), action: Refuse, hold: HeldByFailure},
		"dead, password kept":                  {account: living(0, first(dead), password(-2*time.Hour)), action: LogInAgain},
		"dead, password kept, forced":          {account: living(0, first(dead), password(-2*time.Hour)), request: force, action: Exchange},
		"dead, password used an hour ago":      {account: living(0, first(dead), password(-time.Hour)), action: LogInAgain},
		"dead, password used in the hour":      {account: living(0, first(dead), password(-time.Hour+s)), action: Refuse, hold: HeldDead},
		"dead, password used a moment ahead":   {account: living(0, first(dead), password(2*s)), action: Refuse, hold: HeldDead},
		"dead, password used in the future":    {account: living(0, first(dead), password(3*s)), action: LogInAgain},
		"dead, password refused":               {account: living(0, first(dead), refusedPassword), action: Refuse, hold: HeldDead},
		"another process's intent":             {account: living(0, first(intentOf("other", 10*s))), action: Refuse, hold: HeldByIntent},
		"another process's intent, forced":     {account: living(0, first(intentOf("other", 10*s))), request: force, action: Refuse, hold: HeldByIntent},
		"another process's intent, token left": {account: living(100*s, first(intentOf("other", 10*s))), action: ServeStale, hold: HeldByIntent, ttl: 12 * s, period: period},
		"an intent on a grant that waits":      {account: living(0, spare(intentOf("other", 10*s))), action: Exchange},
		"this process's intent":                {account: living(0, first(intentOf("me", time.Hour))), action: Exchange},
		"rescue copy, token fresh":             {account: living(600*s, unsaved), action: Serve, hold: HeldUnsaved, ttl: 480 * s, period: period},
		"rescue copy, forced":                  {account: living(600*s, unsaved), request: force, action: ServeStale, hold: HeldUnsaved, ttl: minStaleTTL, period: period},
		"rescue copy, expired":                 {account: living(0, unsaved), action: Refuse, hold: HeldUnsaved},
		"issued a moment ahead":                {account: living(602 * s), action: Serve, ttl: 480 * s, period: period},
		"issued in the future":                 {account: living(602*s + 1), action: Exchange},
		"issued in the future, dead":           {account: living(2*time.Hour, first(dead)), action: Refuse, hold: HeldDead},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(&c.account, Conditions{Now: noon, Process: "me", MinTTL: 2 * time.Minute, ClientRevision: c.client}, c.request)
			if d.Action != c.action || d.Hold.Reason != c.hold {
				t.Fatalf("action %d, hold %d; want %d, %d", d.Action, d.Hold.Reason, c.action, c.hold)
			}
			if (d.Action == Serve || d.Action == ServeStale) && (d.TTL != c.ttl || d.RotationPeriod != c.period) {
				t.Errorf("TTL %s, rotation period %s; want %s, %s", d.TTL, d.RotationPeriod, c.ttl, c.period)
			}
		})
	}
}

// failsFor lets the failure of a grant wait.
func failsFor(wait time.Duration) func(*Grant) {
	return func(g *Grant) { g.Failure.NextAttempt = noon.Add(wait) }
}

func TestWishForMoreThanHalfTheLifetimeWarns(t *testing.T) {
	a := living(600 * time.Second)
	c := Conditions{Now: noon, MinTTL: 10 * time.Minute}
	if d := Decide(&a, c, ReadRequest{}); d.Warning != "" || d.MinTTL != 300*time.Second {
		t.Errorf("configured min_ttl: %q, %s", d.Warning, d.MinTTL)
	}
	if d := Decide(&a, c, ReadRequest{MinTTL: 301 * time.Second}); !strings.Contains(d.Warning, "5m0s") {
		t.Errorf("min_ttl of the request: %q", d.Warning)
	}
}

func TestLastResortServesTheTokenForAMoment(t *testing.T) {
	a := living(100*time.Second, func(a *Account) { a.RefreshOnRead = true })
	if d := LastResort(&a, Conditions{Now: noon, MinTTL: 2 * time.Minute}, time.Time{}); d.Action != Serve || d.TTL != minStaleTTL {
		t.Errorf("action %d, TTL %s", d.Action, d.TTL)
	}
}

func TestTokenFromTheFutureCountsAsExpired(t *testing.T) {
	for name, c := range map[string]struct{ issued, want time.Duration }{
		"now":           {0, 600 * time.Second},
		"a minute ago":  {-time.Minute, 540 * time.Second},
		"ten min ago":   {-10 * time.Minute, 0},
		"tolerable":     {2 * time.Second, 600 * time.Second}, // no more than its lifetime
		"beyond":        {2*time.Second + 1, 0},
		"a day ahead":   {24 * time.Hour, 0},
		"a day too old": {-24 * time.Hour, 0},
	} {
		token := &AccessToken{Issued: noon.Add(c.issued), Expires: noon.Add(c.issued + 600*time.Second)}
		if got := token.Remaining(noon); got != c.want {
			t.Errorf("issued %s: %s remain, want %s", name, got, c.want)
		}
	}
	if (*AccessToken)(nil).Remaining(noon) != 0 {
		t.Error("no token has a life")
	}
}

// The wait is measured from when this process first saw the intent, on its own
// clock. The wall clocks of the two machines do not matter.
func TestIntentOfAnotherProcessHoldsForItsOwnDuration(t *testing.T) {
	seen := func(ago time.Duration) func(string) time.Duration {
		return func(id string) time.Duration {
			if id != "intent-7" {
				t.Errorf("asked for the age of the intent %q", id)
			}
			return ago
		}
	}
	for name, c := range map[string]struct {
		process string
		skew    time.Duration // of the writer's clock
		lasts   time.Duration // from start to deadline, as the writer claims
		age     func(string) time.Duration
		hold    time.Duration // 0 if it does not hold
	}{
		"just seen":                  {"other", 0, 20 * time.Second, seen(0), 22 * time.Second},
		"age not known":              {"other", 0, 20 * time.Second, nil, 22 * time.Second},
		"seen a while ago":           {"other", 0, 20 * time.Second, seen(15 * time.Second), 7 * time.Second},
		"a moment before its end":    {"other", 0, 20 * time.Second, seen(22*time.Second - 1), 1},
		"at its end":                 {"other", 0, 20 * time.Second, seen(22 * time.Second), 0},
		"long after":                 {"other", 0, 20 * time.Second, seen(time.Hour), 0},
		"writer's clock ahead":       {"other", 24 * time.Hour, 20 * time.Second, seen(15 * time.Second), 7 * time.Second},
		"writer's clock ahead, over": {"other", 24 * time.Hour, 20 * time.Second, seen(22 * time.Second), 0},
		"writer's clock behind":      {"other", -24 * time.Hour, 20 * time.Second, seen(15 * time.Second), 7 * time.Second},
		"the longest":                {"other", 0, longestIntent, seen(0), longestIntent + takeoverGrace},
		"longer than the longest":    {"other", 0, 24 * time.Hour, seen(0), longestIntent + takeoverGrace},
		"deadline before the start":  {"other", 0, -time.Hour, seen(0), takeoverGrace},
		"own":                        {"me", 0, time.Hour, seen(0), 0},
		"own, clock ahead":           {"me", 24 * time.Hour, time.Hour, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			started := noon.Add(c.skew)
			a := living(0, first(func(g *Grant) {
				g.Intent = &Intent{ID: "intent-7", Process: c.process, Started: started, Deadline: started.Add(c.lasts)}
			}))
			for _, force := range []bool{false, true} {
				h := a.Hold(Conditions{Now: noon, Process: "me", IntentAge: c.age}, force)
				if held := h.Reason == HeldByIntent; held != (c.hold > 0) || held && h.Until.Sub(noon) != c.hold {
					t.Errorf("held %t until %s; want %s", held, h.Until.Sub(noon), c.hold)
				}
			}
			task := a.NextTask(Conditions{Now: noon, Process: "me", IntentAge: c.age}, time.Hour)
			if late := max(task.At.Sub(noon), 0); late != c.hold {
				t.Errorf("the next task is due in %s; want %s", late, c.hold)
			}
		})
	}
}

func TestNextAttemptIsWhenThePluginWillAct(t *testing.T) {
	for name, c := range map[string]struct {
		account Account
		want    time.Time
	}{
		"ready":                     {living(0), time.Time{}},
		"failing":                   {accountOf(grantOf("rt", failed(FailedClient, time.Minute))), noon.Add(time.Minute)},
		"failing, of a wrong clock": {accountOf(grantOf("rt", failed(FailedClient, 2*time.Hour))), time.Time{}},
		"dead":                      {accountOf(grantOf("rt", dead)), time.Time{}},
		"dead, password kept": {
			Account{Grants: []Grant{grantOf("rt", dead)}, Credentials: &Credentials{LastUsed: noon}}, noon.Add(time.Hour),
		},
		"dead, password refused": {
			Account{Grants: []Grant{grantOf("rt", dead)}, Credentials: &Credentials{LastUsed: noon, Refused: true}}, time.Time{},
		},
	} {
		if got := c.account.NextAttempt(noon); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// The policy holds for every account, not just for those of the table.
func TestDecisionsKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, c := drawAccount(t), drawConditions(t)
		r := ReadRequest{Force: rapid.Bool().Draw(t, "force"), MinTTL: drawDuration(t, "wish", 0, 20*time.Minute)}
		before := string(Encode(&a))
		d := Decide(&a, c, r)
		if string(Encode(&a)) != before {
			t.Fatal("a decision changed the account")
		}
		checkHold(t, d.Hold)
		lives := a.Access.Remaining(noon) > 0
		switch d.Action {
		case Serve, ServeStale:
			checkServed(t, &a, c, r, d)
		case Exchange, LogInAgain:
			checkMayStart(t, &a, c, r, d.Action)
		case Refuse:
			if lives {
				t.Fatal("refuses a reader although a token lives")
			}
			if d.Hold.Reason == NotHeld {
				t.Fatal("refuses without a reason")
			}
			if e := HoldError("acme", &a, d.Hold, noon); !strings.Contains(e.Error(), "acme") || len(e.Text) < 20 {
				t.Fatalf("says nothing: %v", e)
			}
		}
	})
}

func checkServed(t *rapid.T, a *Account, c Conditions, r ReadRequest, d Decision) {
	if a.Access.Remaining(noon) == 0 {
		t.Fatal("serves an expired token")
	}
	if d.TTL < time.Second || d.RotationPeriod < time.Second || d.TTL%time.Second != 0 || (d.Action == ServeStale && d.TTL < minStaleTTL) {
		t.Fatalf("TTL %s, rotation period %s", d.TTL, d.RotationPeriod)
	}
	most := a.Access.Lifetime() / 2
	if a.AutoRefresh { // and a little earlier, at a different time for each account
		most += lead(a.Access.Lifetime(), c.Spread)
	}
	if d.MinTTL > most {
		t.Fatalf("min_ttl %s of a token of %s", d.MinTTL, a.Access.Lifetime())
	}
	later := c
	later.Now = noon.Add(d.TTL + 1)
	if again := Decide(a, later, r); d.Action == Serve && again.Action == Serve && !a.Access.Issued.After(noon) {
		t.Fatalf("serves the same token to a reader that comes after the TTL of %s", d.TTL)
	}
	if d.Action == ServeStale && d.Hold.Reason == NotHeld {
		t.Fatal("does not refresh, without a reason")
	}
}

func checkMayStart(t *rapid.T, a *Account, c Conditions, r ReadRequest, action Action) {
	g := a.Current()
	if a.Unsaved {
		t.Fatal("acts before a rescue copy is saved")
	}
	if in := g.Intent; in != nil && in.Process != c.Process {
		if claimed := min(in.Deadline.Sub(in.Started), 3*time.Minute) + 2*time.Second; c.IntentAge(in.ID) < claimed {
			t.Fatal("acts while another process may have an exchange in progress")
		}
	}
	if f := g.Failure; !r.Force && f != nil && noon.Before(f.NextAttempt) && !noon.Add(f.Kind.longest()+clockMargin).Before(f.NextAttempt) && !clientMayBeCorrected(f, c) {
		t.Fatal("acts before the wait is over")
	}
	if action == Exchange {
		if g.Death != nil && !r.Force {
			t.Fatal("presents the token of a dead grant")
		}
		return
	}
	k := a.Credentials
	if g.Death == nil || k == nil || k.Refused {
		t.Fatal("logs in although no login is possible")
	}
	if since := noon.Sub(k.LastUsed); since >= -2*time.Second && since < time.Hour {
		t.Fatalf("logs in %s after the last login", since)
	}
}

// clientMayBeCorrected reports whether the client was written since a failure that
// it may have caused.
func clientMayBeCorrected(f *Failure, c Conditions) bool {
	mayBeTheCause := f.Kind == FailedClient || f.Kind == FailedRequest || f.Kind == FailedUnreachable
	return mayBeTheCause && c.ClientRevision != "" && c.ClientRevision != f.ClientRevision
}

// checkHold checks that no stored time holds an account for longer than the
// longest wait of its kind.
func checkHold(t *rapid.T, h Hold) {
	longest := map[HoldReason]time.Duration{
		HeldByIntent: longestIntent + takeoverGrace, HeldDead: loginInterval + clockTolerance, HeldByFailure: longestWait,
	}
	if h.Until.Sub(noon) > longest[h.Reason] {
		t.Fatalf("hold %d lasts %s", h.Reason, h.Until.Sub(noon))
	}
	if h.Reason != HeldDead && !h.Until.IsZero() && !h.Until.After(noon) {
		t.Fatalf("hold %d ended %s ago", h.Reason, noon.Sub(h.Until))
	}
}

func TestStateFollowsFromTheGrantInUse(t *testing.T) {
	doubt := func(g *Grant) { g.DoubtSince = noon }
	for name, c := range map[string]struct {
		account Account
		want    State
	}{
		"never refreshed":                    {accountOf(grantOf("rt")), StateNew},
		"refreshed":                          {living(0), StateReady},
		"logged in, never refreshed":         {Account{Grants: []Grant{grantOf("rt")}, Access: &AccessToken{}}, StateReady},
		"failing":                            {living(0, first(failed(FailedThrottled, 0))), StateFailing},
		"in doubt":                           {living(0, first(doubt, failed(FailedInDoubt, 0))), StateInDoubt},
		"an intent was left":                 {living(0, first(intentOf("other", time.Second))), StateInDoubt},
		"dead":                               {living(0, first(doubt, dead)), StateDead},
		"dead, and another grant waits":      {accountOf(grantOf("rt", dead), grantOf("spare")), StateNew},
		"dead, and another grant fails":      {accountOf(grantOf("rt", dead), grantOf("spare", failed(FailedClient, 0))), StateFailing},
		"every grant is dead":                {accountOf(grantOf("rt", dead), grantOf("spare", dead)), StateDead},
		"a grant that waits is in doubt":     {Account{Grants: []Grant{grantOf("rt"), grantOf("spare", doubt)}, LastRefresh: noon}, StateReady},
		"no grant yet, before a first login": {Account{}, StateNew},
	} {
		if got := c.account.State(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestFailureOfAGrantThatWaitsDoesNotHoldReaders(t *testing.T) {
	a := living(0)
	a.Grants = append(a.Grants, grantOf("spare", failed(FailedClient, time.Hour)))
	if h := a.Hold(Conditions{Now: noon}, false); h.Reason != NotHeld {
		t.Errorf("held: %+v", h)
	}
	a.Grants[1] = grantOf("spare", func(g *Grant) { g.Death = &Death{Time: noon, Code: oauth.CodeInvalidGrant} })
	if a.State() != StateReady {
		t.Errorf("state %s", a.State())
	}
}
