package acceptance

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// Titles of the pages that a person can see.
const (
	titleConnected = "Connected"
	titleMoment    = "One moment"
	titleFailed    = "Not completed"
	titleEnded     = "This login has ended"
)

func TestABrowserLogsInAndTheTokenWorks(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	b := s.newBrowser()
	b.open(s.authorize("acme", nil))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected, "The account acme is connected.", "close this page")
	b.picture("connected")
	s.wantAPIAccepts(s.accessToken("acme"))
	s.wantExchanges(0)
	s.wantLogins(map[string]int{"ok": 1})
	s.wantAccount("acme", fields{"state": "ready", "spare": "none"})
}

// The first page sends the browser to the server once more, where the user's session answers: the
// person logs in once. The spare then does what it is for.
func TestABrowserGetsASpareInTheSameVisit(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	b := s.newBrowser()
	b.open(s.authorize("acme", fields{"spare": true}))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected, "The account acme is connected, with a spare grant.")
	b.picture("connected-with-spare")
	s.wantOneLoginForm()
	s.wantAccount("acme", fields{"state": "ready", "spare": "ready"})

	s.write("accounts/acme", fields{"refresh_on_read": true})
	s.wantAPIAccepts(s.accessToken("acme"))
	must(t, s.sandbox.RevokeGrant(s.lastPresented()))
	s.wantAPIAccepts(s.accessToken("acme"))
	s.wantAccount("acme", fields{"state": "ready", "spare": "used"})
}

// Where a browser does not go on by itself, the page in between has a link.
func TestThePageInBetweenHasAWayOn(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	b := s.newBrowser()
	b.open(s.authorize("acme", fields{"spare": true}))
	redemption, err := s.sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionHold})
	must(t, err)
	b.logIn("alice", sandbox.DefaultPassword)
	must(t, redemption.Wait(s.ctx, 1))
	// A browser stays where it is when there is no content elsewhere.
	_, err = s.sandbox.SetFault(sandbox.Fault{
		Endpoint: sandbox.EndpointAuthorize, Count: 1, Action: sandbox.ActionStatus, Status: http.StatusNoContent,
	})
	must(t, err)
	redemption.Clear()
	b.wantPage(http.StatusOK, titleMoment, "The account acme is connected.", "once more", "Go on")
	b.picture("one-moment")
	s.wantAccount("acme", fields{"state": "ready", "spare": "none"})
	b.click("main a")
	b.wantPage(http.StatusOK, titleConnected, "with a spare grant")
	s.wantAccount("acme", fields{"state": "ready", "spare": "ready"})
}

// wantOneLoginForm asserts that one login form was filled in, once.
func (s *stage) wantOneLoginForm() {
	s.t.Helper()
	forms := 0
	for _, request := range s.sandbox.RequestsTo(sandbox.EndpointAuthorize) {
		if request.Method == http.MethodPost {
			forms++
		}
	}
	if forms != 1 {
		s.t.Errorf("%d login forms were filled in", forms)
	}
}

// lastPresented returns the refresh token that came to the server last.
func (s *stage) lastPresented() string {
	s.t.Helper()
	requests := s.sandbox.Requests()
	form, err := url.ParseQuery(string(requests[len(requests)-1].Body))
	must(s.t, err)
	if form.Get("refresh_token") == "" {
		s.t.Fatalf("the last request was %v", form)
	}
	return form.Get("refresh_token")
}

func TestABrowserPostsTheAnswer(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	b := s.newBrowser()
	b.open(s.authorize("acme", fields{"response_mode": "form_post"}))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected, "The account acme is connected.")
	s.wantAPIAccepts(s.accessToken("acme"))

	other := s.newBrowser()
	other.open(s.authorize("other", fields{"response_mode": "form_post", "spare": true}))
	other.logIn("bob", "bob-password")
	other.wantPage(http.StatusOK, titleConnected, "The account other is connected, with a spare grant.")
	s.wantAPIAccepts(s.accessToken("other"))
	s.wantAccount("other", fields{"state": "ready", "spare": "ready"})
	s.wantLogins(map[string]int{"ok": 3})
}

func TestAPersonCancels(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("accounts/acme", fields{"refresh_token": s.login("bob")})
	s.wantUnchanged("acme", func() {
		b := s.newBrowser()
		b.open(s.authorize("acme", fields{"spare": true}))
		b.press("cancel")
		b.wantPage(http.StatusBadRequest, titleFailed, "cancelled", "new link")
		b.picture("cancelled")
	})
	s.wantLogins(map[string]int{})
	s.wantAPIAccepts(s.accessToken("acme"))
}

func TestAPersonComesTooLate(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	b := s.newBrowser()
	begun := s.write("authorize/acme", fields{"ttl": "1s"})
	b.open(begun.text("authorization_url"))
	expires := parseTime(t, begun.text("expire_time")).Add(time.Second) // it was cut to the second
	s.waitFor("the login to expire", func() bool { return time.Now().After(expires) })
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusBadRequest, titleEnded, "took too long", "new link")
	b.picture("too-late")
	s.wantLogins(map[string]int{})
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
}

// Browsers load a page again by themselves, such as after a restart: that must do no harm, and
// must not alarm who has logged in.
func TestTheLastPageIsLoadedAgain(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	b := s.newBrowser()
	b.open(s.authorize("acme", nil))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected)
	s.wantUnchanged("acme", func() {
		b.reload()
		b.wantPage(http.StatusBadRequest, titleEnded, "completed before", "all is well", "new link")
		b.picture("repeated")
		other := s.newBrowser()
		other.open(b.address())
		other.wantPage(http.StatusBadRequest, titleEnded, "completed before", "all is well", "new link")
	})
	s.wantLogins(map[string]int{"ok": 1})
	s.wantAPIAccepts(s.accessToken("acme"))
}

func TestAPersonMistypesThePassword(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	b := s.newBrowser()
	b.open(s.authorize("acme", nil))
	b.logIn("alice", "mistyped")
	must(t, harness.Until(s.ctx, "the login page to come again", func(context.Context) (bool, error) { return b.says("is wrong"), nil }))
	s.wantLogins(map[string]int{})
	b.fillIn("", sandbox.DefaultPassword) // the name is there already
	b.press("login")
	b.wantPage(http.StatusOK, titleConnected)
	s.wantAPIAccepts(s.accessToken("acme"))
}

func TestAPersonComesFromAnotherIssuer(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("clients/default", fields{"issuer": s.sandbox.URL()})
	b := s.newBrowser()
	b.open(s.authorize("acme", nil))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected)

	s.write("clients/default", fields{"issuer": "https://sso.pageroonline.com"})
	s.wantUnchanged("acme", func() {
		b.open(s.authorize("acme", nil)) // the session answers
		b.wantPage(http.StatusBadRequest, titleFailed, "issuer", "new link")
		b.picture("another-issuer")
	})
	s.wantLogins(map[string]int{"ok": 1})
}

func TestAPersonComesWhileTheServerFails(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	_, err := s.sandbox.SetFault(sandbox.Fault{Action: sandbox.ActionStatus, Status: http.StatusBadGateway})
	must(t, err)
	b := s.newBrowser()
	b.open(s.authorize("acme", nil))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusServiceUnavailable, titleFailed, "does not work at the moment", "new link")
	b.picture("server-fails")
}

// The first grant is there, and what goes wrong with the spare is for the administrator.
func TestAPersonIsConnectedThoughTheSpareCannotBegin(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("config", fields{"allowed_hosts": allowedHosts + ",localhost"})
	client := s.loginClient()
	client["authorize_url"] = "https://localhost:" + portOf(t, s.sandbox.URL()) + sandbox.PathAuthorize
	s.write("clients/default", client)
	address := s.authorize("a-customer-with-a-long-name@accounting.example.com", fields{"spare": true})
	s.write("config", fields{"allowed_hosts": allowedHosts})
	b := s.newBrowser()
	b.open(replaceHost(t, address, s.sandbox.URL()))
	b.logIn("alice", sandbox.DefaultPassword)
	b.wantPage(http.StatusOK, titleConnected, "accounting.example.com is connected", "has to be looked at", "allowed_hosts")
	b.picture("connected-with-warning")
}

func TestAPersonIsConnectedThoughTheSpareFails(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	b := s.newBrowser()
	b.open(s.authorize("acme", fields{"spare": true}))
	first, err := s.sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionHold})
	must(t, err)
	_, err = s.sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionStatus, Status: http.StatusBadGateway})
	must(t, err)
	b.logIn("alice", sandbox.DefaultPassword)
	must(t, first.Wait(s.ctx, 1))
	first.Clear()
	b.wantPage(http.StatusServiceUnavailable, titleConnected, "The account acme is connected, but without a spare grant.", "502")
	b.picture("connected-without-spare")
	s.wantAccount("acme", fields{"state": "ready", "spare": "none"})
	s.wantAPIAccepts(s.accessToken("acme"))
}

// portOf returns the port of a URL.
func portOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	return u.Port()
}

// replaceHost returns an address with the host of another.
func replaceHost(t *testing.T, address, other string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	o, err := url.Parse(other)
	must(t, err)
	u.Host = o.Host
	return u.String()
}
