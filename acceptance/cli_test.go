package acceptance

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// vault runs the vault command; MOUNT in the arguments stands for the mount's path.
func (s *stage) vault(arguments ...string) harness.CLIResult {
	s.t.Helper()
	for i := range arguments {
		arguments[i] = s.expand(arguments[i])
	}
	result, err := s.node.CLI(s.ctx, s.token, arguments...)
	must(s.t, err)
	return result
}

// vaultOK runs the vault command, which must succeed, and returns what it printed.
func (s *stage) vaultOK(arguments ...string) string {
	s.t.Helper()
	result := s.vault(arguments...)
	if result.Code != 0 {
		s.t.Fatalf("vault %q: exit code %d: %s%s", arguments, result.Code, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

func TestTheMainJobThroughTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.vaultOK("write", "MOUNT/clients/default", "client_id=sandbox-client", "client_secret=sandbox-secret",
		"token_url="+s.sandbox.TokenURL(), "ca_cert="+string(s.sandbox.CACertPEM()))
	s.vaultOK("write", "MOUNT/accounts/acme", "refresh_token="+s.login("alice"))

	token := s.vaultOK("read", "-field=access_token", "MOUNT/token/acme")
	s.wantAPIAccepts(token)

	var secret struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	must(t, json.Unmarshal([]byte(s.vaultOK("read", "-format=json", "MOUNT/token/acme")), &secret))
	for _, name := range []string{"ttl", "rotation_period"} {
		var number int64
		if err := json.Unmarshal(secret.Data[name], &number); err != nil {
			t.Errorf("%s is %s, not an integer: %v", name, secret.Data[name], err)
		}
	}
	s.wantExchanges(1)

	s.vaultOK("write", "-f", "MOUNT/refresh/acme")
	if next := s.vaultOK("read", "-field=access_token", "MOUNT/token/acme"); next == token {
		t.Error("the refresh brought no new token")
	}
	s.wantExchanges(2)
	if state := s.vaultOK("read", "-field=state", "MOUNT/accounts/acme"); state != "ready" {
		t.Errorf("the state is %q", state)
	}
	if list := s.vaultOK("list", "MOUNT/accounts"); !strings.Contains(list, "acme") {
		t.Errorf("the list is %q", list)
	}
}

func TestTheCommandLineShowsWhatWentWrong(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	for _, c := range []struct {
		arguments []string
		says      []string
	}{
		{[]string{"write", "MOUNT/accounts/acme", "nonsense=1"}, []string{"Code: 400", "nonsense"}},
		{[]string{"write", "MOUNT/clients/x", "client_id=i", "client_secret=s", "token_url=https://example.com/t"}, []string{"Code: 400", "allowed_hosts"}},
		{[]string{"write", "-f", "MOUNT/refresh/nobody"}, []string{"Code: 404", "nobody"}},
	} {
		result := s.vault(c.arguments...)
		if result.Code == 0 {
			t.Errorf("vault %q succeeded: %s", c.arguments, result.Stdout)
		}
		for _, part := range c.says {
			if !strings.Contains(result.Stderr, part) {
				t.Errorf("vault %q: %q does not contain %q", c.arguments, result.Stderr, part)
			}
		}
	}
	must(t, s.sandbox.RevokeGrant(s.first))
	result := s.vault("read", "MOUNT/token/acme")
	if result.Code == 0 || !strings.Contains(result.Stderr, "* reauthorization required: ") {
		t.Errorf("a dead token: exit code %d: %s", result.Code, result.Stderr)
	}
}

// Every path of the running plugin has a help text that explains every field.
func TestPathHelpReadsWell(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	d := s.openAPI("")
	paths := d.below("/" + s.mount + "/")
	if len(paths) < 11 {
		t.Fatalf("the mount has %d paths", len(paths))
	}
	for path, item := range paths {
		path = strings.ReplaceAll(path, "{name}", "acme")
		help := s.vaultOK("path-help", "MOUNT/"+path)
		parts := []string{"## DESCRIPTION", item.Description}
		for _, o := range item.operations() {
			for field, about := range d.inputs(o) {
				parts = append(parts, field+" (", about.Description)
			}
		}
		said := strings.Join(strings.Fields(help), " ") // without the line breaks
		for _, part := range parts {
			if part == "" || !strings.Contains(said, part) {
				t.Errorf("the help of %s does not mention %q:\n%s", path, part, help)
			}
		}
		for _, bad := range []string{"<no value>", "%!", "TODO", "No help", "\t\t\t"} {
			if strings.Contains(help, bad) {
				t.Errorf("the help of %s contains %q:\n%s", path, bad, help)
			}
		}
	}
	if help := s.vaultOK("path-help", "MOUNT"); !strings.Contains(help, "token/<account>") {
		t.Errorf("the help of the mount is\n%s", help)
	}
}

func TestVaultKnowsTheRunningVersion(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.accessToken("acme")
	var listed struct {
		Data map[string]struct {
			Type           string `json:"type"`
			RunningVersion string `json:"running_plugin_version"`
			RunningSHA256  string `json:"running_sha256"`
		} `json:"data"`
	}
	root := *s
	root.mount = "sys" // the request below is to sys/mounts
	a := root.do(http.MethodGet, "mounts", nil)
	a.wantStatus(http.StatusOK)
	must(t, json.Unmarshal(a.raw, &listed))
	mount := listed.Data[s.mount+"/"]
	if mount.Type != pluginName || mount.RunningVersion != pluginVersion || mount.RunningSHA256 != builtPlugin.SHA256 {
		t.Errorf("the mount is %+v", mount)
	}
	info := s.vaultOK("plugin", "info", "-version="+pluginVersion, "secret", pluginName)
	for _, part := range []string{pluginVersion, builtPlugin.SHA256} {
		if !strings.Contains(info, part) {
			t.Errorf("vault plugin info does not mention %q:\n%s", part, info)
		}
	}
}
