package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// canonical returns the data as text, for comparison.
func canonical(t *testing.T, data map[string]any) string {
	t.Helper()
	text, err := json.Marshal(data)
	must(t, err)
	return string(text)
}

// TestNoSecretIsLogged uses every path, in success and failure, and looks for every secret in
// Vault's log, which is at trace level and has the plugin's, and in the audit log.
func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	secrets := map[string]string{
		"first refresh token": s.first,
		"client secret":       "canary-client-secret",
		"wrong secret":        "canary-wrong-secret",
		"spare refresh token": s.login("carol"),
	}
	must(t, s.sandbox.SetClientSecret(sandbox.DefaultClientID, secrets["client secret"]))
	s.write("clients/default", fields{"client_secret": secrets["client secret"]})
	s.do(http.MethodPost, "accounts/acme", fields{"spare_refresh_token": secrets["spare refresh token"]})
	secrets["first access token"] = s.accessToken("acme")
	s.write("refresh/acme", nil)
	secrets["second access token"] = s.accessToken("acme")
	newest, err := s.sandbox.CurrentRefreshToken(s.first)
	must(t, err)
	secrets["newest refresh token"] = newest

	s.write("clients/wrong", s.client())
	s.write("clients/wrong", fields{"client_secret": secrets["wrong secret"]})
	s.write("accounts/wrong", fields{"client": "wrong", "refresh_token": s.login("bob")})
	s.do(http.MethodGet, "token/wrong", nil)
	s.do(http.MethodPost, "accounts/acme", fields{"refresh_token": secrets["first refresh token"], "unknown": 1})
	for _, body := range []string{
		`{"error":"server_error","error_description":"` + newest + `"}`, // echoes what it was sent
		`{"access_token":"` + newest,                                    // truncated JSON
	} {
		fault, err := s.sandbox.SetFault(sandbox.Fault{Count: 1, Action: sandbox.ActionStatus, Status: http.StatusInternalServerError, Body: body})
		must(t, err)
		s.do(http.MethodPost, "refresh/acme", nil)
		fault.Clear()
	}
	must(t, s.sandbox.RevokeGrant(s.first))
	s.do(http.MethodPost, "refresh/acme", nil)
	s.do(http.MethodGet, "token/acme", nil)
	must(t, s.node.Reload(s.ctx, s.mount+"/"))
	s.read("accounts/acme")

	s.wantNotLogged(secrets)
}

func TestTheLogSaysHowLongAnExchangeTook(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.write("clients/default", s.client())
	s.write("accounts/"+s.mount, fields{"refresh_token": s.login(sandbox.DefaultUsername)})
	s.accessToken(s.mount)
	said := regexp.MustCompile(`token refreshed: .*\bduration=[0-9.]+m?s\b`)
	s.waitFor("the line in Vault's log", func() bool {
		content, err := os.ReadFile(s.node.LogFile())
		must(t, err)
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, "account="+s.mount) && said.MatchString(line) {
				return true
			}
		}
		return false
	})
}

// wantNotLogged looks for secrets, named by what they are, in all that the nodes have logged.
func (s *stage) wantNotLogged(secrets map[string]string) {
	s.t.Helper()
	mentions := map[string]int{}
	for _, node := range s.cluster.Nodes {
		for name, file := range map[string]string{"log": node.LogFile(), "audit log": node.AuditLog()} {
			content, err := os.ReadFile(file)
			must(s.t, err)
			for what := range leaks(content, secrets) {
				s.t.Errorf("%s's %s contains the %s", node.Name, name, what)
			}
			mentions[name] += bytes.Count(content, []byte(s.mount))
		}
	}
	for name, count := range mentions {
		if count == 0 {
			s.t.Errorf("no %s mentions the mount: nothing was logged", name)
		}
	}
}

// leaks returns which of the secrets are in the text. The text is megabytes and the secrets are
// many, but begin alike: what they begin with is looked for once.
func leaks(text []byte, secrets map[string]string) map[string]bool {
	const start = 8
	alike := map[string]map[int]map[string]string{} // by the beginning, by length, by the secret
	for what, secret := range secrets {
		begin := secret[:start]
		if alike[begin] == nil {
			alike[begin] = map[int]map[string]string{}
		}
		if alike[begin][len(secret)] == nil {
			alike[begin][len(secret)] = map[string]string{}
		}
		alike[begin][len(secret)][secret] = what
	}
	found := map[string]bool{}
	for begin, byLength := range alike {
		for rest := text; ; rest = rest[1:] {
			at := bytes.Index(rest, []byte(begin))
			if at < 0 {
				break
			}
			rest = rest[at:]
			for length, bySecret := range byLength {
				if what, ok := bySecret[string(rest[:min(length, len(rest))])]; ok {
					found[what] = true
				}
			}
		}
	}
	return found
}

func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	secrets := map[string]string{"one": "prefix-one", "three": "prefix-three", "other": "another-secret"}
	found := leaks([]byte("prefix-prefix-on prefix-three, another-secret"), secrets)
	if !maps.Equal(found, map[string]bool{"three": true, "other": true}) {
		t.Errorf("found %v", found)
	}
	if found := leaks([]byte("prefix-one"), secrets); !maps.Equal(found, map[string]bool{"one": true}) {
		t.Errorf("found %v", found)
	}
}

// TestNoSecretOfALoginGetsOut does the same for logins, and looks at the pages, too.
func TestNoSecretOfALoginGetsOut(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	var answers, accessTokens []string
	note := func(pages ...sandbox.Page) {
		for _, page := range pages {
			if strings.HasPrefix(page.URL.String(), s.callbackURL()) {
				answers = append(answers, page.Body)
			}
		}
	}
	for mode, user := range map[string]string{"query": "alice", "form_post": "bob"} {
		note(s.visit(s.authorize(user, fields{"spare": true, "response_mode": mode}))...)
		accessTokens = append(accessTokens, s.accessToken(user))
	}
	back := s.logInUpToTheCallback(s.authorize("acme", nil))
	echo, err := s.sandbox.SetFault(sandbox.Fault{
		When: sandbox.FaultAfter, Count: 1, Action: sandbox.ActionBody, Status: http.StatusBadRequest,
		Body: `{"error":"{{refresh_token}}","error_description":"{{access_token}} {{refresh_token}}"}`,
	})
	must(t, err)
	note(s.comeBack(back), s.comeBack(back))
	if echo.Hits() != 1 {
		t.Error("the answer that has the tokens in the wrong place did not come")
	}
	broken, err := s.sandbox.SetFault(sandbox.Fault{When: sandbox.FaultAfter, Count: 1, Action: sandbox.ActionTruncate, Bytes: 60})
	must(t, err)
	note(s.comeBack(s.logInUpToTheCallback(s.authorize("acme", nil))))
	if broken.Hits() != 1 {
		t.Error("the answer that breaks off did not come")
	}
	kept := credentials()
	kept["keep_password"], kept["refresh_on_read"] = true, true
	s.write("accounts/acme", kept)
	s.sandbox.RevokeUser(sandbox.DefaultUsername)
	accessTokens = append(accessTokens, s.accessToken("acme")) // after a login by itself
	must(t, s.node.Reload(s.ctx, s.mount+"/"))
	answers = append(answers, string(s.read("accounts/acme").raw), string(s.do(http.MethodDelete, "accounts/bob", nil).raw))
	must(t, s.sandbox.Pause())
	answers = append(answers, string(s.do(http.MethodDelete, "accounts/acme", nil).raw))

	secrets := s.loginSecrets()
	if newest, err := s.sandbox.UserRefreshToken(sandbox.DefaultUsername); err != nil || !strings.HasPrefix(newest, refreshTokenPrefix) {
		t.Fatalf("refresh tokens begin with something else: %v", err)
	}
	if len(secrets) < 9 { // three, and a verifier for each of six codes
		t.Fatalf("there are too few secrets to look for: %d", len(secrets))
	}
	for i, token := range accessTokens {
		secrets[fmt.Sprintf("access token %d", i)] = token
	}
	if len(answers) < 8 {
		t.Fatalf("there are too few answers to look at: %d", len(answers))
	}
	for _, text := range answers {
		for what, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("an answer contains the %s:\n%s", what, text)
			}
		}
	}
	s.wantNotLogged(secrets)
}
