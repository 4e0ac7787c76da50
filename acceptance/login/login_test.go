package login

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestALoginConnectsAnAccount(t *testing.T) {
	t.Parallel()
	for mode, pages := range map[string]int{"query": 2, "form_post": 3} {
		f := fixture.NewForLogins(t)
		address := f.Authorize("acme", fixture.Fields{"response_mode": mode})
		f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound) // not before it completes
		visit := f.Visit(address)
		if len(visit) != pages {
			t.Fatalf("%s: %d pages, want %d", mode, len(visit), pages)
		}
		f.WantPage(visit[pages-1], http.StatusOK, "The account acme is connected.")
		f.WantAPIAccepts(f.AccessToken("acme"))
		f.WantExchanges(0) // the login has already issued an access token
		f.WantLogins(map[string]int{"ok": 1})
		wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "none"})
		if n := f.PendingLogins(); n != 0 {
			t.Errorf("%s: %d logins are still stored", mode, n)
		}
	}
}

// If the redirect URI is not Vault's callback, an application receives the browser. It passes the parameters on to Vault.
func TestALoginThroughTheCommandLine(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	handOn := func(address, field string) harness.CLIResult {
		arguments := []string{"write", "-field=" + field, "MOUNT/callback"}
		for name, values := range f.LogInUpToCallback(address) {
			arguments = append(arguments, name+"="+values[0])
		}
		result := f.CLI(arguments...)
		if again := f.CLI(arguments...); again.Code == 0 || !strings.Contains(again.Stderr, "not known here any more") {
			t.Errorf("the callback worked twice: %s%s", again.Stdout, again.Stderr)
		}
		return result
	}
	first := handOn(f.CLIOutput("write", "-field=authorization_url", "MOUNT/authorize/acme", "spare=true"), "authorization_url")
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "none"})
	if second := handOn(first.Stdout, "spare"); second.Stdout != "ready" {
		t.Errorf("the spare is %q: %s", second.Stdout, second.Stderr)
	}
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "ready"})
	f.WantAPIAccepts(f.AccessToken("acme"))
}

func TestALoginSurvivesARestartAndASeal(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLoginsInOwnVault(t)
	address := f.Authorize("acme", fixture.Fields{"spare": true})
	fixture.Must(t, f.Node.Restart(f.Ctx))
	fixture.Must(t, f.Node.Reload(f.Ctx, f.Mount+"/"))
	pages := f.Visit(address)
	f.WantPage(pages[len(pages)-1], http.StatusOK, "with a spare grant")
	f.WantAPIAccepts(f.AccessToken("acme"))
}

func TestALoginEndsWithItsTime(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Do(http.MethodPost, "authorize/acme", fixture.Fields{"ttl": "25h"}).WantError(http.StatusBadRequest, "acme", "24h")
	begun := f.Write("authorize/acme", fixture.Fields{"ttl": "1s"})
	back := f.LogInUpToCallback(begun.Text("authorization_url"))
	expires := fixture.ParseTime(t, begun.Text("expire_time")).Add(time.Second) // the API cuts times to the second
	f.WaitFor("the login to expire", func() bool { return time.Now().After(expires) })
	f.WantPage(f.GetCallback(back), http.StatusBadRequest, "new link")
	f.WantLogins(map[string]int{})
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
}

func TestALoginThatIsCancelledChangesNothing(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("accounts/acme", fixture.Fields{"refresh_token": f.Login("bob")})
	for _, mode := range []string{"query", "form_post"} {
		f.WantUnchanged("acme", func() {
			v := f.Visitor()
			v.Cancel = true
			pages, err := v.Visit(f.Ctx, f.Authorize("acme", fixture.Fields{"response_mode": mode}))
			fixture.Must(t, err)
			f.WantPage(pages[len(pages)-1], http.StatusBadRequest, "cancelled")
		})
	}
	f.WantLogins(map[string]int{})
	f.WantAPIAccepts(f.AccessToken("acme"))
	if n := f.PendingLogins(); n != 0 {
		t.Errorf("%d logins are still stored", n)
	}
}

func TestALoginChecksTheIssuer(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("clients/default", fixture.Fields{"issuer": f.Sandbox.URL()})
	pages := f.Visit(f.Authorize("acme", fixture.Fields{"spare": true}))
	f.WantPage(pages[len(pages)-1], http.StatusOK, "with a spare grant")

	f.Write("clients/default", fixture.Fields{"issuer": "https://sso.pageroonline.com"})
	f.WantUnchanged("acme", func() {
		pages := f.Visit(f.Authorize("acme", nil))
		f.WantPage(pages[len(pages)-1], http.StatusBadRequest, "issuer")
		back := f.LogInUpToCallback(f.Authorize("acme", nil))
		back.Del("iss")
		f.WantPage(f.GetCallback(back), http.StatusBadRequest, "issuer")
		back.Set("iss", f.Sandbox.URL())
		f.Write("clients/default", fixture.Fields{"issuer": f.Sandbox.URL() + "/"})
		f.WantPage(f.GetCallback(back), http.StatusBadRequest, "issuer")
	})
	f.WantLogins(map[string]int{"ok": 2}) // a code is sent only after the issuer was checked
}

func TestALoginOfAnAccountThatWasDeletedMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	first := f.LogInUpToCallback(f.Authorize("acme", fixture.Fields{"spare": true}))
	a := f.Write("callback", fixture.FieldsOf(first))
	spare := f.LogInUpToCallback(a.Text("authorization_url"))
	again := f.LogInUpToCallback(f.Authorize("acme", nil))
	f.Do(http.MethodDelete, "accounts/acme", nil).WantStatus(http.StatusNoContent)

	for _, back := range []url.Values{spare, again} {
		f.WantPage(f.GetCallback(back), http.StatusBadRequest, "new link")
	}
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
	f.WantLogins(map[string]int{"ok": 1})
}

func TestBrowsersThatRaceOnOneStateGetOneGrant(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	back := f.LogInUpToCallback(f.Authorize("acme", nil))
	// The server holds the code long enough for all browsers to arrive meanwhile.
	_, err := f.Sandbox.SetFault(sandbox.Fault{Count: 1, Delay: time.Second})
	fixture.Must(t, err)
	var (
		browsers sync.WaitGroup
		pages    = make([]sandbox.Page, 20)
		errs     = make([]error, len(pages))
	)
	for i := range pages {
		browsers.Go(func() { pages[i], errs[i] = f.Get(http.DefaultClient, f.CallbackURL()+"?"+back.Encode()) })
	}
	browsers.Wait()
	connected := 0
	for i, page := range pages {
		fixture.Must(t, errs[i])
		if page.Status == http.StatusOK {
			connected++
			continue
		}
		f.WantPage(page, http.StatusBadRequest, "new link")
	}
	if connected != 1 {
		t.Errorf("%d browsers were told that the account is connected", connected)
	}
	f.WantLogins(map[string]int{"ok": 1})
	f.WantAPIAccepts(f.AccessToken("acme"))
}

func TestALoginThatTheServerFailsIsLostWithAMessage(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	fault, err := f.Sandbox.SetFault(sandbox.Fault{Action: sandbox.ActionStatus, Status: http.StatusBadGateway})
	fixture.Must(t, err)
	back := f.LogInUpToCallback(f.Authorize("acme", nil))
	f.WantPage(f.GetCallback(back), http.StatusServiceUnavailable, "does not work at the moment", "begin the login again")
	fault.Clear()
	f.WantPage(f.GetCallback(back), http.StatusBadRequest, "new link") // a code is sent only once
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
	pages := f.Visit(f.Authorize("acme", nil))
	f.WantPage(pages[len(pages)-1], http.StatusOK, "connected")
}

// wantAccount asserts fields of an account, and returns the answer to the read.
func wantAccount(f *fixture.Fixture, name string, want fixture.Fields) fixture.Answer {
	f.T.Helper()
	a := f.Read("accounts/" + name)
	for field, value := range want {
		if a.Data[field] != value {
			f.T.Errorf("%s of %s is %v, want %v", field, name, a.Data[field], value)
		}
	}
	return a
}
