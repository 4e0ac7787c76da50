package security

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// attackers is how many strangers call the callback at once.
const attackers = 16

func TestAForgedStateIsRefused(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	back := f.LogInUpToCallback(f.Authorize("acme", nil))
	state := back.Get("state")
	for _, forged := range []string{
		"", "x", rand.Text(), state + "x", state[:len(state)-1], strings.ToLower(state), strings.ToUpper(state),
		state + "&", " " + state, state + "\x00", "form_post." + state, "../" + state, strings.Repeat("x", 100_000),
	} {
		parameters := url.Values{"state": {forged}, "code": back["code"], "iss": back["iss"]}
		page := f.GetCallback(parameters)
		f.WantPage(page, http.StatusBadRequest, "new link")
		if len(forged) > 3 && strings.Contains(page.Body, forged) {
			t.Errorf("the forged state is on the page:\n%s", page.Body)
		}
		if strings.HasPrefix(forged, "form_post.") {
			f.WantPage(postCallback(f, parameters), http.StatusBadRequest, "new link")
			continue
		}
		f.Do(http.MethodPost, "callback", fixture.FieldsOf(parameters)).WantError(http.StatusBadRequest, "not known here any more")
	}
	f.WantLogins(map[string]int{})
	f.WantPage(f.GetCallback(back), http.StatusOK, "connected") // the real state still works
}

func TestAStateWorksOnce(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	back := f.LogInUpToCallback(f.Authorize("acme", nil))
	f.WantPage(f.GetCallback(back), http.StatusOK, "connected")
	another := f.LogInUpToCallback(f.Authorize("other", nil)) // its code has not been used
	f.WantUnchanged("acme", func() {
		f.WantPage(f.GetCallback(back), http.StatusBadRequest, "new link")
		f.WantPage(f.GetCallback(url.Values{"state": back["state"], "code": another["code"], "iss": back["iss"]}), http.StatusBadRequest, "new link")
	})
	f.WantLogins(map[string]int{"ok": 1})
}

// An attacker who sends the code of their own login with the state of another login would connect the other account to
// their user. The server refuses, because the code belongs to the verifier of its own login (RFC 7636).
func TestACodeIsRefusedWithTheStateOfAnotherAccount(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("accounts/other", fixture.Fields{"refresh_token": f.Login("bob")})
	own := f.LogInUpToCallback(f.Authorize("acme", nil))
	foreign := parameter(t, f.Authorize("other", nil), "state")
	f.WantUnchanged("other", func() {
		page := f.GetCallback(url.Values{"state": {foreign}, "code": own["code"], "iss": own["iss"]})
		f.WantPage(page, http.StatusBadRequest, "refused the code")
	})
	f.WantLogins(map[string]int{"invalid_grant": 1})
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
	f.WantAPIAccepts(f.AccessToken("other"))
}

func TestARedirectURIThatIsNotTheClientsIsRefused(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	for _, uri := range []string{
		"https://evil.example.com/v1/" + f.Mount + "/callback",
		f.CallbackURL() + "/../../../evil", f.CallbackURL() + "?x=1", f.CallbackURL() + "#x",
		f.CallbackURL() + "@evil.example.com", strings.Replace(f.CallbackURL(), "http:", "javascript:", 1),
		strings.ToUpper(f.CallbackURL()),
	} {
		f.Do(http.MethodPost, "authorize/acme", fixture.Fields{"redirect_uri": uri}).WantError(http.StatusBadRequest, "redirect_uri", "default")
	}
	// No parameter of the callback redirects a browser.
	back := f.LogInUpToCallback(f.Authorize("acme", fixture.Fields{"redirect_uri": f.CallbackURL()}))
	for _, name := range []string{"redirect_uri", "redirect_url", "next", "url", "authorization_url"} {
		back.Set(name, "https://evil.example.com/")
	}
	page := f.GetCallback(back)
	f.WantPage(page, http.StatusOK, "connected")
	if page.Header.Get("Location") != "" || strings.Contains(page.Body, "evil.example.com") {
		t.Errorf("the page leads elsewhere: %v\n%s", page.Header, page.Body)
	}
}

func TestHTMLFromOutsideIsNotOnThePage(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	const hostile = `"><script>alert("canary")</script><img src=x onerror=alert(1)>`
	for _, name := range []string{"error", "error_description", "error_uri", "iss", "code", "state", "canary"} {
		parameters := url.Values{"state": {parameter(t, f.Authorize("acme", nil), "state")}, "error": {"access_denied"}}
		if name == "code" {
			parameters.Del("error")
		}
		parameters.Set(name, hostile)
		page := f.GetCallback(parameters)
		f.WantPage(page, http.StatusBadRequest, "For the administrator")
		if strings.Contains(page.Body, "canary") || strings.Contains(page.Body, "alert") {
			t.Errorf("%s is on the page:\n%s", name, page.Body)
		}
		parameters.Set("state", "form_post."+parameters.Get("state"))
		posted := postCallback(f, parameters)
		f.WantPage(posted, http.StatusBadRequest, "new link")
		if strings.Contains(posted.Body, "canary") || strings.Contains(posted.Body, "alert") {
			t.Errorf("%s is on the page:\n%s", name, posted.Body)
		}
	}
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
}

// TestStrangersLeaveNothingBehind sends thousands of callbacks with made-up states.
func TestStrangersLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLoginsInOwnVault(t)
	back := f.LogInUpToCallback(f.Authorize("acme", nil))
	process := f.PluginProcess()
	memory := func() int64 {
		bytes, err := process.ResidentMemory(f.Ctx)
		fixture.Must(t, err)
		return bytes
	}
	sendMadeUpCallbacks(f, 2000) // warm up, because any load takes some memory
	before := memory()

	sendMadeUpCallbacks(f, 10_000)

	after := memory()
	t.Logf("resident memory: %d MiB before, %d MiB after 10,000 callbacks", before>>20, after>>20)
	if grown := after - before; grown > 16<<20 {
		t.Errorf("the plugin's memory has grown by %d MiB", grown>>20)
	}
	if n := f.PendingLogins(); n != 1 {
		t.Errorf("%d logins are stored, want the one that is pending", n)
	}
	f.WantLogins(map[string]int{})
	f.WantPage(f.GetCallback(back), http.StatusOK, "connected")
	if n := f.PendingLogins(); n != 0 {
		t.Errorf("%d logins are stored", n)
	}
}

// sendMadeUpCallbacks sends n callbacks with random states.
func sendMadeUpCallbacks(f *fixture.Fixture, n int) {
	f.T.Helper()
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
				if page, err := f.Get(client, f.CallbackURL()+"?"+parameters.Encode()); err != nil || page.Status != http.StatusBadRequest {
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
		fixture.Must(f.T, <-errs)
	}
}

// Vault writes the address of a request to the audit log in clear text, including the code in the query of a callback. A
// reader of the log cannot use that code.
func TestACodeFromTheAuditLogIsUseless(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.WantPage(f.GetCallback(f.LogInUpToCallback(f.Authorize("acme", nil))), http.StatusOK, "connected")
	callbacks := auditedCallbacks(f)
	if len(callbacks) != 1 {
		t.Fatalf("the audit log has %v", callbacks)
	}
	logged, err := url.Parse(callbacks[0].URI)
	fixture.Must(t, err)
	back := logged.Query()
	if back.Get("code") == "" || back.Get("state") == "" {
		t.Fatalf("there is no code in %q, although the documents say so", logged)
	}

	f.WantUnchanged("acme", func() {
		// The callback refuses it: state and code have been used.
		f.WantPage(f.GetCallback(back), http.StatusBadRequest, "new link")
		// The server refuses it: it requires the client's secret and the verifier.
		stolen := url.Values{
			"grant_type": {"authorization_code"}, "code": back["code"], "redirect_uri": {f.CallbackURL()}, "client_id": {sandbox.DefaultClientID},
		}
		if a := askForTokens(f, stolen); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, "invalid_client") {
			t.Errorf("without the client's secret: status %d: %s", a.Status, a.Body)
		}
	})
	f.Write("refresh/acme", nil)
	f.WantAPIAccepts(f.AccessToken("acme"))
	// Even the client's secret does not help.
	answer := askForTokens(f, url.Values{
		"grant_type": {"authorization_code"}, "code": back["code"], "redirect_uri": {f.CallbackURL()},
		"client_id": {sandbox.DefaultClientID}, "client_secret": {sandbox.DefaultClientSecret},
	})
	if answer.Status != http.StatusBadRequest || !strings.Contains(answer.Body, "invalid_grant") {
		t.Errorf("with the client's secret: status %d: %s", answer.Status, answer.Body)
	}
}

func TestACodeThatIsPostedIsNotInTheAuditLog(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	pages := f.Visit(f.Authorize("acme", fixture.Fields{"response_mode": "form_post"}))
	f.WantPage(pages[len(pages)-1], http.StatusOK, "connected")
	callbacks := auditedCallbacks(f)
	if len(callbacks) != 1 || callbacks[0].Operation != "update" {
		t.Fatalf("the audit log has %v", callbacks)
	}
	code, _ := callbacks[0].Data["code"].(string)
	if !strings.HasPrefix(code, "hmac-sha256:") || strings.Contains(callbacks[0].URI, "code=") {
		t.Errorf("the audit log has %v", callbacks[0])
	}
}

// A thief who gets a code before Vault does also needs the verifier, which only Vault has.
func TestACodeIsUselessWithoutTheVerifier(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	back := f.LogInUpToCallback(f.Authorize("acme", nil))
	stolen := url.Values{
		"grant_type": {"authorization_code"}, "code": back["code"], "redirect_uri": {f.CallbackURL()},
		"client_id": {sandbox.DefaultClientID}, "client_secret": {sandbox.DefaultClientSecret},
	}
	for _, verifier := range []string{"", strings.Repeat("guessed", 7)} {
		stolen.Set("code_verifier", verifier)
		if a := askForTokens(f, stolen); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "invalid_grant") {
			t.Errorf("with the verifier %q: status %d: %s", verifier, a.Status, a.Body)
		}
	}
}

// askForTokens sends a form to the token endpoint.
func askForTokens(f *fixture.Fixture, form url.Values) sandbox.Page {
	f.T.Helper()
	client := f.Sandbox.Client()
	defer client.CloseIdleConnections()
	answer, err := f.Post(client, f.Sandbox.TokenURL(), form)
	fixture.Must(f.T, err)
	return answer
}

// parameter returns a parameter of a URL.
func parameter(t *testing.T, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	fixture.Must(t, err)
	return u.Query().Get(name)
}

// postCallback sends parameters to the callback as a browser does with response_mode form_post.
func postCallback(f *fixture.Fixture, parameters url.Values) sandbox.Page {
	f.T.Helper()
	page, err := f.Post(http.DefaultClient, f.CallbackURL(), parameters)
	fixture.Must(f.T, err)
	return page
}

// auditedCallbacks returns the requests to the mount's callback in the audit log.
func auditedCallbacks(f *fixture.Fixture) []auditedRequest {
	f.T.Helper()
	content, err := os.ReadFile(f.Node.AuditLog())
	fixture.Must(f.T, err)
	var found []auditedRequest
	for line := range strings.Lines(string(content)) {
		var entry struct {
			Type    string         `json:"type"`
			Request auditedRequest `json:"request"`
		}
		fixture.Must(f.T, json.Unmarshal([]byte(line), &entry))
		if entry.Type == "request" && entry.Request.Path == f.Mount+"/callback" {
			found = append(found, entry.Request)
		}
	}
	return found
}

// auditedRequest is a request in the audit log.
type auditedRequest struct {
	Path      string         `json:"path"`
	Operation string         `json:"operation"`
	URI       string         `json:"request_uri"`
	Data      map[string]any `json:"data"`
}
