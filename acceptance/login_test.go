package acceptance

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestALoginConnectsAnAccount(t *testing.T) {
	t.Parallel()
	for mode, pages := range map[string]int{"query": 2, "form_post": 3} {
		s := newLoginStage(t)
		address := s.authorize("acme", fields{"response_mode": mode})
		s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound) // not before it completes
		visit := s.visit(address)
		if len(visit) != pages {
			t.Fatalf("%s: %d pages, want %d", mode, len(visit), pages)
		}
		s.wantPage(visit[pages-1], http.StatusOK, "The account acme is connected.")
		s.wantAPIAccepts(s.accessToken("acme"))
		s.wantExchanges(0) // the login has brought an access token
		s.wantLogins(map[string]int{"ok": 1})
		s.wantAccount("acme", fields{"state": "ready", "spare": "none"})
		if n := s.pendingLogins(); n != 0 {
			t.Errorf("%s: %d logins are still stored", mode, n)
		}
	}
}

// Where the redirect URI is not Vault, whoever receives the browser hands on what it brings.
func TestALoginThroughTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	handOn := func(address, field string) harness.CLIResult {
		arguments := []string{"write", "-field=" + field, "MOUNT/callback"}
		for name, values := range s.logInUpToTheCallback(address) {
			arguments = append(arguments, name+"="+values[0])
		}
		result := s.vault(arguments...)
		if again := s.vault(arguments...); again.Code == 0 || !strings.Contains(again.Stderr, "not known here any more") {
			t.Errorf("the callback worked twice: %s%s", again.Stdout, again.Stderr)
		}
		return result
	}
	first := handOn(s.vaultOK("write", "-field=authorization_url", "MOUNT/authorize/acme", "spare=true"), "authorization_url")
	s.wantAccount("acme", fields{"state": "ready", "spare": "none"})
	if second := handOn(first.Stdout, "spare"); second.Stdout != "ready" {
		t.Errorf("the spare is %q: %s", second.Stdout, second.Stderr)
	}
	s.wantAccount("acme", fields{"state": "ready", "spare": "ready"})
	s.wantAPIAccepts(s.accessToken("acme"))
}

// asFields are parameters of a URL as the members of a request's body.
func asFields(parameters url.Values) fields {
	body := fields{}
	for name := range parameters {
		body[name] = parameters.Get(name)
	}
	return body
}

func TestALoginSurvivesARestartAndASeal(t *testing.T) {
	t.Parallel()
	s := newLoginStageInOwnVault(t)
	address := s.authorize("acme", fields{"spare": true})
	must(t, s.node.Restart(s.ctx))
	must(t, s.node.Reload(s.ctx, s.mount+"/"))
	pages := s.visit(address)
	s.wantPage(pages[len(pages)-1], http.StatusOK, "with a spare grant")
	s.wantAPIAccepts(s.accessToken("acme"))
}

func TestALoginEndsWithItsTime(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.do(http.MethodPost, "authorize/acme", fields{"ttl": "25h"}).wantError(http.StatusBadRequest, "acme", "24h")
	begun := s.write("authorize/acme", fields{"ttl": "1s"})
	back := s.logInUpToTheCallback(begun.text("authorization_url"))
	expires := parseTime(t, begun.text("expire_time")).Add(time.Second) // it was cut to the second
	s.waitFor("the login to expire", func() bool { return time.Now().After(expires) })
	s.wantPage(s.comeBack(back), http.StatusBadRequest, "new link")
	s.wantLogins(map[string]int{})
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
}

func TestALoginThatIsCancelledChangesNothing(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("accounts/acme", fields{"refresh_token": s.login("bob")})
	for _, mode := range []string{"query", "form_post"} {
		s.wantUnchanged("acme", func() {
			v := s.visitor()
			v.Cancel = true
			pages, err := v.Visit(s.ctx, s.authorize("acme", fields{"response_mode": mode}))
			must(t, err)
			s.wantPage(pages[len(pages)-1], http.StatusBadRequest, "cancelled")
		})
	}
	s.wantLogins(map[string]int{})
	s.wantAPIAccepts(s.accessToken("acme"))
	if n := s.pendingLogins(); n != 0 {
		t.Errorf("%d logins are still stored", n)
	}
}

func TestALoginChecksTheIssuer(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("clients/default", fields{"issuer": s.sandbox.URL()})
	pages := s.visit(s.authorize("acme", fields{"spare": true}))
	s.wantPage(pages[len(pages)-1], http.StatusOK, "with a spare grant")

	s.write("clients/default", fields{"issuer": "https://sso.pageroonline.com"})
	s.wantUnchanged("acme", func() {
		pages := s.visit(s.authorize("acme", nil))
		s.wantPage(pages[len(pages)-1], http.StatusBadRequest, "issuer")
		back := s.logInUpToTheCallback(s.authorize("acme", nil))
		back.Del("iss")
		s.wantPage(s.comeBack(back), http.StatusBadRequest, "issuer")
		back.Set("iss", s.sandbox.URL())
		s.write("clients/default", fields{"issuer": s.sandbox.URL() + "/"})
		s.wantPage(s.comeBack(back), http.StatusBadRequest, "issuer")
	})
	s.wantLogins(map[string]int{"ok": 2}) // a code is not sent on before its sender is known
}

func TestALoginOfAnAccountThatWasDeletedMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	first := s.logInUpToTheCallback(s.authorize("acme", fields{"spare": true}))
	a := s.write("callback", asFields(first))
	spare := s.logInUpToTheCallback(a.text("authorization_url"))
	again := s.logInUpToTheCallback(s.authorize("acme", nil))
	s.do(http.MethodDelete, "accounts/acme", nil).wantStatus(http.StatusNoContent)

	for _, back := range []url.Values{spare, again} {
		s.wantPage(s.comeBack(back), http.StatusBadRequest, "new link")
	}
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
	s.wantLogins(map[string]int{"ok": 1})
}

func TestBrowsersThatRaceOnOneStateGetOneGrant(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	back := s.logInUpToTheCallback(s.authorize("acme", nil))
	// The redemption takes a while, so that all come while it is in flight.
	_, err := s.sandbox.SetFault(sandbox.Fault{Count: 1, Delay: time.Second})
	must(t, err)
	var (
		browsers sync.WaitGroup
		pages    = make([]sandbox.Page, 20)
		errs     = make([]error, len(pages))
	)
	for i := range pages {
		browsers.Go(func() { pages[i], errs[i] = s.get(http.DefaultClient, s.callbackURL()+"?"+back.Encode()) })
	}
	browsers.Wait()
	connected := 0
	for i, page := range pages {
		must(t, errs[i])
		if page.Status == http.StatusOK {
			connected++
			continue
		}
		s.wantPage(page, http.StatusBadRequest, "new link")
	}
	if connected != 1 {
		t.Errorf("%d browsers were told that the account is connected", connected)
	}
	s.wantLogins(map[string]int{"ok": 1})
	s.wantAPIAccepts(s.accessToken("acme"))
}

func TestALoginIsLostWhereTheServerFailsAndSaysSo(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	fault, err := s.sandbox.SetFault(sandbox.Fault{Action: sandbox.ActionStatus, Status: http.StatusBadGateway})
	must(t, err)
	back := s.logInUpToTheCallback(s.authorize("acme", nil))
	s.wantPage(s.comeBack(back), http.StatusServiceUnavailable, "does not work at the moment", "begin the login again")
	fault.Clear()
	s.wantPage(s.comeBack(back), http.StatusBadRequest, "new link") // a code is sent once
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
	pages := s.visit(s.authorize("acme", nil))
	s.wantPage(pages[len(pages)-1], http.StatusOK, "connected")
}
