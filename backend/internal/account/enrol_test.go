package account

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func secret(s string) oauth.Secret { return oauth.NewSecret(s) }

func apply(t *testing.T, old *Account, c Change) (*Account, []string) {
	t.Helper()
	a, warnings, err := c.Apply("acme", old, noon)
	if err != nil {
		t.Fatal(err)
	}
	return a, warnings
}

// used returns an account whose first token "first" was rotated to "second".
func used(t *testing.T) *Account {
	a, _ := apply(t, nil, Change{RefreshToken: secret("first"), SpareRefreshToken: secret("spare")})
	rotated := a.rotated(outcome{Result: oauth.Result{
		SentAt: noon, AnsweredAt: noon, Tokens: oauth.Tokens{RefreshToken: secret("second"), AccessToken: secret("at"), ExpiresIn: time.Minute},
	}})
	return &rotated
}

func TestWritingTheSameTokenAgainKeepsTheNewest(t *testing.T) {
	for _, again := range []string{"first", "second"} {
		a, warnings := apply(t, used(t), Change{RefreshToken: secret(again)})
		if a.Grant.RefreshToken.Reveal() != "second" || a.Access == nil || len(warnings) != 1 {
			t.Errorf("%s: the account has %s, warnings %q", again, a.Grant.RefreshToken.Reveal(), warnings)
		}
	}
}

func TestWritingBothTokensAgainAfterTheSpareTookOverKeepsTheNewest(t *testing.T) {
	old := used(t)
	dead, step := old.died(outcome{Result: oauth.Result{Code: oauth.CodeInvalidGrant, AnsweredAt: noon}})
	if step != useSpare {
		t.Fatal("no spare")
	}
	a, warnings := apply(t, &dead, Change{RefreshToken: secret("first"), SpareRefreshToken: secret("spare")})
	if a.Grant.RefreshToken.Reveal() != "spare" || a.Spare != nil || a.SpareState() != SpareUsed || len(warnings) != 2 {
		t.Errorf("grant %s, spare %s, warnings %q", a.Grant.RefreshToken.Reveal(), a.SpareState(), warnings)
	}
}

func TestNewTokenBeginsANewGrant(t *testing.T) {
	old := used(t)
	old.Grant.Death = &Death{Time: noon}
	old.LastError = &LastError{Message: "dead"}
	a, warnings := apply(t, old, Change{RefreshToken: secret("new")})
	if a.State() != StateNew || a.Access != nil || a.LastError != nil || a.RefreshCount != 0 || len(warnings) != 0 {
		t.Errorf("state %s, %+v", a.State(), a)
	}
	if a.Spare == nil {
		t.Error("the spare is gone")
	}
	// The old one is still known.
	again, warnings := apply(t, a, Change{RefreshToken: secret("first")})
	if again.Grant.RefreshToken.Reveal() != "new" || len(warnings) != 1 {
		t.Error("a token of a grant that is gone replaced the newest")
	}
}

func TestWhatWouldLoseATokenIsRefused(t *testing.T) {
	other := "other"
	dead := used(t)
	dead.Grant.Death = &Death{Time: noon}
	for name, c := range map[string]struct {
		old    *Account
		change Change
		want   string
	}{
		"no token":                    {nil, Change{}, "is required to enrol"},
		"only a spare":                {nil, Change{SpareRefreshToken: secret("s")}, "is required to enrol"},
		"the same token twice":        {nil, Change{RefreshToken: secret("x"), SpareRefreshToken: secret("x")}, "are the same"},
		"the spare as the grant":      {used(t), Change{RefreshToken: secret("spare")}, "is the account's spare"},
		"an old token of a dead one":  {dead, Change{RefreshToken: secret("first")}, "written before"},
		"another client":              {used(t), Change{Client: &other}, "write a new refresh_token"},
		"another client, old token":   {used(t), Change{Client: &other, RefreshToken: secret("first")}, "write a new refresh_token"},
		"another client, spare stays": {used(t), Change{Client: &other, RefreshToken: secret("new")}, "new spare_refresh_token"},
	} {
		_, _, err := c.change.Apply("acme", c.old, noon)
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindInvalid || !strings.Contains(e.Error(), c.want) || !strings.Contains(e.Error(), "acme") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestClientChangesWithItsTokens(t *testing.T) {
	other := "other"
	a, _ := apply(t, used(t), Change{Client: &other, RefreshToken: secret("new"), SpareRefreshToken: secret("new spare")})
	if a.Client != "other" || a.Grant.RefreshToken.Reveal() != "new" || a.Spare.RefreshToken.Reveal() != "new spare" {
		t.Errorf("%+v", a)
	}
}

func TestFieldsThatAreNotGivenStay(t *testing.T) {
	minTTL, onRead := time.Minute, true
	a, _ := apply(t, used(t), Change{MinTTL: &minTTL, RefreshOnRead: &onRead})
	b, _ := apply(t, a, Change{})
	if string(encode(a)) != string(encode(b)) || b.MinTTL != time.Minute || !b.RefreshOnRead {
		t.Errorf("%+v", b)
	}
}

func TestRetiredGrantsAreBounded(t *testing.T) {
	a := used(t)
	for i := range 100 {
		a, _ = apply(t, a, Change{RefreshToken: secret(fmt.Sprint("token ", i))})
	}
	if len(a.Retired) != maxRetired {
		t.Errorf("%d retired grants are remembered", len(a.Retired))
	}
	if !a.hasSeen(secret("token 98")) || a.hasSeen(secret("first")) {
		t.Error("not the newest are remembered")
	}
}
