package backend

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const (
	redirectURI = "https://vault.example.com/v1/pagero/callback"
	issuer      = "https://sso.pageroonline.com/oauth/v2/oauth-anonymous"
	codeOne     = "code-" + canary + "-acme-1"
	codeTwo     = "code-" + canary + "-acme-2"
	thePassword = "pw-" + canary + "-acme"
)

// withLogins sets up the client "default" with a redirect URI.
func (m *mount) withLogins() {
	m.t.Helper()
	m.want(m.write("clients/default", fields{"client_id": "our-app", "client_secret": clientSecret, "redirect_uris": redirectURI}), 204)
}

// authorizeAccount begins a login and returns the parameters of its URL.
func (m *mount) authorizeAccount(data fields) url.Values {
	m.t.Helper()
	return m.loginOf(m.want(m.do(logical.UpdateOperation, "authorize/acme", data), 200))
}

func (m *mount) loginOf(a answer) url.Values {
	m.t.Helper()
	text, _ := a.data["authorization_url"].(string)
	u, err := url.Parse(text)
	if err != nil || u.Host != "sso.pageroonline.com" || u.Query().Get("state") != a.data["state"] {
		m.t.Fatalf("the URL of %s is not one", a)
	}
	return u.Query()
}

// visit is what a browser does after a login: a GET with what the server put
// into the query.
func (m *mount) visit(data fields) answer {
	m.t.Helper()
	return m.do(logical.ReadOperation, "callback", data)
}

func (m *mount) wantPage(a answer, status int, parts ...string) answer {
	m.t.Helper()
	m.want(a, status)
	if !strings.HasPrefix(a.page, "<!DOCTYPE html>") || strings.Contains(a.page, "<script") {
		m.t.Errorf("that is no page: %s", a)
	}
	for _, part := range parts {
		if !strings.Contains(a.page, part) {
			m.t.Errorf("the page lacks %q:\n%s", part, a.page)
		}
	}
	return a
}

func TestLoginConnectsAnAccountThatIsNew(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("clients/default", fields{"scopes": "all,openid"}), 204)
		l := m.authorizeAccount(nil)
		for name, want := range map[string]string{
			"response_type": "code", "client_id": "our-app", "redirect_uri": redirectURI, "scope": "all openid",
			"code_challenge_method": "S256", "prompt": "", "response_mode": "",
		} {
			if l.Get(name) != want {
				t.Errorf("%s is %q, not %q", name, l.Get(name), want)
			}
		}
		m.want(m.read("accounts/acme"), 404)

		m.restart() // a login survives a restart and a failover
		m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne, "session_state": "whatever"}), 200, "acme is connected")
		sent := m.wantPosts(1)[0]
		if sent.token != codeOne || sent.code.RedirectURI != redirectURI || len(sent.code.Verifier.Reveal()) != 43 {
			t.Errorf("%+v", sent)
		}
		token := m.want(m.read("token/acme"), 200).token()
		m.wantPosts(0)
		m.wantData(m.read("accounts/acme"), fields{"state": "ready", "client": "default", "authorized_time": bubbleStart})
		m.restart()
		if m.want(m.read("token/acme"), 200).token() != token {
			t.Error("the token was not saved")
		}
	})
}

func TestLoginLeavesAnAccountAloneUntilItCompletes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.withLogins()
		m.want(m.read("token/acme"), 200)
		before := m.stored("account/acme")
		l := m.authorizeAccount(fields{"prompt": "login"})
		if l.Get("prompt") != "login" || m.stored("account/acme") != before {
			t.Errorf("prompt %q, account %s", l.Get("prompt"), m.stored("account/acme"))
		}
		m.pagero.take()
		m.visit(fields{"state": l.Get("state"), "code": codeOne})
		m.wantData(m.read("accounts/acme"), fields{"refresh_count": 0, "state": "ready"})
		m.want(m.write("refresh/acme", nil), 200)
		if posts := m.wantPosts(2); !strings.HasPrefix(posts[1].token, codeOne+"#") {
			t.Errorf("the exchange was made with %s", posts[1].token)
		}
	})
}

func TestLoginByAFormIsAnsweredWithAPage(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"response_mode": "form_post"})
		if l.Get("response_mode") != "form_post" {
			t.Errorf("%v", l)
		}
		post := fields{"state": l.Get("state"), "code": codeOne}
		m.wantPage(m.do(logical.UpdateOperation, "callback", post), 200, "acme is connected")
		// Also where the login is not known any more.
		m.wantPage(m.do(logical.UpdateOperation, "callback", post), 400, "new link")
		m.wantPosts(1)
	})
}

func TestLoginByACommandIsAnsweredWithData(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true})
		a := m.want(m.do(logical.UpdateOperation, "callback", fields{"state": l.Get("state"), "code": codeOne}), 200)
		m.wantData(a, fields{"account": "acme", "spare": "none", "expire_time": "2000-01-01T00:10:00Z"})
		next := m.loginOf(a)
		a = m.want(m.do(logical.UpdateOperation, "callback", fields{"state": next.Get("state"), "code": codeTwo}), 200)
		m.wantData(a, fields{"account": "acme", "spare": "ready"})
		m.want(m.do(logical.UpdateOperation, "callback", fields{"state": next.Get("state"), "code": codeTwo}), 400, "not known here any more")
		m.wantPosts(2)
	})
}

func TestLoginGetsASpareInTheSameVisit(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true, "prompt": "login"})
		page := m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne}), 200, `http-equiv="refresh"`, "acme is connected").page
		_, text, _ := strings.Cut(page, `content="0; url=`)
		text, _, _ = strings.Cut(text, `"`)
		u, err := url.Parse(strings.ReplaceAll(text, "&amp;", "&"))
		if err != nil {
			t.Fatal(err)
		}
		next := u.Query()
		if next.Get("prompt") != "" || next.Get("state") == l.Get("state") || next.Get("code_challenge") == l.Get("code_challenge") {
			t.Errorf("the second login is %v", next)
		}
		m.wantPage(m.visit(fields{"state": next.Get("state"), "code": codeTwo}), 200, "with a spare grant")
		m.wantData(m.read("accounts/acme"), fields{"spare": "ready"})
		m.pagero.take()
		m.pagero.set(func(p post) oauth.Result {
			if strings.HasPrefix(p.token, codeOne) {
				return isDead(p)
			}
			return m.pagero.grant(p)
		})
		m.want(m.write("refresh/acme", nil), 200)
		m.wantPosts(2)
		m.wantData(m.read("accounts/acme"), fields{"spare": "used"})
	})
}

// refusedVisits are callbacks that must change nothing. Each gets the state of
// a login of acme.
var refusedVisits = []struct {
	name   string
	visit  func(state string) fields
	status int
	page   string
	posts  int
}{
	{"forged state", func(string) fields { return fields{"state": "forged", "code": codeOne} }, 400, "not known here any more", 0},
	{"no state", func(string) fields { return fields{"code": codeOne} }, 400, "not known here any more", 0},
	{"half a state", func(s string) fields { return fields{"state": s[:len(s)/2], "code": codeOne} }, 400, "not known here any more", 0},
	{"state with something behind it", func(s string) fields { return fields{"state": s + "x", "code": codeOne} }, 400, "not known here any more", 0},
	{"no code", func(s string) fields { return fields{"state": s, "iss": issuer} }, 400, "no code", 0},
	{"wrong issuer", func(s string) fields { return fields{"state": s, "code": codeOne, "iss": "https://evil.example.com"} }, 400, "issuer", 0},
	{"no issuer", func(s string) fields { return fields{"state": s, "code": codeOne} }, 400, "issuer", 0},
	{"cancelled", func(s string) fields { return fields{"state": s, "iss": issuer, "error": "access_denied"} }, 400, "the login was cancelled", 0},
	{"cancelled by another issuer", func(s string) fields { return fields{"state": s, "iss": "x", "error": "access_denied"} }, 400, "issuer", 0},
	{"unknown error", func(s string) fields {
		return fields{"state": s, "iss": issuer, "error": "<script>alert(1)</script>", "error_description": "<img src=x onerror=alert(1)>"}
	}, 400, "unregistered_error_code", 0},
	{"code that the server refuses", func(s string) fields {
		return fields{"state": s, "code": "code-" + canary + "-acme-wrong", "iss": issuer}
	}, 400, "refused the code", 1},
}

func TestCallbacksThatAreRefusedChangeNothing(t *testing.T) {
	t.Parallel()
	for _, test := range refusedVisits {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.enrol()
				m.withLogins()
				m.want(m.write("clients/default", fields{"issuer": issuer}), 204)
				m.want(m.read("token/acme"), 200)
				m.pagero.take()
				before := m.stored("account/acme")
				m.pagero.set(func(p post) oauth.Result {
					if strings.HasSuffix(p.token, "-wrong") {
						return isDead(p)
					}
					return m.pagero.grant(p)
				})
				l := m.authorizeAccount(nil)
				page := m.wantPage(m.visit(test.visit(l.Get("state"))), test.status, test.page, "new link").page
				if strings.Contains(page, "<img") || strings.Contains(page, "alert(1)") {
					t.Errorf("what came from outside is on the page:\n%s", page)
				}
				m.wantPosts(test.posts)
				if m.stored("account/acme") != before {
					t.Errorf("the account has changed to %s", m.stored("account/acme"))
				}
			})
		})
	}
}

func TestStateWorksOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(nil)
		data := fields{"state": l.Get("state"), "code": codeOne}
		m.wantPage(m.visit(data), 200)
		m.wantPage(m.visit(data), 400, "not known here any more", "all is well") // browsers load pages again
		m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeTwo}), 400, "not known here any more")
		m.wantPosts(1)
	})
}

func TestStateWorksOnceWhereTheLoginFailed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		m.pagero.set(isSilent)
		l := m.authorizeAccount(nil)
		data := fields{"state": l.Get("state"), "code": codeOne}
		m.wantPage(m.visit(data), 503, "does not work at the moment")
		m.pagero.set(nil)
		m.wantPage(m.visit(data), 400, "not known here any more")
		m.wantPosts(1)
		m.want(m.read("accounts/acme"), 404)
	})
}

func TestTwoBrowsersWithOneStateGetOneGrant(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(nil)
		m.pagero.answersAfter(time.Second)
		statuses := make([]int, 20)
		var browsers sync.WaitGroup
		for i := range statuses {
			browsers.Go(func() {
				statuses[i] = m.visit(fields{"state": l.Get("state"), "code": fmt.Sprintf("code-%s-acme-%d", canary, i)}).status
			})
		}
		browsers.Wait()
		slices.Sort(statuses)
		if statuses[0] != 200 || statuses[1] != 400 {
			t.Errorf("the answers were %v", statuses)
		}
		m.wantPosts(1)
	})
}

func TestLoginExpires(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"ttl": "1h"})
		m.pass(time.Hour)
		m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne}), 400, "not known here any more")
		m.wantPosts(0)

		later := m.authorizeAccount(fields{"ttl": "24h"})
		if keys, err := m.storage.List(t.Context(), "login/"); err != nil || len(keys) != 2 {
			t.Fatalf("%q, %v", keys, err)
		}
		if err := m.periodic(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if keys, err := m.storage.List(t.Context(), "login/"); err != nil || len(keys) != 1 {
			t.Errorf("%q, %v: what has expired is removed, and nothing else", keys, err)
		}
		m.wantPage(m.visit(fields{"state": later.Get("state"), "code": codeOne}), 200)
	})
}

func TestTidyingIsRareAndEndsWithTheMount(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		kicks := func(n int) int {
			before := m.storage.count()
			for range n {
				if err := m.periodic(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				m.pass(minute)
			}
			return m.storage.count() - before
		}
		kicks(10) // the accounts are surveyed, once
		if n := kicks(100); n != 10 {
			t.Errorf("the storage was used %d times in 100 minutes", n)
		}
		m.stop()
		if n := kicks(20); n != 0 {
			t.Errorf("the storage was used %d times after the end", n)
		}
	})
}

func TestLoginOfAnAccountThatWasDeletedMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	for name, enrolled := range map[string]bool{"enrolled before": true, "not there before": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.withLogins()
				if enrolled {
					m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 204)
				}
				other := m.want(m.do(logical.UpdateOperation, "authorize/other", nil), 200)
				l := m.authorizeAccount(nil)
				m.want(m.delete("accounts/acme"), 204)
				m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne}), 400, "not known here any more")
				m.wantPosts(0)
				m.want(m.read("accounts/acme"), 404)
				// Another account's login goes on, and so does one that begins now.
				m.wantPage(m.visit(fields{"state": m.loginOf(other).Get("state"), "code": "code-" + canary + "-other"}), 200)
				m.wantPage(m.visit(fields{"state": m.authorizeAccount(nil).Get("state"), "code": codeOne}), 200)
				if keys, err := m.storage.List(t.Context(), "login/"); err != nil || len(keys) > 0 {
					t.Errorf("%q, %v", keys, err)
				}
			})
		})
	}
}

func TestSpareOfAnAccountThatWasDeletedMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true})
		next := m.loginOf(m.want(m.do(logical.UpdateOperation, "callback", fields{"state": l.Get("state"), "code": codeOne}), 200))
		m.want(m.delete("accounts/acme"), 204)
		m.wantPage(m.visit(fields{"state": next.Get("state"), "code": codeTwo}), 400, "not known here any more")
		m.want(m.read("accounts/acme"), 404)
	})
}

func TestSpareOfAnAccountWhoseClientWasChangedMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true})
		next := m.loginOf(m.want(m.do(logical.UpdateOperation, "callback", fields{"state": l.Get("state"), "code": codeOne}), 200))
		m.want(m.write("clients/other", minimalClient), 204)
		m.want(m.write("accounts/acme", fields{"client": "other", "refresh_token": firstToken}), 204)
		m.want(m.do(logical.UpdateOperation, "callback", fields{"state": next.Get("state"), "code": codeTwo}), 400,
			`account "acme"`, "is no spare for it", "spare=true to authorize/acme")
		m.wantPosts(1)
		m.wantData(m.read("accounts/acme"), fields{"client": "other", "spare": "none"})
	})
}

func TestLoginOfAClientThatWasDeletedMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(nil)
		m.want(m.delete("clients/default"), 204)
		callback := fields{"state": l.Get("state"), "code": codeOne}
		m.want(m.do(logical.UpdateOperation, "callback", callback), 404, `account "acme"`, `client "default"`, "clients/default", "authorize/acme")
		m.wantPosts(0)
		m.withLogins()
		m.want(m.do(logical.UpdateOperation, "callback", callback), 200) // the login was not used up
	})
}

// A stranger may send as many callbacks as he likes.
func TestStrangersLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.withLogins()
		l := m.authorizeAccount(nil)
		keys, err := logical.CollectKeys(t.Context(), m.storage)
		if err != nil {
			t.Fatal(err)
		}
		logged := len(m.log.String())
		for range 10_000 {
			m.want(m.visit(fields{"state": oauth.NewRandom().Reveal(), "code": codeOne}), 400)
		}
		after, err := logical.CollectKeys(t.Context(), m.storage)
		if err != nil || !slices.Equal(keys, after) {
			t.Errorf("the storage holds %q, %v", after, err)
		}
		if n := len(m.log.String()); n != logged {
			t.Errorf("the log grew by %d bytes", n-logged)
		}
		m.wantPosts(0)
		m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne}), 200)
	})
}

func TestNoSecretOfALoginGetsOut(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true})
		keys, err := m.storage.List(t.Context(), "login/")
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		entry := m.stored("login/" + keys[0])
		_, verifier, _ := strings.Cut(entry, `"code_verifier":"`)
		verifier, _, _ = strings.Cut(verifier, `"`)
		if len(verifier) != 43 || strings.Contains(entry, l.Get("state")) {
			t.Fatalf("the entry is %s", entry)
		}
		pages := []string{
			m.visit(fields{"state": l.Get("state"), "code": codeOne}).page,
			m.visit(fields{"state": l.Get("state"), "code": codeOne}).page,
			l.Encode(),
		}
		m.stop()
		for _, text := range append(pages, m.log.String(), m.sentEvents()) {
			if strings.Contains(text, verifier) || strings.Contains(text, canary) {
				t.Errorf("a secret is in\n%s", text)
			}
		}
	})
}

func TestCallbackFailsWithTheStorageAndSpendsNothing(t *testing.T) {
	t.Parallel()
	for _, f := range []fault{
		{verb: get, key: "login/"},
		{verb: get, key: "client/"},
		{verb: get, key: "account/"},
		{verb: get, key: "config"},
		{verb: remove, key: "login/"},
		{verb: remove, key: "login/", err: errReadOnlyText},
	} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, m *mount) {
				m.withLogins()
				l := m.authorizeAccount(nil)
				m.restart()
				m.storage.fail(f)
				data := fields{"state": l.Get("state"), "code": codeOne}
				if a := m.visit(data); f.err != nil {
					m.wantReadOnly(a)
				} else {
					m.wantPage(a, 500, "does not work at the moment")
				}
				m.wantPosts(0)
				m.storage.mend()
				m.wantPage(m.visit(data), 200)
				m.wantPosts(1)
			})
		})
	}
}
