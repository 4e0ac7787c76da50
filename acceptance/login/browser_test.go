package login

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// The titles of the callback's pages.
const (
	titleConnected = "Connected"
	titleMoment    = "One moment"
	titleFailed    = "Not completed"
	titleEnded     = "This login has ended"
)

func TestABrowserLogsInAndTheTokenWorks(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	b := newBrowser(f)
	b.open(f.Authorize("acme", nil))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected, "The account acme is connected.", "close this page")
	b.picture("connected")
	f.WantAPIAccepts(f.AccessToken("acme"))
	f.WantExchanges(0)
	f.WantLogins(map[string]int{"ok": 1})
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "none"})
}

// The first page sends the browser to the server again. The user's session answers there, so the person logs in only once.
// Later the spare takes over from the revoked grant.
func TestABrowserGetsASpareInTheSameVisit(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	b := newBrowser(f)
	b.open(f.Authorize("acme", fixture.Fields{"spare": true}))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected, "The account acme is connected, with a spare grant.")
	b.picture("connected-with-spare")
	wantOneLoginForm(f)
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "ready"})

	f.Write("refresh/acme", nil)
	f.WantAPIAccepts(f.AccessToken("acme"))
	fixture.Must(t, f.Sandbox.RevokeGrant(lastPresented(f)))
	f.Write("refresh/acme", nil)
	f.WantAPIAccepts(f.AccessToken("acme"))
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "used"})
}

// If a browser does not follow the redirect of the intermediate page, the page has a link.
func TestTheIntermediatePageHasALink(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	b := newBrowser(f)
	b.open(f.Authorize("acme", fixture.Fields{"spare": true}))
	redemption, err := f.Sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionHold})
	fixture.Must(t, err)
	b.logIn("alice", sandbox.DefaultPassword)
	fixture.Must(t, redemption.Wait(f.Ctx, 1))
	// A browser stays on the page if the next one has no content.
	_, err = f.Sandbox.SetFault(sandbox.Fault{
		Endpoint: sandbox.EndpointAuthorize, Count: 1, Action: sandbox.ActionStatus, Status: http.StatusNoContent,
	})
	fixture.Must(t, err)
	redemption.Clear()
	b.wantPage(http.StatusOK, titleMoment, "The account acme is connected.", "once more", "Go on")
	b.picture("one-moment")
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "none"})
	b.click("main a")
	b.wantPage(http.StatusOK, titleConnected, "with a spare grant")
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "ready"})
}

// wantOneLoginForm asserts that exactly one login form was submitted.
func wantOneLoginForm(f *fixture.Fixture) {
	f.T.Helper()
	forms := 0
	for _, request := range f.Sandbox.RequestsTo(sandbox.EndpointAuthorize) {
		if request.Method == http.MethodPost {
			forms++
		}
	}
	if forms != 1 {
		f.T.Errorf("%d login forms were submitted", forms)
	}
}

// lastPresented returns the refresh token in the last request to the server.
func lastPresented(f *fixture.Fixture) string {
	f.T.Helper()
	requests := f.Sandbox.Requests()
	form, err := url.ParseQuery(string(requests[len(requests)-1].Body))
	fixture.Must(f.T, err)
	if form.Get("refresh_token") == "" {
		f.T.Fatalf("the last request was %v", form)
	}
	return form.Get("refresh_token")
}

func TestABrowserPostsTheAnswer(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	b := newBrowser(f)
	b.open(f.Authorize("acme", fixture.Fields{"response_mode": "form_post"}))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected, "The account acme is connected.")
	f.WantAPIAccepts(f.AccessToken("acme"))

	other := newBrowser(f)
	other.open(f.Authorize("other", fixture.Fields{"response_mode": "form_post", "spare": true}))
	other.logIn("bob", "bob-password")
	other.wantPage(http.StatusOK, titleConnected, "The account other is connected, with a spare grant.")
	f.WantAPIAccepts(f.AccessToken("other"))
	wantAccount(f, "other", fixture.Fields{"state": "ready", "spare": "ready"})
	f.WantLogins(map[string]int{"ok": 3})
}

func TestAPersonCancels(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("accounts/acme", fixture.Fields{"refresh_token": f.Login("bob")})
	f.WantUnchanged("acme", func() {
		b := newBrowser(f)
		b.open(f.Authorize("acme", fixture.Fields{"spare": true}))
		b.press("cancel")
		b.wantPage(http.StatusBadRequest, titleFailed, "cancelled", "new link")
		b.picture("cancelled")
	})
	f.WantLogins(map[string]int{})
	f.WantAPIAccepts(f.AccessToken("acme"))
}

func TestAPersonIsTooLate(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	b := newBrowser(f)
	begun := f.Write("authorize/acme", fixture.Fields{"ttl": "1s"})
	b.open(begun.Text("authorization_url"))
	expires := fixture.ParseTime(t, begun.Text("expire_time")).Add(time.Second) // the API cuts times to the second
	f.WaitFor("the login to expire", func() bool { return time.Now().After(expires) })
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusBadRequest, titleEnded, "took too long", "new link")
	b.picture("too-late")
	f.WantLogins(map[string]int{})
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
}

// Browsers load a page again by themselves, for example after a restart. That must do no harm and must not alarm the
// person.
func TestTheLastPageIsLoadedAgain(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	b := newBrowser(f)
	b.open(f.Authorize("acme", nil))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected)
	f.WantUnchanged("acme", func() {
		b.reload()
		b.wantPage(http.StatusBadRequest, titleEnded, "completed before", "all is well", "new link")
		b.picture("repeated")
		other := newBrowser(f)
		other.open(b.address())
		other.wantPage(http.StatusBadRequest, titleEnded, "completed before", "all is well", "new link")
	})
	f.WantLogins(map[string]int{"ok": 1})
	f.WantAPIAccepts(f.AccessToken("acme"))
}

func TestAPersonMistypesThePassword(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	b := newBrowser(f)
	b.open(f.Authorize("acme", nil))
	b.logIn("alice", "mistyped")
	fixture.Must(t, harness.Until(f.Ctx, "the login page to be shown again", func(context.Context) (bool, error) { return b.says("is wrong"), nil }))
	f.WantLogins(map[string]int{})
	b.fillIn("", sandbox.DefaultPassword) // the form still has the name
	b.press("login")
	b.wantPage(http.StatusOK, titleConnected)
	f.WantAPIAccepts(f.AccessToken("acme"))
}

func TestAnAnswerFromAnotherIssuerIsRefused(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("clients/default", fixture.Fields{"issuer": f.Sandbox.URL()})
	b := newBrowser(f)
	b.open(f.Authorize("acme", nil))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected)

	f.Write("clients/default", fixture.Fields{"issuer": "https://sso.pageroonline.com"})
	f.WantUnchanged("acme", func() {
		b.open(f.Authorize("acme", nil)) // the session answers
		b.wantPage(http.StatusBadRequest, titleFailed, "issuer", "new link")
		b.picture("another-issuer")
	})
	f.WantLogins(map[string]int{"ok": 1})
}

func TestAPersonLogsInWhileTheServerFails(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	_, err := f.Sandbox.SetFault(sandbox.Fault{Action: sandbox.ActionStatus, Status: http.StatusBadGateway})
	fixture.Must(t, err)
	b := newBrowser(f)
	b.open(f.Authorize("acme", nil))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusServiceUnavailable, titleFailed, "does not work at the moment", "new link")
	b.picture("server-fails")
}

// The first grant is saved. The page shows the problem with the spare to the administrator.
func TestTheAccountIsConnectedIfTheSpareCannotBegin(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("config", fixture.Fields{"allowed_hosts": fixture.AllowedHosts + ",localhost"})
	client := f.LoginClient()
	client["authorize_url"] = "https://localhost:" + portOf(t, f.Sandbox.URL()) + sandbox.PathAuthorize
	f.Write("clients/default", client)
	address := f.Authorize("a-customer-with-a-long-name@accounting.example.com", fixture.Fields{"spare": true})
	f.Write("config", fixture.Fields{"allowed_hosts": fixture.AllowedHosts})
	b := newBrowser(f)
	b.open(replaceHost(t, address, f.Sandbox.URL()))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected, "accounting.example.com is connected", "has to be looked at", "allowed_hosts")
	b.picture("connected-with-warning")
}

func TestTheAccountIsConnectedIfTheSpareFails(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	b := newBrowser(f)
	b.open(f.Authorize("acme", fixture.Fields{"spare": true}))
	first, err := f.Sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionHold})
	fixture.Must(t, err)
	_, err = f.Sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionStatus, Status: http.StatusBadGateway})
	fixture.Must(t, err)
	b.logIn("alice", sandbox.DefaultPassword)
	fixture.Must(t, first.Wait(f.Ctx, 1))
	first.Clear()
	b.wantPage(http.StatusServiceUnavailable, titleConnected, "The account acme is connected, but without a spare grant.", "502")
	b.picture("connected-without-spare")
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "none"})
	f.WantAPIAccepts(f.AccessToken("acme"))
}

// portOf returns the port of a URL.
func portOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	fixture.Must(t, err)
	return u.Port()
}

// replaceHost returns an address with the host of another one.
func replaceHost(t *testing.T, address, other string) string {
	t.Helper()
	u, err := url.Parse(address)
	fixture.Must(t, err)
	o, err := url.Parse(other)
	fixture.Must(t, err)
	u.Host = o.Host
	return u.String()
}
