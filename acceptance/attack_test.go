package acceptance

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// attackers is how many strangers come to the callback at once.
const attackers = 16

func TestAForgedStateIsRefused(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	back := s.logInUpToTheCallback(s.authorize("acme", nil))
	state := back.Get("state")
	for _, forged := range []string{
		"", "x", rand.Text(), state + "x", state[:len(state)-1], strings.ToLower(state), strings.ToUpper(state),
		state + "&", " " + state, state + "\x00", "form_post." + state, "../" + state, strings.Repeat("x", 100_000),
	} {
		parameters := url.Values{"state": {forged}, "code": back["code"], "iss": back["iss"]}
		page := s.comeBack(parameters)
		s.wantPage(page, http.StatusBadRequest, "new link")
		if len(forged) > 3 && strings.Contains(page.Body, forged) {
			t.Errorf("the forged state is on the page:\n%s", page.Body)
		}
		if strings.HasPrefix(forged, "form_post.") {
			s.wantPage(s.postBack(parameters), http.StatusBadRequest, "new link")
			continue
		}
		s.do(http.MethodPost, "callback", asFields(parameters)).wantError(http.StatusBadRequest, "not known here any more")
	}
	s.wantLogins(map[string]int{})
	s.wantPage(s.comeBack(back), http.StatusOK, "connected") // the real one still works
}

func TestAStateIsOfNoUseTwice(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	back := s.logInUpToTheCallback(s.authorize("acme", nil))
	s.wantPage(s.comeBack(back), http.StatusOK, "connected")
	another := s.logInUpToTheCallback(s.authorize("other", nil)) // a code that has not been used
	s.wantUnchanged("acme", func() {
		s.wantPage(s.comeBack(back), http.StatusBadRequest, "new link")
		s.wantPage(s.comeBack(url.Values{"state": back["state"], "code": another["code"], "iss": back["iss"]}), http.StatusBadRequest, "new link")
	})
	s.wantLogins(map[string]int{"ok": 1})
}

// Whoever puts the answer to his own login under the state of somebody else's would connect the
// other account to his user. The code belongs to the verifier of its own login (RFC 7636).
func TestACodeIsOfNoUseWithTheStateOfAnotherAccount(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("accounts/other", fields{"refresh_token": s.login("bob")})
	own := s.logInUpToTheCallback(s.authorize("acme", nil))
	foreign := parameter(t, s.authorize("other", nil), "state")
	s.wantUnchanged("other", func() {
		page := s.comeBack(url.Values{"state": {foreign}, "code": own["code"], "iss": own["iss"]})
		s.wantPage(page, http.StatusBadRequest, "refused the code")
	})
	s.wantLogins(map[string]int{"invalid_grant": 1})
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
	s.wantAPIAccepts(s.accessToken("other"))
}

func TestARedirectURIThatIsNotTheClientsIsRefused(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	for _, uri := range []string{
		"https://evil.example.com/v1/" + s.mount + "/callback",
		s.callbackURL() + "/../../../evil", s.callbackURL() + "?x=1", s.callbackURL() + "#x",
		s.callbackURL() + "@evil.example.com", strings.Replace(s.callbackURL(), "http:", "javascript:", 1),
		strings.ToUpper(s.callbackURL()),
	} {
		s.do(http.MethodPost, "authorize/acme", fields{"redirect_uri": uri}).wantError(http.StatusBadRequest, "redirect_uri", "default")
	}
	// Nor does anything that comes to the callback send a browser anywhere.
	back := s.logInUpToTheCallback(s.authorize("acme", fields{"redirect_uri": s.callbackURL()}))
	for _, name := range []string{"redirect_uri", "redirect_url", "next", "url", "authorization_url"} {
		back.Set(name, "https://evil.example.com/")
	}
	page := s.comeBack(back)
	s.wantPage(page, http.StatusOK, "connected")
	if page.Header.Get("Location") != "" || strings.Contains(page.Body, "evil.example.com") {
		t.Errorf("the page leads elsewhere: %v\n%s", page.Header, page.Body)
	}
}

func TestHTMLFromOutsideIsNotOnThePage(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	const hostile = `"><script>alert("canary")</script><img src=x onerror=alert(1)>`
	for _, name := range []string{"error", "error_description", "error_uri", "iss", "code", "state", "canary"} {
		parameters := url.Values{"state": {parameter(t, s.authorize("acme", nil), "state")}, "error": {"access_denied"}}
		if name == "code" {
			parameters.Del("error")
		}
		parameters.Set(name, hostile)
		page := s.comeBack(parameters)
		s.wantPage(page, http.StatusBadRequest, "For the administrator")
		if strings.Contains(page.Body, "canary") || strings.Contains(page.Body, "alert") {
			t.Errorf("%s is on the page:\n%s", name, page.Body)
		}
		parameters.Set("state", "form_post."+parameters.Get("state"))
		posted := s.postBack(parameters)
		s.wantPage(posted, http.StatusBadRequest, "new link")
		if strings.Contains(posted.Body, "canary") || strings.Contains(posted.Body, "alert") {
			t.Errorf("%s is on the page:\n%s", name, posted.Body)
		}
	}
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
}

// TestStrangersLeaveNothingBehind sends callbacks with states that were made up, as many as a
// stranger has patience for.
func TestStrangersLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	s := newLoginStageInOwnVault(t)
	back := s.logInUpToTheCallback(s.authorize("acme", nil))
	process := s.pluginProcess()
	memory := func() int64 {
		bytes, err := process.ResidentMemory(s.ctx)
		must(t, err)
		return bytes
	}
	s.sendMadeUpCallbacks(2000) // until the memory that any load takes is taken
	before := memory()

	s.sendMadeUpCallbacks(10_000)

	after := memory()
	t.Logf("resident memory: %d MiB before, %d MiB after 10,000 callbacks", before>>20, after>>20)
	if grown := after - before; grown > 16<<20 {
		t.Errorf("the plugin's memory has grown by %d MiB", grown>>20)
	}
	if n := s.pendingLogins(); n != 1 {
		t.Errorf("%d logins are stored, want the one that has begun", n)
	}
	s.wantLogins(map[string]int{})
	s.wantPage(s.comeBack(back), http.StatusOK, "connected")
	if n := s.pendingLogins(); n != 0 {
		t.Errorf("%d logins are stored", n)
	}
}

// sendMadeUpCallbacks sends n callbacks with random states.
func (s *stage) sendMadeUpCallbacks(n int) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: attackers}}
	defer client.CloseIdleConnections()
	var (
		group sync.WaitGroup
		queue = make(chan url.Values)
		errs  = make(chan error, attackers)
	)
	for range attackers {
		group.Go(func() {
			var failed error
			for parameters := range queue {
				if page, err := s.get(client, s.callbackURL()+"?"+parameters.Encode()); err != nil || page.Status != http.StatusBadRequest {
					failed = fmt.Errorf("a made-up state: status %d, %w", page.Status, err)
				}
			}
			errs <- failed
		})
	}
	for range n {
		queue <- url.Values{"state": {rand.Text() + rand.Text()}, "code": {rand.Text()}}
	}
	close(queue)
	group.Wait()
	for range attackers {
		must(s.t, <-errs)
	}
}

// Vault writes the address of a request to the audit log in clear text, and with it the code that a
// browser brings in the query. This shows that the code is of no use to a reader of the log.
func TestACodeFromTheAuditLogIsOfNoUse(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.wantPage(s.comeBack(s.logInUpToTheCallback(s.authorize("acme", nil))), http.StatusOK, "connected")
	callbacks := s.auditedCallbacks()
	if len(callbacks) != 1 {
		t.Fatalf("the audit log has %v", callbacks)
	}
	logged, err := url.Parse(callbacks[0].URI)
	must(t, err)
	back := logged.Query()
	if back.Get("code") == "" || back.Get("state") == "" {
		t.Fatalf("there is no code in %q; what the docs and this test say is not so any more", logged)
	}

	s.wantUnchanged("acme", func() {
		// Not at the callback: state and code have been used.
		s.wantPage(s.comeBack(back), http.StatusBadRequest, "new link")
		// Not at the server: it wants the client's secret, and the verifier.
		stolen := url.Values{
			"grant_type": {"authorization_code"}, "code": back["code"], "redirect_uri": {s.callbackURL()}, "client_id": {sandbox.DefaultClientID},
		}
		if a := s.askForTokens(stolen); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, "invalid_client") {
			t.Errorf("without the client's secret: status %d: %s", a.Status, a.Body)
		}
	})
	s.write("refresh/acme", nil)
	s.wantAPIAccepts(s.accessToken("acme"))
	// Even who has the secret, too, gets nothing.
	answer := s.askForTokens(url.Values{
		"grant_type": {"authorization_code"}, "code": back["code"], "redirect_uri": {s.callbackURL()},
		"client_id": {sandbox.DefaultClientID}, "client_secret": {sandbox.DefaultClientSecret},
	})
	if answer.Status != http.StatusBadRequest || !strings.Contains(answer.Body, "invalid_grant") {
		t.Errorf("with the client's secret: status %d: %s", answer.Status, answer.Body)
	}
}

func TestACodeThatIsPostedIsNotInTheAuditLog(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	pages := s.visit(s.authorize("acme", fields{"response_mode": "form_post"}))
	s.wantPage(pages[len(pages)-1], http.StatusOK, "connected")
	callbacks := s.auditedCallbacks()
	if len(callbacks) != 1 || callbacks[0].Operation != "update" {
		t.Fatalf("the audit log has %v", callbacks)
	}
	code, _ := callbacks[0].Data["code"].(string)
	if !strings.HasPrefix(code, "hmac-sha256:") || strings.Contains(callbacks[0].URI, "code=") {
		t.Errorf("the audit log has %v", callbacks[0])
	}
}

// A code that somebody gets hold of before Vault does takes the verifier, which only Vault has.
func TestACodeIsOfNoUseWithoutTheVerifier(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	back := s.logInUpToTheCallback(s.authorize("acme", nil))
	stolen := url.Values{
		"grant_type": {"authorization_code"}, "code": back["code"], "redirect_uri": {s.callbackURL()},
		"client_id": {sandbox.DefaultClientID}, "client_secret": {sandbox.DefaultClientSecret},
	}
	for _, verifier := range []string{"", strings.Repeat("guessed", 7)} {
		stolen.Set("code_verifier", verifier)
		if a := s.askForTokens(stolen); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "invalid_grant") {
			t.Errorf("with the verifier %q: status %d: %s", verifier, a.Status, a.Body)
		}
	}
}

// askForTokens sends a form to the token endpoint.
func (s *stage) askForTokens(form url.Values) sandbox.Page {
	s.t.Helper()
	client := s.sandbox.Client()
	defer client.CloseIdleConnections()
	answer, err := s.post(client, s.sandbox.TokenURL(), form)
	must(s.t, err)
	return answer
}
