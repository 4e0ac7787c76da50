package account

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestLoginReplacesTheGrantAndKeepsTheSpare(t *testing.T) {
	for name, c := range map[string]struct {
		grants []Grant
		want   string
		spare  SpareState
	}{
		"a new account":        {nil, "new", SpareNone},
		"a living grant":       {[]Grant{grantOf("a")}, "new", SpareNone},
		"a spare":              {[]Grant{grantOf("a"), grantOf("b")}, "new b", SpareReady},
		"a dead grant":         {[]Grant{grantOf("a", dead)}, "new", SpareNone},
		"all dead":             {[]Grant{grantOf("a", dead), grantOf("b", dead)}, "new", SpareNone},
		"dead, with a spare":   {[]Grant{grantOf("a", dead), grantOf("b")}, "new b", SpareReady},
		"a replaced grant":     {[]Grant{grantOf("a"), grantOf("b", replaced)}, "new", SpareNone},
		"replaced and a spare": {[]Grant{grantOf("a"), grantOf("b", replaced), grantOf("c")}, "new c", SpareReady},
	} {
		a := accountOf(c.grants...)
		a.LastError, a.SpareUsed, a.RefreshCount = &LastError{Message: "dead"}, true, 7
		a = a.LoggedIn(Outcome{Result: succeeded("new")})
		if tokensOf(&a) != c.want || a.State() != StateReady || a.SpareState() != c.spare {
			t.Errorf("%s: grants %q, state %s, spare %s", name, tokensOf(&a), a.State(), a.SpareState())
		}
		if a.LastError != nil || a.SpareUsed || a.RefreshCount != 0 || a.Access.Token.Reveal() != "at-new" || !a.Grants[0].AuthorizedAt.Equal(noon.Add(time.Second)) {
			t.Errorf("%s: %+v", name, a)
		}
		for _, g := range c.grants {
			if !a.hasSeen(g.RefreshToken) {
				t.Errorf("%s: %s is not remembered", name, g.RefreshToken.Reveal())
			}
		}
	}
}

func TestLoginWithoutAnAccessTokenGivesTheGrant(t *testing.T) {
	a := living(0)
	if a = a.LoggedIn(Outcome{Result: succeededWithoutAccess("new")}); tokensOf(&a) != "new" || a.State() != StateNew || a.Access != nil {
		t.Errorf("grants %q, state %s", tokensOf(&a), a.State())
	}
}

func TestLoginAsSpareLeavesTheGrantAlone(t *testing.T) {
	old := living(100 * time.Second)
	a := old.LoggedInAsSpare(Outcome{Result: succeeded("spare")})
	if tokensOf(&a) != "rt spare" || a.SpareState() != SpareReady || a.Access != old.Access || a.State() != StateReady {
		t.Errorf("grants %q, spare %s, state %s", tokensOf(&a), a.SpareState(), a.State())
	}
	died := accountOf(grantOf("rt", dead))
	if a = died.LoggedInAsSpare(Outcome{Result: succeeded("spare")}); tokensOf(&a) != "spare" || a.State() != StateNew {
		t.Errorf("a dead account: grants %q, state %s", tokensOf(&a), a.State())
	}
}

// A server may answer two logins of one session with one refresh token.
func TestLoginAsSpareThatReturnsTheTokenInUseIsNoSpare(t *testing.T) {
	a := living(0)
	if a = a.LoggedInAsSpare(Outcome{Result: succeeded("rt")}); tokensOf(&a) != "rt" {
		t.Errorf("grants %q", tokensOf(&a))
	}
}

func TestLoginIsPreparedForTheAccountAsItIs(t *testing.T) {
	old := accountOf(grantOf("a"), grantOf("b"))
	login := Outcome{Result: succeeded("new")}
	for name, c := range map[string]struct {
		old     *Account
		client  string
		asSpare bool
		want    string // the grants after the login
	}{
		"a new account":  {nil, "other", false, "new"},
		"the same":       {&old, DefaultClient, false, "new b"},
		"a spare":        {&old, DefaultClient, true, "a new"},
		"another client": {&old, "other", false, "new"},
	} {
		a, err := PrepareLogin("acme", c.old, c.client, c.asSpare)
		if err != nil || a.Client != c.client {
			t.Errorf("%s: %+v, %v", name, a, err)
			continue
		}
		after := a.LoggedIn(login)
		if c.asSpare {
			after = a.LoggedInAsSpare(login)
		}
		if tokensOf(&after) != c.want {
			t.Errorf("%s: grants %q, want %q", name, tokensOf(&after), c.want)
		}
	}
	if tokensOf(&old) != "a b" || old.Grants[0].Replaced || old.Client != DefaultClient {
		t.Error("preparing a login has changed the account")
	}
	if _, err := PrepareLogin("acme", nil, DefaultClient, true); !errors.Is(err, ErrUnknownLogin) {
		t.Errorf("a spare for no account: %v", err)
	}
	var e *Error
	if _, err := PrepareLogin("acme", &old, "other", true); !errors.As(err, &e) || e.Kind != KindInvalid || !strings.Contains(e.Text, "its client was changed") {
		t.Errorf("a spare of another client: %v", err)
	}
}

func TestUseOfTheKeptPasswordIsNoted(t *testing.T) {
	died := accountOf(grantOf("a", dead), grantOf("b", dead))
	died.Credentials = &Credentials{Credentials: oauth.Credentials{Username: "alice", Password: secret("password")}}
	using := died.UsingCredentials(noon)
	if !using.Credentials.LastUsed.Equal(noon) || using.Credentials.Username != "alice" || !died.Credentials.LastUsed.IsZero() {
		t.Errorf("%+v", using.Credentials)
	}
	if at, ok := using.nextLogin(noon); !ok || !at.Equal(noon.Add(time.Hour)) {
		t.Errorf("the next login is at %s, %t", at, ok)
	}

	again := using.LoggedIn(Outcome{Result: succeeded("new")}).LoginSucceeded(&using, noon)
	if e := lastError(&again); !strings.Contains(e, "(invalid_grant)") || !strings.HasSuffix(e, "the plugin has logged in again with the kept password") || again.State() != StateReady {
		t.Errorf("state %s, last error %q", again.State(), e)
	}
	for _, refused := range []bool{false, true} {
		failed := using.LoginFailed(errors.New("no connection"), refused, noon)
		if failed.Credentials.Refused != refused || !strings.Contains(lastError(&failed), "the login with the kept password failed: no connection") || failed.State() != StateDead {
			t.Errorf("refused %t: %+v, last error %q", refused, failed.Credentials, lastError(&failed))
		}
		if _, ok := failed.nextLogin(noon); ok == refused {
			t.Errorf("refused %t: another login is possible: %t", refused, ok)
		}
	}
	if using.Credentials.Refused || using.LastError != nil {
		t.Error("a transition changed the account that it began from")
	}
}

func TestLoginThatReturnsNoGrantSaysWhy(t *testing.T) {
	busy := rejected("")
	busy.Status, busy.Reason = 429, "the server asks for fewer requests"
	for name, c := range map[string]struct {
		result     oauth.Result
		byPassword bool
		kind       ErrorKind
		want       string
	}{
		"no refresh token": {succeeded(""), false, KindClient, "issued no refresh token"},
		"not sent":         {notSent(), false, KindUnavailable, "nothing was sent"},
		"refused code":     {rejected(oauth.CodeInvalidGrant), false, KindInvalid, "refused the code"},
		"refused password": {rejected(oauth.CodeInvalidGrant), true, KindInvalid, "refused the username or the password"},
		"busy":             {busy, false, KindUnavailable, "wait, and begin the login again with a write to authorize/acme"},
		"busy, password":   {busy, true, KindUnavailable, "wait, and try again"},
		"refused client":   {rejected(oauth.CodeInvalidClient), false, KindClient, "correct clients/other"},
		"no answer":        {noAnswer(), false, KindUnavailable, "the login was lost"},
	} {
		e := LoginError("acme", "other", c.byPassword, Outcome{Result: c.result})
		if e.Kind != c.kind || !strings.Contains(e.Error(), c.want) || !strings.Contains(e.Error(), `"acme"`) {
			t.Errorf("%s: kind %d, %v; want %d, %q", name, e.Kind, e, c.kind, c.want)
		}
	}
}
