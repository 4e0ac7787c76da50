package sandbox_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// logInAgain authorizes in the browser as a user, with the login page if there is one,
// and returns the refresh token.
func (b *browser) logInAgain(username, prompt string) string {
	b.t.Helper()
	query := authorizeQuery()
	query.Set("prompt", prompt)
	p := b.open(query)
	if p.status == http.StatusOK {
		p = b.press(p, username, username+"-password", "login")
	}
	tokens := exchangeCode(b.t, b.srv, p.location.Get("code"), verifier)
	if tokens.status != http.StatusOK {
		b.t.Fatalf("HTTP %d, error %q", tokens.status, tokens.Error)
	}
	return tokens.Refresh
}

func TestGrantsOfOneBrowserSessionCanBeTied(t *testing.T) {
	const ok, refused = http.StatusOK, http.StatusBadRequest
	for _, test := range []struct {
		name         string
		ties         sandbox.TieMode
		user, prompt string // of the second login
		// The answers to refreshes of the first grant, the second, and the first again.
		first, second, again int
	}{
		{"independent", sandbox.TieNone, "", "", ok, ok, ok},
		{"stale is refused", sandbox.TieStaleRefused, "", "", ok, refused, ok},
		{"stale ends both", sandbox.TieStaleEndsBoth, "", "", ok, refused, refused},
		{"the same user logs in again", sandbox.TieStaleRefused, "alice", "login", ok, refused, ok},
		{"another user", sandbox.TieStaleEndsBoth, "bob", "login", ok, ok, ok},
		{"another user, chosen", sandbox.TieStaleEndsBoth, "bob", "select_account", ok, ok, ok},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := start(t, sandbox.Config{TieSessions: test.ties})
			b := newBrowser(t, srv)
			token := b.logInAgain("alice", "")
			other := b.logInAgain(test.user, test.prompt)
			got := refresh(t, srv, token)
			if got.status != test.first {
				t.Errorf("first grant: HTTP %d, want %d", got.status, test.first)
			}
			if got := refresh(t, srv, other); got.status != test.second {
				t.Errorf("second grant: HTTP %d, want %d", got.status, test.second)
			}
			if got := refresh(t, srv, got.Refresh); got.status != test.again {
				t.Errorf("first grant again: HTTP %d, want %d", got.status, test.again)
			}
			if n := srv.Stats().Replays; n != 0 {
				t.Errorf("%d replays, want none: a stale token was not used before", n)
			}
		})
	}
}

func TestAnotherUserCanLogInInTheSameBrowser(t *testing.T) {
	srv := start(t, sandbox.Config{})
	b := newBrowser(t, srv)
	b.logInAgain("alice", "")
	query := authorizeQuery()
	query.Set("prompt", "login")
	query.Set("login_hint", "bob")
	query.Set("scope", "openid")
	page := b.open(query)
	if !strings.Contains(page.body, "<strong>alice</strong>") || !strings.Contains(page.body, `value="bob"`) {
		t.Errorf("the page neither names alice nor fills in bob:\n%s", page.body)
	}
	got := b.press(page, "bob", "bob-password", "login").location
	if sub := claimsOf(t, exchangeCode(t, srv, got.Get("code"), verifier).ID)["sub"]; sub != "bob" {
		t.Errorf("the id_token is %v's, want bob's", sub)
	}
	back := startCallback(t) // and a visitor does the same
	v := newVisitor(t, srv)
	for _, user := range []string{"alice", "bob"} {
		v.Username, v.Password = user, user+"-password"
		if _, err := v.Visit(testContext(t), back.authorizeURL(srv, url.Values{"prompt": {"login"}})); err != nil {
			t.Fatal(err)
		}
		if sub := claimsOf(t, exchangeAt(t, srv, back).Access)["sub"]; sub != user {
			t.Errorf("the access token is %v's, want %s's", sub, user)
		}
	}
}
