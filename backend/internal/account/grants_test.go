package account

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestGrantInUseIsTheFirstThatCanWork(t *testing.T) {
	unreachable := failed(FailedUnreachable, time.Minute)
	for name, c := range map[string]struct {
		grants []Grant
		want   int
	}{
		"one":                                  {[]Grant{grantOf("a")}, 0},
		"one, dead":                            {[]Grant{grantOf("a", dead)}, 0},
		"one, refused twice":                   {[]Grant{grantOf("a", refused(2))}, 0},
		"two":                                  {[]Grant{grantOf("a"), grantOf("b")}, 0},
		"the first fails":                      {[]Grant{grantOf("a", unreachable), grantOf("b")}, 0},
		"the first is in doubt":                {[]Grant{grantOf("a", intentOf("other", time.Second)), grantOf("b")}, 0},
		"the first is dead":                    {[]Grant{grantOf("a", dead), grantOf("b")}, 1},
		"the first is dead, the second fails":  {[]Grant{grantOf("a", dead), grantOf("b", unreachable), grantOf("c")}, 1},
		"two are dead":                         {[]Grant{grantOf("a", dead), grantOf("b", dead), grantOf("c")}, 2},
		"all are dead":                         {[]Grant{grantOf("a", dead), grantOf("b", dead)}, 0},
		"refused once":                         {[]Grant{grantOf("a", refused(1)), grantOf("b")}, 0},
		"failed often, refused once":           {[]Grant{grantOf("a", refused(1), func(g *Grant) { g.Failure.Count = 9 }), grantOf("b")}, 0},
		"refused twice":                        {[]Grant{grantOf("a", refused(2)), grantOf("b")}, 1},
		"refused often":                        {[]Grant{grantOf("a", refused(9)), grantOf("b")}, 1},
		"refused twice, the next fails":        {[]Grant{grantOf("a", refused(2)), grantOf("b", unreachable)}, 1},
		"refused twice, the next refused once": {[]Grant{grantOf("a", refused(2)), grantOf("b", refused(1))}, 1},
		"refused twice, the next is dead":      {[]Grant{grantOf("a", refused(2)), grantOf("b", dead), grantOf("c")}, 2},
		"refused twice, none is left":          {[]Grant{grantOf("a", refused(2)), grantOf("b", dead)}, 0},
		"both refused twice":                   {[]Grant{grantOf("a", refused(2)), grantOf("b", refused(2))}, 0},
		"both refused twice, a third":          {[]Grant{grantOf("a", refused(2)), grantOf("b", refused(2)), grantOf("c")}, 2},
		"dead, then refused twice":             {[]Grant{grantOf("a", dead), grantOf("b", refused(2))}, 1},
		"dead, then refused twice, a third":    {[]Grant{grantOf("a", dead), grantOf("b", refused(2)), grantOf("c")}, 2},
		"refused twice, a replaced one waits":  {[]Grant{grantOf("a", refused(2)), grantOf("b", replaced), grantOf("c")}, 1},
	} {
		a := accountOf(c.grants...)
		if got := a.InUse(); got != c.want || a.Current() != &a.Grants[c.want] {
			t.Errorf("%s: grant %d is in use, want %d", name, got, c.want)
		}
	}
}

func TestSpareIsAGrantThatWaitsAndCanTakeOver(t *testing.T) {
	for name, c := range map[string]struct {
		grants []Grant
		used   bool
		want   SpareState
		token  string
	}{
		"no grant yet":                       {nil, false, SpareNone, ""},
		"one grant":                          {[]Grant{grantOf("a")}, false, SpareNone, ""},
		"one grant, once a spare":            {[]Grant{grantOf("a")}, true, SpareUsed, ""},
		"a second":                           {[]Grant{grantOf("a"), grantOf("b")}, false, SpareReady, "b"},
		"a second, after one has taken over": {[]Grant{grantOf("a"), grantOf("b")}, true, SpareReady, "b"},
		"about to take over":                 {[]Grant{grantOf("a", dead), grantOf("b")}, false, SpareReady, "b"},
		"about to take over, refused":        {[]Grant{grantOf("a", refused(2)), grantOf("b")}, false, SpareReady, "b"},
		"it is dead":                         {[]Grant{grantOf("a"), grantOf("b", dead)}, false, SpareNone, ""},
		"both are dead":                      {[]Grant{grantOf("a", dead), grantOf("b", dead)}, false, SpareNone, ""},
		"it fails":                           {[]Grant{grantOf("a"), grantOf("b", failed(FailedInDoubt, 0))}, false, SpareReady, "b"},
		"it was refused twice":               {[]Grant{grantOf("a"), grantOf("b", refused(2))}, false, SpareNone, ""},
		"it stepped back":                    {[]Grant{grantOf("b"), grantOf("a", refused(2))}, true, SpareUsed, ""},
		"both were refused twice":            {[]Grant{grantOf("a", refused(2)), grantOf("b", refused(2))}, false, SpareNone, ""},
		"a replaced grant is no spare":       {[]Grant{grantOf("a"), grantOf("b", replaced)}, false, SpareNone, ""},
		"nor if it is about to take over":    {[]Grant{grantOf("a", dead), grantOf("b", replaced)}, false, SpareNone, ""},
		"nor if the first was refused":       {[]Grant{grantOf("a", refused(2)), grantOf("b", replaced)}, false, SpareNone, ""},
		"a spare behind a replaced grant":    {[]Grant{grantOf("a"), grantOf("b", replaced), grantOf("c")}, false, SpareReady, "c"},
		"a replaced grant takes over first":  {[]Grant{grantOf("a", dead), grantOf("b", replaced), grantOf("c")}, false, SpareReady, "c"},
	} {
		a := Account{Grants: c.grants, SpareUsed: c.used}
		if got := a.SpareState(); got != c.want {
			t.Errorf("%s: spare %s, want %s", name, got, c.want)
		}
		var token string
		if s := a.Spare(); s != nil {
			token = s.RefreshToken.Reveal()
		}
		if token != c.token {
			t.Errorf("%s: the spare is %q, want %q", name, token, c.token)
		}
	}
}

func TestNextGrantTakesOverAtOnceWhenTheFirstDies(t *testing.T) {
	a, next := accountOf(grantOf("a"), grantOf("b")).refresh(rejected(oauth.CodeInvalidGrant))
	if next != UseNextGrant || a.InUse() != 1 || a.State() == StateDead {
		t.Fatalf("follow-up %d, grant %d, state %s", next, a.InUse(), a.State())
	}
	if a.SpareUsed || a.SpareState() != SpareReady {
		t.Error("the spare counts as used before it has worked")
	}
	if h := a.Hold(Conditions{Now: noon}, false); h.Reason != NotHeld {
		t.Errorf("the next grant is held: %+v", h)
	}

	a, next = a.refresh(succeeded("b2"))
	if next != Finish || tokensOf(&a) != "b2" || a.State() != StateReady || a.Access.Token.Reveal() != "at-b2" {
		t.Errorf("follow-up %d, grants %q, state %s", next, tokensOf(&a), a.State())
	}
	if !a.hasSeen(secret("a")) || len(a.RetiredHashes) != 1 {
		t.Error("the dead grant is not remembered")
	}
	if !a.SpareUsed || a.SpareState() != SpareUsed {
		t.Errorf("spare %s", a.SpareState())
	}
	if e := lastError(&a); !strings.Contains(e, "rejected the refresh token (invalid_grant)") || !strings.HasSuffix(e, "the spare grant has taken over") {
		t.Errorf("last error %q", e)
	}
	if a.RefreshCount != 1 {
		t.Errorf("refresh count %d", a.RefreshCount)
	}
}

func TestSpareThatTakesOverGoesOnCounting(t *testing.T) {
	a := accountOf(grantOf("a"), grantOf("b"))
	a.RefreshCount = 7
	a, _ = a.refresh(rejected(oauth.CodeInvalidGrant), succeeded("b2"))
	if a.RefreshCount != 8 {
		t.Errorf("refresh count %d", a.RefreshCount)
	}
}

func TestSpareThatTakesOverTakesItsTokenWithoutAnAccessToken(t *testing.T) {
	a, next := accountOf(grantOf("a"), grantOf("b")).refresh(rejected(oauth.CodeInvalidGrant), succeededWithoutAccess("b2"))
	if next != Finish || tokensOf(&a) != "b2" || !a.SpareUsed || a.State() != StateFailing || a.Grants[0].Failure.Kind != FailedAnswer {
		t.Errorf("follow-up %d, grants %q, state %s", next, tokensOf(&a), a.State())
	}
}

func TestSpareThatFailsWhenItIsNeededWaitsLikeAnyGrant(t *testing.T) {
	a, next := accountOf(grantOf("a"), grantOf("b")).refresh(rejected(oauth.CodeInvalidGrant), notSent())
	if next != Finish || tokensOf(&a) != "a b" || a.InUse() != 1 || a.State() != StateFailing || a.SpareUsed {
		t.Errorf("follow-up %d, grants %q, state %s", next, tokensOf(&a), a.State())
	}
	if h := a.Hold(Conditions{Now: noon.Add(time.Second)}, false); h.Reason != HeldByFailure {
		t.Errorf("held: %+v", h)
	}
	if lastError(&a) != "no connection" {
		t.Errorf("last error %q", lastError(&a))
	}
}

func TestAccountIsDeadWhenEveryGrantIs(t *testing.T) {
	first := rejected(oauth.CodeInvalidGrant)
	second := first
	second.AnsweredAt = noon.Add(5 * time.Second)
	a, next := accountOf(grantOf("a"), grantOf("b")).refresh(first, second)
	if next != Finish || a.State() != StateDead || tokensOf(&a) != "a b" {
		t.Fatalf("follow-up %d, grants %q, state %s", next, tokensOf(&a), a.State())
	}
	if a.SpareState() != SpareNone || a.Access != nil {
		t.Errorf("spare %s", a.SpareState())
	}
	problem, _ := a.Attention("acme", noon)
	for what, text := range map[string]string{
		"last error": lastError(&a),
		"refusal":    HoldError("acme", &a, a.Hold(Conditions{Now: noon}, false), noon).Error(),
		"attention":  problem.Error,
	} {
		for _, want := range []string{"at 2026-03-01T12:00:01Z", "the next grant, too", "at 2026-03-01T12:00:05Z"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q, want %q", what, text, want)
			}
		}
	}
	if e := HoldError("acme", &a, Hold{Reason: HeldDead}, noon); e.Kind != KindDead || !strings.HasPrefix(e.Error(), "reauthorization required") {
		t.Errorf("%v", e)
	}
}

func TestForcedAttemptBringsADeadAccountBack(t *testing.T) {
	a, next := accountOf(grantOf("a", dead), grantOf("b", dead)).refresh(succeeded("a2"))
	if next != Finish || tokensOf(&a) != "a2" || a.State() != StateReady || !a.hasSeen(secret("b")) {
		t.Errorf("follow-up %d, grants %q, state %s", next, tokensOf(&a), a.State())
	}
	if a.SpareUsed {
		t.Error("a spare counts as used that was not")
	}
}

func TestGrantThatIsRefusedTwiceStepsBackBehindOneThatWorks(t *testing.T) {
	refusal := rejected(oauth.CodeInvalidRequest)
	a, next := accountOf(grantOf("a"), grantOf("b")).refresh(refusal)
	if next != Finish || a.InUse() != 0 || a.Grants[0].Failure.Refusals != 1 {
		t.Fatalf("after one refusal: follow-up %d, grant %d", next, a.InUse())
	}
	a, _ = a.refresh(refusal)
	if a.InUse() != 1 || a.Grants[0].Failure.Refusals != 2 || tokensOf(&a) != "a b" {
		t.Fatalf("after two refusals: grant %d of %q", a.InUse(), tokensOf(&a))
	}
	if h := a.Hold(Conditions{Now: noon.Add(time.Second)}, false); h.Reason != NotHeld {
		t.Errorf("the next grant is held: %+v", h)
	}

	a, next = a.refresh(succeeded("b2"))
	if next != Finish || tokensOf(&a) != "b2 a" || a.InUse() != 0 || a.State() != StateReady {
		t.Fatalf("follow-up %d, grants %q, state %s", next, tokensOf(&a), a.State())
	}
	if len(a.RetiredHashes) != 0 || a.Grants[1].Failure.Refusals != 2 || a.Grants[1].Death != nil {
		t.Errorf("the refused grant has changed: %+v", a.Grants[1])
	}
	if !a.SpareUsed || a.SpareState() != SpareUsed {
		t.Errorf("spare %s", a.SpareState())
	}
	if e := lastError(&a); e != "the server answered invalid_request; the spare grant has taken over" {
		t.Errorf("last error %q", e)
	}

	// It can work again, and is a spare then.
	a, next = a.exchange(1, succeeded("a2"))
	if next != Finish || tokensOf(&a) != "b2 a2" || a.InUse() != 0 || a.SpareState() != SpareReady {
		t.Errorf("follow-up %d, grants %q, spare %s", next, tokensOf(&a), a.SpareState())
	}
}

func TestRefusedGrantThatWorksAgainStaysTheFirst(t *testing.T) {
	// It is kept alive before a reader needs the spare.
	a, next := accountOf(grantOf("a", refused(2)), grantOf("b")).exchange(0, succeeded("a2"))
	if next != Finish || tokensOf(&a) != "a2 b" || a.InUse() != 0 || a.State() != StateReady || a.SpareUsed || a.SpareState() != SpareReady {
		t.Errorf("follow-up %d, grants %q, state %s, spare %s", next, tokensOf(&a), a.State(), a.SpareState())
	}
	if a.Access == nil || a.Access.Token.Reveal() != "at-a2" || a.RefreshCount != 1 {
		t.Error("readers do not get its access token")
	}
}

func TestTwoGrantsThatAreRefusedTwiceGiveTheFirstAnotherTry(t *testing.T) {
	refusal := rejected(oauth.CodeInvalidClient)
	a, _ := accountOf(grantOf("a"), grantOf("b")).refresh(refusal, refusal, refusal)
	if a.InUse() != 1 || a.Grants[1].Failure.Refusals != 1 {
		t.Fatalf("grant %d is in use", a.InUse())
	}
	a, _ = a.refresh(refusal)
	if a.InUse() != 0 || tokensOf(&a) != "a b" || a.State() != StateFailing || a.SpareState() != SpareNone {
		t.Fatalf("grant %d of %q, state %s, spare %s", a.InUse(), tokensOf(&a), a.State(), a.SpareState())
	}
	a, _ = a.refresh(succeeded("a2"))
	if tokensOf(&a) != "a2 b" || a.SpareUsed || a.Grants[0].Failure != nil {
		t.Errorf("grants %q, spare used %t, failure %+v", tokensOf(&a), a.SpareUsed, a.Grants[0].Failure)
	}
}

func TestDeathOfAGrantThatIsTriedInsteadOfARefusedOne(t *testing.T) {
	refusal := rejected(oauth.CodeInvalidRequest)
	a, next := accountOf(grantOf("a"), grantOf("b")).refresh(refusal, refusal, rejected(oauth.CodeInvalidGrant))
	if next != UseNextGrant || a.InUse() != 0 || a.State() != StateFailing {
		t.Errorf("follow-up %d, grant %d, state %s", next, a.InUse(), a.State())
	}
	a, _ = a.refresh(succeeded("a2"))
	if tokensOf(&a) != "a2" || !a.hasSeen(secret("b")) {
		t.Errorf("grants %q", tokensOf(&a))
	}
}

func TestGrantThatWaitsIsExchangedWithoutReadersNoticing(t *testing.T) {
	spare := func(a Account) Account { a.Grants = append(a.Grants, grantOf("b")); return a }
	before := spare(living(100 * time.Second))
	for name, c := range map[string]struct {
		result oauth.Result
		next   FollowUp
		tokens string
		spare  SpareState
		err    string // part of the last error
	}{
		"succeeded":      {succeeded("b2"), Finish, "rt b2", SpareReady, ""},
		"unreachable":    {notSent(), Finish, "rt b", SpareReady, ""},
		"in doubt":       {noAnswer(), RetryPromptly, "rt b", SpareReady, ""},
		"refused":        {rejected(oauth.CodeInvalidRequest), Finish, "rt b", SpareReady, ""},
		"client refused": {rejected(oauth.CodeInvalidClient), Finish, "rt b", SpareReady, ""},
		"rejected":       {rejected(oauth.CodeInvalidGrant), Finish, "rt", SpareNone, "the spare grant is gone: the server rejected the refresh token (invalid_grant)"},
	} {
		a, next := before.exchange(1, c.result)
		if next != c.next || tokensOf(&a) != c.tokens || a.SpareState() != c.spare {
			t.Errorf("%s: follow-up %d, grants %q, spare %s", name, next, tokensOf(&a), a.SpareState())
		}
		if a.State() != StateReady || a.Access != before.Access || a.RefreshCount != 0 || !a.LastRefresh.Equal(before.LastRefresh) || a.SpareUsed {
			t.Errorf("%s: the account has changed for readers: %+v", name, a)
		}
		if !strings.HasPrefix(lastError(&a), c.err) || (c.err == "") != (a.LastError == nil) {
			t.Errorf("%s: last error %q", name, lastError(&a))
		}
		if c.tokens == "rt" && !a.hasSeen(secret("b")) {
			t.Errorf("%s: the grant is not remembered", name)
		}
	}
	lost, _ := before.exchange(1, noAnswer())
	if lost, _ = lost.exchange(1, rejected(oauth.CodeInvalidGrant)); !strings.Contains(lastError(&lost), "lost in transit") {
		t.Errorf("last error %q", lastError(&lost))
	}
}

func TestGrantsThatAreGoneAreRememberedOldestFirst(t *testing.T) {
	a := accountOf(grantOf("a"))
	for i := range 100 {
		a = a.retire(grantOf(strings.Repeat("x", i+1)))
	}
	if len(a.RetiredHashes) != maxRetired || a.RetiredHashes[maxRetired-1] != hash(secret(strings.Repeat("x", 100))) {
		t.Errorf("%d retired grants are remembered", len(a.RetiredHashes))
	}
	if b := a.retire(Grant{}); len(b.RetiredHashes) != maxRetired || b.RetiredHashes[0] != a.RetiredHashes[0] {
		t.Error("a grant without a first token pushed another one out")
	}
}

func TestRescueCopyIsSupersededByWhatAnotherNodeWrote(t *testing.T) {
	at := func(generation int64, grants ...Grant) Account {
		a := accountOf(grants...)
		a.Generation = generation
		return a
	}
	rotated := func(first, newest string) Grant {
		g := grantOf(first)
		g.RefreshToken = secret(newest)
		return g
	}
	retired := func(a Account, first string) Account { return a.retire(grantOf(first)) }
	for name, c := range map[string]struct {
		copied, stored Account
		superseded     bool // the copy must not overwrite what is stored
		newer          bool // what is stored went back
	}{
		"it is the same":                      {at(5, grantOf("a")), at(5, grantOf("a")), false, false},
		"the intent is stored":                {at(6, rotated("a", "a2")), at(5, grantOf("a")), false, true},
		"an older state, several writes back": {at(9, rotated("a", "a5")), at(2, grantOf("a")), false, true},
		"a later write":                       {at(5, rotated("a", "a2")), at(6, grantOf("a")), true, false},
		"a write at the same generation":      {at(5, rotated("a", "a2")), at(5, rotated("a", "x2")), true, false},
		"fewer grants at the same generation": {at(5, grantOf("a"), grantOf("b")), at(5, grantOf("a")), false, false},
		"settings that another node wrote":    {at(6, rotated("a", "a2")), at(6, grantOf("a", intentOf("process", time.Minute))), false, false},
		"another node's exchange":             {at(6, rotated("a", "a2")), at(7, grantOf("a", intentOf("other", time.Minute))), true, false},
		"a grant that another node gave up":   {at(6, rotated("a", "a2"), grantOf("b")), retired(at(7, grantOf("b")), "a"), true, false},
		"an unknown grant":                    {at(5, grantOf("a")), at(6, grantOf("z")), true, false},
		"an unknown grant, enrolled anew":     {at(5, grantOf("a")), at(1, grantOf("z")), true, false},
		"an unknown spare":                    {at(5, grantOf("a")), at(4, grantOf("a"), grantOf("z")), true, false},
		"a retired grant":                     {retired(at(5, grantOf("b")), "a"), at(4, grantOf("a"), grantOf("b")), false, true},
		"the spare has taken over there":      {at(5, rotated("a", "a2"), grantOf("b")), at(6, rotated("b", "b2")), true, false},
		"a grant without a first token":       {at(5, grantOf("a")), at(4, Grant{RefreshToken: secret("z")}), false, true},
	} {
		if got := c.copied.SupersededBy(&c.stored, "process"); got != c.superseded {
			t.Errorf("%s: superseded %t", name, got)
		}
		if got := c.copied.NewerThan(&c.stored); got != c.newer {
			t.Errorf("%s: newer than what is stored %t", name, got)
		}
	}
}

// The clocks of two nodes may differ by any amount.
func TestWhatSupersedesACopyIsNotToldByTimes(t *testing.T) {
	for _, skew := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		stored := accountOf(grantOf("a", func(g *Grant) { g.AuthorizedAt, g.LastExchange = noon.Add(skew), noon.Add(skew) }))
		stored.LastRefresh, stored.Generation = noon.Add(skew), 4
		a := accountOf(grantOf("a"))
		a.Generation = 5
		if a.SupersededBy(&stored, "process") || !a.NewerThan(&stored) {
			t.Errorf("a clock that is off by %s decides", skew)
		}
	}
}

func TestReplacedGrantThatIsRefusedOutlivesTheSuccessOfTheSpare(t *testing.T) {
	a, _ := accountOf(grantOf("new", refused(2)), grantOf("former", replaced, refused(2)), grantOf("spare")).refresh(succeeded("spare2"))
	if tokensOf(&a) != "spare2 new former" {
		t.Errorf("grants %q", tokensOf(&a))
	}
}

func TestDeathOfAGrantThatWaitsRemovesNoOther(t *testing.T) {
	a := accountOf(grantOf("a"), grantOf("a"))
	if a, _ = a.exchange(1, rejected(oauth.CodeInvalidGrant)); len(a.Grants) != 1 {
		t.Errorf("%d grants are left", len(a.Grants))
	}
}

func TestTokenIDsAreOfTheNewestAndTheFirstTokenOfEachGrant(t *testing.T) {
	a := accountOf(grantOf("new"), grantOf("spare"))
	a.Grants[0].FirstTokenHash = hash(secret("first"))
	want := []TokenID{IDOf(secret("new")), IDOf(secret("first")), IDOf(secret("spare"))}
	if got := a.TokenIDs(); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	for _, odd := range []string{"", "00", "not a hash at all"} {
		a.Grants[0].FirstTokenHash = odd
		if got := a.TokenIDs(); !slices.Equal(got, []TokenID{want[0], want[2]}) {
			t.Errorf("with %q: %x", odd, got)
		}
	}
	if got := (&Account{}).TokenIDs(); len(got) != 0 {
		t.Errorf("%x", got)
	}
}
