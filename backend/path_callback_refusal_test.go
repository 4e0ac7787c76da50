package backend

import (
	"errors"
	"fmt"
	"html"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

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
	{"wrong issuer", func(s string) fields { return fields{"state": s, "code": codeOne, "iss": "https://evil.example.com"} }, 400, "does not come from the issuer", 0},
	{"no issuer", func(s string) fields { return fields{"state": s, "code": codeOne} }, 400, "names no issuer", 0},
	{"empty issuer", func(s string) fields { return fields{"state": s, "code": codeOne, "iss": ""} }, 400, "names no issuer", 0},
	{"cancelled without an issuer", func(s string) fields { return fields{"state": s, "error": "access_denied"} }, 400, "names no issuer", 0},
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

// Few servers send iss. An issuer that was written all the same must be emptied.
func TestLoginGoesOnOnceTheIssuerIsEmptied(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("clients/default", fields{"issuer": issuer}), 204)
		data := fields{"state": m.authorizeAccount(nil).Get("state"), "code": codeOne}
		m.want(m.do(logical.UpdateOperation, "callback", data), 400, `account "acme"`, "names no issuer (iss)", "a write of issuer= to clients/default")
		m.want(m.write("clients/default", fields{"issuer": ""}), 204)
		m.want(m.do(logical.UpdateOperation, "callback", data), 200)
	})
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
			`account "acme"`, "cannot be its spare", "spare=true to authorize/acme")
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

// A stranger may send any number of callbacks.
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
				m.storage.heal()
				m.wantPage(m.visit(data), 200)
				m.wantPosts(1)
			})
		})
	}
}

// The text of a storage error may name Vault's hosts and keys.
func TestStrangersAtTheCallbackLearnNothingOfTheStorage(t *testing.T) {
	t.Parallel()
	cause := errors.New(`Get "http://10.20.30.40:8500/v1/kv/vault/logical/login": dial tcp 10.20.30.40:8500: connection refused`)
	for _, f := range []fault{
		{verb: get, key: "login/"},
		{verb: get, key: "client/"},
		{verb: get, key: "account/"},
		{verb: get, key: "config"},
		{verb: remove, key: "login/"},
	} {
		f.err = cause
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.withLogins()
				known, form := m.authorizeAccount(nil).Get("state"), m.authorizeAccount(fields{"response_mode": "form_post"}).Get("state")
				m.restart()
				m.storage.fail(f)
				for _, state := range []string{known, form, "", "forged", formPostState + "forged"} {
					data := fields{"state": state, "code": codeOne}
					for _, a := range []answer{m.visit(data), m.do(logical.UpdateOperation, "callback", data)} {
						if a.status != 500 && a.status != 400 || f.key == "login/" && f.verb == get && a.status != 500 {
							t.Errorf("%s", a)
						}
						shown := a.text + a.page
						if strings.Contains(shown, "10.20.30.40") || strings.Contains(shown, "kv/vault") {
							t.Errorf("the answer shows the storage: %s", a)
						}
						if a.status == 500 && (!strings.Contains(html.UnescapeString(shown), "Vault's storage failed") || !strings.Contains(shown, "try again")) {
							t.Errorf("the answer does not say what to do: %s", a)
						}
					}
				}
				if !strings.Contains(m.log.String(), "10.20.30.40") {
					t.Error("the cause is not in the log")
				}
				m.wantPosts(0)
				m.storage.heal()
				m.wantPage(m.visit(fields{"state": known, "code": codeOne}), 200)
			})
		})
	}
}

func TestSpareLoginThatCannotBeginDoesNotShowTheStorage(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		l := m.authorizeAccount(fields{"spare": true})
		m.storage.fail(fault{verb: put, key: "login/", err: errors.New("dial tcp 10.20.30.40:8500")})
		page := m.wantPage(m.visit(fields{"state": l.Get("state"), "code": codeOne}), 200, "the login for the spare grant could not begin").page
		if strings.Contains(page, "10.20.30.40") || !strings.Contains(m.log.String(), "10.20.30.40") {
			t.Errorf("the cause is on the page, or not in the log:\n%s", page)
		}
	})
}

func TestCallbackParametersAreBounded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		state := m.authorizeAccount(nil).Get("state")
		operations, logged := m.storage.count(), len(m.log.String())
		for field, text := range map[string]string{
			"state": "not known here any more", "code": "code is longer than 4096 bytes", "iss": "iss is longer than 4096 bytes", "error": "error is longer than 4096 bytes",
		} {
			for _, length := range []int{4097, 1 << 20} {
				data := with(fields{"state": state, "code": codeOne}, fields{field: strings.Repeat("x", length)})
				m.wantPage(m.visit(data), 400, text, "new link")
				m.want(m.do(logical.UpdateOperation, "callback", data), 400, text)
			}
		}
		if n := m.storage.count() - operations; n != 0 || len(m.log.String()) != logged {
			t.Errorf("a long parameter caused %d storage operations, and the log %s", n, m.log.String()[logged:])
		}
		m.wantPosts(0)
		m.wantPage(m.visit(fields{"state": state, "code": codeOne + strings.Repeat("x", 4096-len(codeOne))}), 200)
	})
}
