package account

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// enrolled returns an account whose first refresh token "first" was exchanged for
// "second", with the spare "spare".
func enrolled(t *testing.T) *Account {
	t.Helper()
	a, _ := apply(t, nil, Change{RefreshToken: secret("first"), SpareRefreshToken: secret("spare")})
	rotated, _ := a.refresh(succeeded("second"))
	return &rotated
}

// afterwards returns the account after exchanges of the grants in use.
func afterwards(a *Account, results ...oauth.Result) *Account {
	b, _ := a.refresh(results...)
	return &b
}

func TestFirstWriteEnrolsAnAccount(t *testing.T) {
	a, warnings := apply(t, nil, Change{RefreshToken: secret("first")})
	if a.Client != DefaultClient || a.State() != StateNew || tokensOf(a) != "first" || a.SpareState() != SpareNone || len(warnings) > 0 {
		t.Errorf("%+v, warnings %q", a, warnings)
	}
	if g := a.Grants[0]; !g.AuthorizedAt.Equal(noon) || g.FirstTokenHash != hash(secret("first")) {
		t.Errorf("%+v", g)
	}
	other := "other"
	if a, _ = apply(t, nil, Change{RefreshToken: secret("first"), Client: &other}); a.Client != "other" || tokensOf(a) != "first" {
		t.Errorf("%+v", a)
	}
}

func TestWritingTheSameTokenAgainKeepsTheNewest(t *testing.T) {
	for _, again := range []string{"first", "second"} {
		a, warnings := apply(t, enrolled(t), Change{RefreshToken: secret(again)})
		if tokensOf(a) != "second spare" || a.Access == nil || len(warnings) != 1 {
			t.Errorf("%s: the account has %q, warnings %q", again, tokensOf(a), warnings)
		}
	}
	a, warnings := apply(t, enrolled(t), Change{SpareRefreshToken: secret("spare")})
	if tokensOf(a) != "second spare" || len(warnings) != 1 {
		t.Errorf("the spare: the account has %q, warnings %q", tokensOf(a), warnings)
	}
}

func TestWritingBothTokensAgainAfterTheSpareTookOverKeepsTheNewest(t *testing.T) {
	again := Change{RefreshToken: secret("first"), SpareRefreshToken: secret("spare")}
	for name, old := range map[string]*Account{
		"about to take over": afterwards(enrolled(t), rejected(oauth.CodeInvalidGrant)),
		"has taken over":     afterwards(enrolled(t), rejected(oauth.CodeInvalidGrant), succeeded("third")),
	} {
		a, warnings := apply(t, old, again)
		if tokensOf(a) != tokensOf(old) || a.SpareState() != old.SpareState() || len(warnings) != 2 {
			t.Errorf("%s: grants %q, spare %s, warnings %q", name, tokensOf(a), a.SpareState(), warnings)
		}
	}
}

func TestNewTokenForADeadGrantBeginsAnew(t *testing.T) {
	old := *enrolled(t)
	old.Grants = []Grant{old.Grants[0], old.Grants[1]}
	dead(&old.Grants[0])
	old.LastError, old.SpareUsed = &LastError{Message: "dead"}, true
	a, warnings := apply(t, &old, Change{RefreshToken: secret("new")})
	if a.State() != StateNew || a.Access != nil || a.LastError != nil || a.RefreshCount != 0 || !a.LastRefresh.IsZero() || a.SpareUsed || len(warnings) != 0 {
		t.Errorf("state %s, %+v", a.State(), a)
	}
	if tokensOf(a) != "new spare" || a.SpareState() != SpareReady {
		t.Errorf("grants %q, spare %s", tokensOf(a), a.SpareState())
	}
	// The old one is still known.
	again, warnings := apply(t, a, Change{RefreshToken: secret("first")})
	if tokensOf(again) != "new spare" || len(warnings) != 1 {
		t.Error("a token of a grant that is gone replaced the newest")
	}
}

func TestWhatWouldLoseATokenIsRefused(t *testing.T) {
	other, same, yes := "other", DefaultClient, true
	deadOnes := *enrolled(t)
	deadOnes.Grants = []Grant{grantOf("first", dead), grantOf("spare", dead)}
	alice := &oauth.Credentials{Username: "alice", Password: secret("password")}
	for name, c := range map[string]struct {
		old    *Account
		change Change
		want   string // "" if it is not refused
	}{
		"no token":                          {nil, Change{}, "is required to enrol"},
		"only a spare":                      {nil, Change{SpareRefreshToken: secret("s")}, "is required to enrol"},
		"the same token twice":              {nil, Change{RefreshToken: secret("x"), SpareRefreshToken: secret("x")}, "are the same"},
		"the same token twice, later":       {enrolled(t), Change{RefreshToken: secret("x"), SpareRefreshToken: secret("x")}, "are the same"},
		"the spare as the grant":            {enrolled(t), Change{RefreshToken: secret("spare")}, "is the account's spare"},
		"an old token of a dead account":    {&deadOnes, Change{RefreshToken: secret("first")}, "written before"},
		"another client":                    {enrolled(t), Change{Client: &other}, "write a new refresh_token"},
		"another client, old token":         {enrolled(t), Change{Client: &other, RefreshToken: secret("first")}, "write a new refresh_token"},
		"another client, spare stays":       {enrolled(t), Change{Client: &other, RefreshToken: secret("new")}, "new spare_refresh_token"},
		"another client, both new":          {enrolled(t), Change{Client: &other, RefreshToken: secret("new"), SpareRefreshToken: secret("new spare")}, ""},
		"the same client":                   {enrolled(t), Change{Client: &same}, ""},
		"password and token":                {enrolled(t), Change{Credentials: alice, RefreshToken: secret("new")}, "write either them or refresh tokens"},
		"password and spare":                {enrolled(t), Change{Credentials: alice, SpareRefreshToken: secret("new")}, "write either them or refresh tokens"},
		"keep a password that is not there": {enrolled(t), Change{KeepPassword: &yes}, "keep_password needs"},
		"keep it, before there is one":      {nil, Change{KeepPassword: &yes, RefreshToken: secret("new")}, "keep_password needs"},
		"a password":                        {nil, Change{Credentials: alice, KeepPassword: &yes}, ""},
		"a password and another client":     {enrolled(t), Change{Credentials: alice, Client: &other}, ""},
	} {
		_, _, err := c.change.Apply("acme", c.old, noon)
		var e *Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "":
		case !errors.As(err, &e) || e.Kind != KindInvalid || !strings.Contains(e.Error(), c.want) || !strings.Contains(e.Error(), "acme"):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestClientChangesWithItsTokens(t *testing.T) {
	other := "other"
	a, _ := apply(t, enrolled(t), Change{Client: &other, RefreshToken: secret("new"), SpareRefreshToken: secret("its spare")})
	if a.Client != "other" || tokensOf(a) != "new its spare" || a.State() != StateNew {
		t.Errorf("client %s, grants %q, state %s", a.Client, tokensOf(a), a.State())
	}
	if !a.hasSeen(secret("first")) || !a.hasSeen(secret("spare")) {
		t.Error("the grants of the other client are not remembered")
	}
	// Not even a grant that a written token replaced survives.
	replacing, _ := apply(t, enrolled(t), Change{RefreshToken: secret("useless"), SpareRefreshToken: secret("another spare")})
	a, _ = apply(t, replacing, Change{Client: &other, RefreshToken: secret("new"), SpareRefreshToken: secret("its spare")})
	if tokensOf(a) != "new its spare" {
		t.Errorf("grants %q", tokensOf(a))
	}
	// The new client is refused before its token has worked: nothing of the other one is tried.
	if a = afterwards(a, rejected(oauth.CodeInvalidClient), rejected(oauth.CodeInvalidClient)); tokensOf(a) != "new its spare" || a.InUse() != 1 {
		t.Errorf("grants %q", tokensOf(a))
	}
}

func TestClientThatIsWrittenAgainKeepsEverything(t *testing.T) {
	same, old := DefaultClient, enrolled(t)
	a, warnings := apply(t, old, Change{Client: &same})
	if string(Encode(a)) != string(Encode(old)) || len(warnings) > 0 {
		t.Errorf("%+v, warnings %q", a, warnings)
	}
}

func TestFieldsThatAreNotGivenStay(t *testing.T) {
	old := enrolled(t)
	before := string(Encode(old))
	a, _ := apply(t, old, Change{Settings: func(s *Settings) { s.MinTTL, s.RefreshOnRead = time.Minute, true }})
	b, _ := apply(t, a, Change{})
	if string(Encode(a)) != string(Encode(b)) || b.MinTTL != time.Minute || !b.RefreshOnRead || b.AutoRefresh {
		t.Errorf("%+v", b)
	}
	c, _ := apply(t, b, Change{Settings: func(s *Settings) { s.AutoRefresh = true }})
	if c.MinTTL != time.Minute || !c.RefreshOnRead || !c.AutoRefresh || tokensOf(c) != "second spare" {
		t.Errorf("%+v", c)
	}
	if string(Encode(old)) != before || b.AutoRefresh {
		t.Error("a change of the settings changed the account that it began from")
	}
}

func TestRetiredGrantsAreBounded(t *testing.T) {
	a := enrolled(t)
	for i := range 100 {
		a, _ = apply(t, a, Change{RefreshToken: secret(fmt.Sprint("token ", i))})
	}
	if len(a.RetiredHashes) != maxRetired {
		t.Errorf("%d retired grants are remembered", len(a.RetiredHashes))
	}
	if !a.hasSeen(secret("token 97")) || a.hasSeen(secret("token 50")) {
		t.Error("not the newest are remembered")
	}
	if len(a.Grants) != 1+maxReplaced+1 { // the newest, those that wait, the spare
		t.Errorf("%d grants are kept", len(a.Grants))
	}
}

// While no token can be tried, people write a good one, and then nonsense over it.
func TestEveryWrittenTokenWaitsUntilANewerOneHasWorked(t *testing.T) {
	a := enrolled(t)
	for _, token := range []string{"good", "slip", "typo"} {
		a, _ = apply(t, a, Change{RefreshToken: secret(token)})
	}
	if tokensOf(a) != "typo slip good second spare" {
		t.Fatalf("the grants are %q", tokensOf(a))
	}
	a = afterwards(a, rejected(oauth.CodeInvalidGrant))
	a = afterwards(a, rejected(oauth.CodeInvalidGrant))
	a = afterwards(a, succeeded("better"))
	if tokensOf(a) != "better spare" || a.State() != StateReady || a.SpareState() != SpareReady {
		t.Errorf("the grants are %q, the state is %s, the spare %s", tokensOf(a), a.State(), a.SpareState())
	}
}

func TestWrittenTokenReplacesALivingGrantWhenItHasWorked(t *testing.T) {
	for name, c := range map[string]struct {
		spare  bool
		before string // after the write
		after  string // after the new one has worked
		state  SpareState
	}{
		"without a spare": {false, "new second", "newer", SpareNone},
		"with a spare":    {true, "new second spare", "newer spare", SpareReady},
	} {
		old := enrolled(t)
		if !c.spare {
			old.Grants = old.Grants[:1]
		}
		a, warnings := apply(t, old, Change{RefreshToken: secret("new")})
		if tokensOf(a) != c.before || a.InUse() != 0 || a.State() != StateNew || len(warnings) > 0 {
			t.Fatalf("%s: grants %q, grant %d, state %s, warnings %q", name, tokensOf(a), a.InUse(), a.State(), warnings)
		}
		if !a.Grants[1].Replaced || a.SpareState() != c.state || a.Access != nil || a.RefreshCount != 0 {
			t.Errorf("%s: spare %s, %+v", name, a.SpareState(), a.Grants[1])
		}
		if !a.hasSeen(secret("first")) || !a.hasSeen(secret("second")) {
			t.Errorf("%s: the former token is not recognized", name)
		}

		a = afterwards(a, succeeded("newer"))
		if tokensOf(a) != c.after || a.State() != StateReady || a.SpareState() != c.state || a.SpareUsed || a.LastError != nil {
			t.Errorf("%s: grants %q, state %s, spare %s, last error %q", name, tokensOf(a), a.State(), a.SpareState(), lastError(a))
		}
		if !a.hasSeen(secret("first")) {
			t.Errorf("%s: the former grant is not remembered", name)
		}
	}
}

func TestWrittenTokenThatIsUselessDoesNotCostTheGrantThatWorks(t *testing.T) {
	refusal := rejected(oauth.CodeInvalidRequest)
	for name, c := range map[string]struct {
		spare   bool
		results []oauth.Result
		after   string // after the former one has worked
		state   SpareState
		why     string
	}{
		"rejected":                {false, []oauth.Result{rejected(oauth.CodeInvalidGrant)}, "third", SpareNone, "the server rejected the refresh token (invalid_grant) at 2026-03-01T12:00:01Z"},
		"rejected, with a spare":  {true, []oauth.Result{rejected(oauth.CodeInvalidGrant)}, "third spare", SpareReady, "the server rejected the refresh token (invalid_grant) at 2026-03-01T12:00:01Z"},
		"refused twice":           {false, []oauth.Result{refusal, refusal}, "third new", SpareNone, "the server answered invalid_request"},
		"refused, with a spare":   {true, []oauth.Result{refusal, refusal}, "third new spare", SpareReady, "the server answered invalid_request"},
		"no answer, and rejected": {false, []oauth.Result{noAnswer(), rejected(oauth.CodeInvalidGrant)}, "third", SpareNone, "lost in transit"},
	} {
		old := enrolled(t)
		if !c.spare {
			old.Grants = old.Grants[:1]
		}
		written, _ := apply(t, old, Change{RefreshToken: secret("new")})
		a, next := written.refresh(c.results...)
		atOnce := next == UseNextGrant || c.results[len(c.results)-1].Code != oauth.CodeInvalidGrant
		if !atOnce || a.Current().RefreshToken.Reveal() != "second" || a.SpareState() != c.state {
			t.Errorf("%s: follow-up %d, %q is in use, spare %s", name, next, a.Current().RefreshToken.Reveal(), a.SpareState())
			continue
		}
		if h := a.Hold(Conditions{Now: noon.Add(time.Second)}, false); h.Reason != NotHeld {
			t.Errorf("%s: the former grant is held: %+v", name, h)
		}
		a, _ = a.refresh(succeeded("third"))
		if tokensOf(&a) != c.after || a.State() != StateReady || a.Grants[0].Replaced || a.SpareUsed || a.SpareState() != c.state {
			t.Errorf("%s: grants %q, state %s, spare %s", name, tokensOf(&a), a.State(), a.SpareState())
		}
		if e := lastError(&a); !strings.Contains(e, "the refresh token that was written was useless: "+c.why) || !strings.HasSuffix(e, "the account goes on with the grant that it had before") {
			t.Errorf("%s: last error %q", name, e)
		}
	}
}

func TestReplacedGrantThatHasBecomeTheFirstIsLikeAnyOther(t *testing.T) {
	// A written spare retired the rejected grant in front of it.
	a, _ := accountOf(grantOf("a", replaced), grantOf("spare")).refresh(succeeded("a2"))
	if tokensOf(&a) != "a2 spare" || a.Grants[0].Replaced || a.LastError != nil || a.SpareUsed {
		t.Errorf("grants %q, last error %q", tokensOf(&a), lastError(&a))
	}
}

func TestSpareHelpsIfNeitherTheWrittenNorTheFormerTokenWorks(t *testing.T) {
	written, _ := apply(t, enrolled(t), Change{RefreshToken: secret("new")})
	a, next := written.refresh(rejected(oauth.CodeInvalidGrant), rejected(oauth.CodeInvalidGrant))
	if next != UseNextGrant || a.InUse() != 2 {
		t.Fatalf("follow-up %d, grant %d", next, a.InUse())
	}
	a, _ = a.refresh(succeeded("spare2"))
	if tokensOf(&a) != "spare2" || !a.SpareUsed || !strings.HasSuffix(lastError(&a), "the spare grant has taken over") {
		t.Errorf("grants %q, last error %q", tokensOf(&a), lastError(&a))
	}
}

func TestSecondWrittenTokenKeepsTheGrantThatWorks(t *testing.T) {
	once, _ := apply(t, enrolled(t), Change{RefreshToken: secret("mistyped")})
	for name, old := range map[string]*Account{
		"not tried yet": once,
		"rejected":      afterwards(once, rejected(oauth.CodeInvalidGrant)),
	} {
		a, _ := apply(t, old, Change{RefreshToken: secret("mistyped again")})
		if a.find(hash(secret("first"))) == nil {
			t.Errorf("%s: grants %q", name, tokensOf(a))
		}
	}
}

func TestWrittenSpareTakesThePlaceOfTheSpareBefore(t *testing.T) {
	for name, c := range map[string]struct {
		grants []Grant
		want   string
		state  State
		spare  SpareState
	}{
		"no spare yet":               {[]Grant{grantOf("a")}, "a new", StateNew, SpareReady},
		"another spare":              {[]Grant{grantOf("a"), grantOf("b")}, "a new", StateNew, SpareReady},
		"one that is dead":           {[]Grant{grantOf("a"), grantOf("b", dead)}, "a new", StateNew, SpareReady},
		"a grant that stepped back":  {[]Grant{grantOf("b"), grantOf("a", refused(2))}, "b new", StateNew, SpareReady},
		"a replaced grant":           {[]Grant{grantOf("a"), grantOf("b", replaced)}, "a b new", StateNew, SpareReady},
		"replaced grant and a spare": {[]Grant{grantOf("a"), grantOf("b", replaced), grantOf("c")}, "a b new", StateNew, SpareReady},
		"the first is dead":          {[]Grant{grantOf("a", dead), grantOf("b")}, "b new", StateNew, SpareReady},
		"it is dead":                 {[]Grant{grantOf("a", dead)}, "new", StateNew, SpareNone},
		"both are dead":              {[]Grant{grantOf("a", dead), grantOf("b", dead)}, "new", StateNew, SpareNone},
	} {
		old := accountOf(c.grants...)
		old.SpareUsed = true
		a, warnings := apply(t, &old, Change{SpareRefreshToken: secret("new")})
		if tokensOf(a) != c.want || a.State() != c.state || a.SpareState() != c.spare || a.SpareUsed || len(warnings) > 0 {
			t.Errorf("%s: grants %q, state %s, spare %s, warnings %q", name, tokensOf(a), a.State(), a.SpareState(), warnings)
		}
		for _, g := range c.grants {
			if !a.hasSeen(g.RefreshToken) {
				t.Errorf("%s: %s is not remembered", name, g.RefreshToken.Reveal())
			}
		}
	}
}

func TestWrittenSpareLeavesTheGrantAlone(t *testing.T) {
	old := enrolled(t)
	a, _ := apply(t, old, Change{SpareRefreshToken: secret("new spare")})
	if tokensOf(a) != "second new spare" || a.Access != old.Access || a.RefreshCount != old.RefreshCount || a.State() != StateReady {
		t.Errorf("%+v", a)
	}
}

func TestPasswordIsKeptOnlyIfItIsWanted(t *testing.T) {
	yes, no := true, false
	alice := &oauth.Credentials{Username: "alice", Password: secret("password")}
	kept := &Credentials{Credentials: oauth.Credentials{Username: "bob", Password: secret("old")}, Refused: true, LastUsed: noon}
	for name, c := range map[string]struct {
		kept   *Credentials
		change Change
		want   string // the username
	}{
		"not wanted":               {nil, Change{Credentials: alice}, ""},
		"wanted":                   {nil, Change{Credentials: alice, KeepPassword: &yes}, "alice"},
		"still wanted":             {kept, Change{Credentials: alice}, "alice"},
		"not wanted any more":      {kept, Change{KeepPassword: &no}, ""},
		"another, not kept":        {kept, Change{Credentials: alice, KeepPassword: &no}, ""},
		"it stays":                 {kept, Change{}, "bob"},
		"it stays, wanted again":   {kept, Change{KeepPassword: &yes}, "bob"},
		"a written token keeps it": {kept, Change{RefreshToken: secret("new")}, "bob"},
	} {
		old := accountOf(grantOf("rt"))
		old.Credentials = c.kept
		a, _ := apply(t, &old, c.change)
		var username string
		if a.Credentials != nil {
			username = a.Credentials.Username
			if fresh := username == "alice"; fresh && (a.Credentials.Refused || !a.Credentials.LastUsed.IsZero()) {
				t.Errorf("%s: what is known of the former password counts for the new one", name)
			}
		}
		if username != c.want {
			t.Errorf("%s: keeps the password of %q, want %q", name, username, c.want)
		}
		if old.Credentials != c.kept {
			t.Errorf("%s: the account that the change began from has changed", name)
		}
	}
}

func TestWritingTheSamePasswordAgainIsNoNewLogin(t *testing.T) {
	alice := oauth.Credentials{Username: "alice", Password: secret("password")}
	for name, c := range map[string]struct {
		grants []Grant
		kept   *Credentials
		write  *oauth.Credentials
		want   bool
	}{
		"the same":         {[]Grant{grantOf("a")}, &Credentials{Credentials: alice}, &alice, true},
		"a spare is left":  {[]Grant{grantOf("a", dead), grantOf("b")}, &Credentials{Credentials: alice}, &alice, true},
		"none":             {[]Grant{grantOf("a")}, &Credentials{Credentials: alice}, nil, false},
		"none is kept":     {[]Grant{grantOf("a")}, nil, &alice, false},
		"it was refused":   {[]Grant{grantOf("a")}, &Credentials{Credentials: alice, Refused: true}, &alice, false},
		"every grant died": {[]Grant{grantOf("a", dead)}, &Credentials{Credentials: alice}, &alice, false},
		"another password": {[]Grant{grantOf("a")}, &Credentials{Credentials: alice}, &oauth.Credentials{Username: "alice", Password: secret("new")}, false},
		"another user":     {[]Grant{grantOf("a")}, &Credentials{Credentials: alice}, &oauth.Credentials{Username: "bob", Password: secret("password")}, false},
	} {
		a := accountOf(c.grants...)
		a.Credentials = c.kept
		if got := (Change{Credentials: c.write}).Repeats(&a); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
