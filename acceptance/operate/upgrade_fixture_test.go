package operate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// The versions of storageplugin: older and newer than the tested plugin.
const (
	olderVersion = "v0.0.1"
	newerVersion = "v9.9.9"
)

// The pending login in the folders of stored entries.
const (
	storedState    = "the state of a login that began before the upgrade"
	storedVerifier = "a-code-verifier-of-at-least-43-characters-as-RFC-7636-wants"
)

// buildStoragePlugin builds storageplugin as a version of the plugin.
func buildStoragePlugin(t *testing.T, version string) harness.Plugin {
	t.Helper()
	p, err := harness.BuildPlugin(t.Context(), t.TempDir(), harness.BuildOptions{
		Name: fixture.PluginName, Version: version, Module: "acceptance", Package: "./operate/storageplugin",
		LDFlags: []string{"-X main.version=" + version},
	})
	fixture.Must(t, err)
	p.Command = fixture.PluginName + "_" + version
	return p
}

// register installs a version of the plugin and registers it in the catalog.
func register(t *testing.T, cluster *harness.Cluster, p harness.Plugin) {
	t.Helper()
	fixture.Must(t, cluster.InstallPlugin(p.Path, p.Command))
	fixture.Must(t, cluster.Nodes[0].Register(t.Context(), p))
}

// upgrader runs the commands of docs/upgrading.md with the policy examples/policies/plugin-operator.hcl. It replaces only
// the versions, the mount and the plugin directory in them.
type upgrader struct {
	*fixture.Fixture
	token string
}

// newUpgrader returns an upgrader of the fixture's mount. It adds the binary of a version to the plugin directory.
func newUpgrader(f *fixture.Fixture, p harness.Plugin) upgrader {
	f.T.Helper()
	fixture.Must(f.T, f.Cluster.InstallPlugin(p.Path, fixture.PluginName+"_"+p.Version))
	rules := document.Read(f.T, "examples/policies/plugin-operator.hcl")
	return upgrader{f, f.WithPolicy(strings.ReplaceAll(rules, "sys/mounts/pagero", "sys/mounts/"+f.Mount)).Token}
}

// run runs the commands below a heading, and returns their output. It replaces v0.1.0 with the older version and v0.1.1
// with the newer one.
func (u upgrader) run(heading, older, newer string) string {
	u.T.Helper()
	out, err := u.tryRun(heading, older, newer)
	fixture.Must(u.T, err)
	return out
}

// tryRun is run with an error instead of a failure.
func (u upgrader) tryRun(heading, older, newer string) (string, error) {
	script := document.CommandsBelow(document.Read(u.T, "docs/upgrading.md"), "## "+heading)
	if script == "" {
		return "", fmt.Errorf("docs/upgrading.md has no commands below %s", heading)
	}
	script = strings.NewReplacer(
		"/etc/vault/plugins/", u.Cluster.PluginDir+"/", "v0.1.0", older, "v0.1.1", newer,
		" pagero/\n", " "+u.Mount+"/\n", "sys/mounts/pagero\n", "sys/mounts/"+u.Mount+"\n",
	).Replace(script)
	result, err := u.Node.Shell(u.Ctx, u.token, "", script)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("%s: exit code %d\n%s%s%s", heading, result.Code, script, result.Stdout, result.Stderr)
	}
	return result.Stdout, err
}

// storedEntries reads the folder of a stored version and fills in what a server of today needs. It adds the golden files of
// the unit tests, in which every field is set.
func storedEntries(f *fixture.Fixture, version string) map[string]string {
	f.T.Helper()
	now := time.Now().UTC()
	functions := template.FuncMap{
		"refresh_token": func(user string) (string, error) {
			return f.Sandbox.Login(f.Ctx, sandbox.DefaultClientID, user)
		},
		"sha256": func(text string) string {
			sum := sha256.Sum256([]byte(text))
			return hex.EncodeToString(sum[:])
		},
		"client_id":     func() string { return sandbox.DefaultClientID },
		"client_secret": func() string { return sandbox.DefaultClientSecret },
		"token_url":     f.Sandbox.TokenURL, "authorize_url": f.Sandbox.AuthorizeURL, "revoke_url": f.Sandbox.RevokeURL,
		"callback_url": f.CallbackURL,
		"ca_cert":      func() string { return strings.ReplaceAll(string(f.Sandbox.CACertPEM()), "\n", `\n`) },
		"verifier":     func() string { return storedVerifier },
		"in_an_hour":   func() string { return now.Add(time.Hour).Format(time.RFC3339) },
	}
	entries := map[string]string{}
	root := os.DirFS(filepath.Join("testdata", "stored", version))
	fixture.Must(f.T, fs.WalkDir(root, ".", func(key string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains([]string{"README.md", "expected.json"}, key) {
			return err
		}
		content, err := fs.ReadFile(root, key)
		if err != nil {
			return err
		}
		text, err := template.New(key).Funcs(functions).Parse(string(content))
		if err != nil {
			return err
		}
		var value strings.Builder
		err = text.Execute(&value, nil)
		entries[key] = value.String()
		return err
	}))
	entries["account/golden"] = document.Read(f.T, "backend/internal/account/testdata/account-v"+version+".json")
	entries["client/other"] = document.Read(f.T, "backend/testdata/client-v"+version+".json")
	return entries
}

// wantRunning asserts that the last line of the output is the version.
func (u upgrader) wantRunning(output, version string) {
	u.T.Helper()
	if lines := strings.Fields(output); len(lines) == 0 || !strings.HasSuffix(strings.TrimSpace(output), "\n"+version) {
		u.T.Errorf("the commands do not end with %s:\n%s", version, output)
	}
}

// wantVersion asserts that the mount's plugin reports the version.
func (u upgrader) wantVersion(version string) {
	u.T.Helper()
	if got := u.Read("status").Text("version"); got != version {
		u.T.Errorf("status says %s, want %s", got, version)
	}
}
