package acceptance

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// refreshTokens begin like this at the sandbox. No text may hold one that is not meant for Vault.
const refreshTokenPrefix = "_1XBPWQQ_"

// newLoginStage is newStage with a client that can log users in.
func newLoginStage(t *testing.T) *stage {
	t.Helper()
	s := newStageIn(t, shared, loginConfig())
	s.write("clients/default", s.loginClient())
	return s
}

// newLoginStageInOwnVault is newLoginStage in a Vault that no other test uses, for tests that take
// longer than others.
func newLoginStageInOwnVault(t *testing.T) *stage {
	t.Helper()
	s := newStageIn(t, newVault(t, 1), loginConfig())
	ctx, cancel := context.WithTimeout(t.Context(), 5*testTimeout)
	t.Cleanup(cancel)
	s.ctx = ctx
	s.write("clients/default", s.loginClient())
	return s
}

// loginConfig is a sandbox whose client may come back to the callback of the stage's mount. The port
// of a loopback address does not matter (RFC 8252, section 7.3).
func loginConfig() sandbox.Config {
	client := sandbox.DefaultClients()[0]
	client.RedirectURIs = []string{"http://127.0.0.1/v1/MOUNT/callback"}
	return sandbox.Config{Faults: true, Clients: []sandbox.Client{client}}
}

// loginClient returns the fields of a client that can log users in.
func (s *stage) loginClient() fields {
	client := s.client()
	client["redirect_uris"] = s.callbackURL()
	return client
}

// callbackURL is where the browser comes back to.
func (s *stage) callbackURL() string { return s.node.Address + "/v1/" + s.mount + "/callback" }

// authorize begins a login of an account and returns the authorization URL.
func (s *stage) authorize(account string, options fields) string {
	s.t.Helper()
	if options == nil {
		options = fields{}
	}
	return s.write("authorize/"+account, options).text("authorization_url")
}

// parameter returns a parameter of a URL.
func parameter(t *testing.T, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	return u.Query().Get(name)
}

// visitor is a person with a browser, but for what only a real browser shows.
func (s *stage) visitor() *sandbox.Visitor {
	v := &sandbox.Visitor{Client: s.sandbox.Client(), Username: sandbox.DefaultUsername, Password: sandbox.DefaultPassword}
	s.t.Cleanup(v.Client.CloseIdleConnections)
	return v
}

// visit opens an authorization URL, logs in, and returns the pages that came.
func (s *stage) visit(address string) []sandbox.Page {
	s.t.Helper()
	pages, err := s.visitor().Visit(s.ctx, address)
	must(s.t, err)
	return pages
}

// logInUpToTheCallback logs in and returns what the browser would bring to the callback, which does
// not get it.
func (s *stage) logInUpToTheCallback(address string) url.Values {
	s.t.Helper()
	v := s.visitor()
	v.Client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), s.node.Address) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	pages, err := v.Visit(s.ctx, address)
	must(s.t, err)
	back, err := url.Parse(pages[len(pages)-1].Header.Get("Location"))
	must(s.t, err)
	if back.Query().Get("code") == "" {
		s.t.Fatalf("the login ended with %s", pages[len(pages)-1].Body)
	}
	return back.Query()
}

// comeBack brings parameters to the callback as a browser does: in the query, without a Vault token.
func (s *stage) comeBack(parameters url.Values) sandbox.Page {
	s.t.Helper()
	page, err := s.get(http.DefaultClient, s.callbackURL()+"?"+parameters.Encode())
	must(s.t, err)
	return page
}

// postBack brings them as a browser does that posts a form.
func (s *stage) postBack(parameters url.Values) sandbox.Page {
	s.t.Helper()
	page, err := s.post(http.DefaultClient, s.callbackURL(), parameters)
	must(s.t, err)
	return page
}

// get sends a GET without a Vault token. It may be called by any goroutine.
func (s *stage) get(client *http.Client, address string) (sandbox.Page, error) {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return sandbox.Page{}, err
	}
	return send(client, request)
}

// post does so with a form.
func (s *stage) post(client *http.Client, address string, form url.Values) (sandbox.Page, error) {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return sandbox.Page{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(client, request)
}

func send(client *http.Client, request *http.Request) (sandbox.Page, error) {
	response, err := client.Do(request)
	if err != nil {
		return sandbox.Page{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return sandbox.Page{URL: request.URL, Status: response.StatusCode, Header: response.Header, Body: string(body)}, err
}

// wantPage asserts that it is a page of Vault's with this status and these texts on it, that nobody
// keeps it, and that it has no script.
func (s *stage) wantPage(page sandbox.Page, status int, parts ...string) {
	s.t.Helper()
	if page.Status != status || !strings.HasPrefix(page.URL.String(), s.callbackURL()) {
		s.t.Fatalf("status %d, want %d, at %s:\n%s", page.Status, status, page.URL, page.Body)
	}
	for name, want := range map[string]string{"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"} {
		if got := page.Header.Get(name); got != want {
			s.t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
	for _, part := range parts {
		if !strings.Contains(page.Text(), part) {
			s.t.Errorf("the page does not say %q:\n%s", part, page.Text())
		}
	}
	s.wantHarmless(page.Body)
}

// fromOutside matches what would run, or load something from elsewhere.
var fromOutside = regexp.MustCompile(`(?i)<(script|img|link|iframe|object|embed|form|svg|video)|\son[a-z]+=|javascript:|url\(|@import|src=`)

// wantHarmless asserts that a page of Vault's runs nothing, loads nothing and tells nothing.
func (s *stage) wantHarmless(html string) {
	s.t.Helper()
	if bad := fromOutside.FindString(html); bad != "" {
		s.t.Errorf("the page contains %q:\n%s", bad, html)
	}
	s.wantNoLoginSecretIn("the page", html)
}

// wantNoLoginSecretIn asserts that a text has no refresh token, code verifier, password or client
// secret in it.
func (s *stage) wantNoLoginSecretIn(what, text string) {
	s.t.Helper()
	for name, secret := range s.loginSecrets() {
		if strings.Contains(text, secret) {
			s.t.Errorf("%s contains the %s:\n%s", what, name, text)
		}
	}
}

// loginSecrets returns what the sandbox was sent and nobody else may see, by name, and what every
// refresh token begins with.
func (s *stage) loginSecrets() map[string]string {
	secrets := map[string]string{
		"beginning of a refresh token": refreshTokenPrefix,
		"client secret":                sandbox.DefaultClientSecret,
		"password":                     sandbox.DefaultPassword,
	}
	for _, request := range s.sandbox.Requests() {
		form, err := url.ParseQuery(string(request.Body))
		must(s.t, err)
		if verifier := form.Get("code_verifier"); verifier != "" {
			secrets["code verifier "+verifier[:4]] = verifier
		}
	}
	return secrets
}

// wantLogins asserts how many codes and passwords the server has been sent, by result.
func (s *stage) wantLogins(want map[string]int) {
	s.t.Helper()
	got := s.sandbox.Stats().Logins
	for result, n := range want {
		if got[result] != n {
			s.t.Errorf("the authorization server saw the logins %v, want %v", got, want)
			return
		}
	}
	if len(got) != len(want) {
		s.t.Errorf("the authorization server saw the logins %v, want %v", got, want)
	}
}

// wantAccount asserts fields of an account.
func (s *stage) wantAccount(name string, want fields) answer {
	s.t.Helper()
	a := s.read("accounts/" + name)
	for field, value := range want {
		if a.Data[field] != value {
			s.t.Errorf("%s of %s is %v, want %v", field, name, a.Data[field], value)
		}
	}
	return a
}

// wantUnchanged runs an attack and asserts that it changes nothing of an account: neither what a
// read of it says nor what is stored.
func (s *stage) wantUnchanged(account string, attack func()) {
	s.t.Helper()
	stored := func() string {
		text, err := s.node.StoredValue(s.ctx, s.mount, "account/"+account)
		must(s.t, err)
		return text
	}
	answer, entry := s.do(http.MethodGet, "accounts/"+account, nil), stored()
	attack()
	if after := s.do(http.MethodGet, "accounts/"+account, nil); after.status != answer.status ||
		canonical(s.t, after.Data) != canonical(s.t, answer.Data) || stored() != entry {
		s.t.Errorf("the account %s has changed from\n%v\nto\n%v", account, answer.Data, after.Data)
	}
}

// pendingLogins returns how many logins are stored.
func (s *stage) pendingLogins() int {
	s.t.Helper()
	keys, err := s.node.StoredKeys(s.ctx, s.mount, "login/")
	must(s.t, err)
	return len(keys)
}

// auditedCallbacks returns the requests to the mount's callback that are in the audit log.
func (s *stage) auditedCallbacks() []auditedRequest {
	s.t.Helper()
	content, err := os.ReadFile(s.node.AuditLog())
	must(s.t, err)
	var found []auditedRequest
	for line := range strings.Lines(string(content)) {
		var entry struct {
			Type    string         `json:"type"`
			Request auditedRequest `json:"request"`
		}
		must(s.t, json.Unmarshal([]byte(line), &entry))
		if entry.Type == "request" && entry.Request.Path == s.mount+"/callback" {
			found = append(found, entry.Request)
		}
	}
	return found
}

// auditedRequest is what the audit log says of a request.
type auditedRequest struct {
	Path      string         `json:"path"`
	Operation string         `json:"operation"`
	URI       string         `json:"request_uri"`
	Data      map[string]any `json:"data"`
}

// containsAny says whether a text has one of the parts in it.
func containsAny(text string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}
