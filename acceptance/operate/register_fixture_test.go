package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// nextVersion is the new version of the upgrades.
const nextVersion = "v0.9.2"

// builtNext builds the plugin of this repository as nextVersion, once.
var builtNext = sync.OnceValues(func() (harness.Plugin, error) { return fixture.BuildPlugin(context.Background(), nextVersion) })

// nextPlugin returns the plugin of this repository, built as nextVersion.
func nextPlugin(t *testing.T) harness.Plugin {
	t.Helper()
	plugin, err := builtNext()
	fixture.Must(t, err)
	return plugin
}

// newRelease creates the folder of a release: the binary, another file, and SHA256SUMS with the sums of both.
func newRelease(t *testing.T, binary string) string {
	t.Helper()
	dir := t.TempDir()
	content, err := os.ReadFile(binary)
	fixture.Must(t, err)
	fixture.Must(t, os.WriteFile(filepath.Join(dir, fixture.PluginName), content, 0o755))
	fixture.Must(t, os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("MPL-2.0\n"), 0o600))
	writeSums(t, dir)
	return dir
}

// writeSums writes the SHA256SUMS of a release.
func writeSums(t *testing.T, dir string) {
	t.Helper()
	sums := exec.CommandContext(t.Context(), "sha256sum", "LICENSE", fixture.PluginName)
	sums.Dir = dir
	list, err := sums.Output()
	fixture.Must(t, err)
	fixture.Must(t, os.WriteFile(filepath.Join(dir, "SHA256SUMS"), list, 0o600))
}

// newScriptRelease is newRelease with a shell script as the binary. The script claims to be the version.
func newScriptRelease(t *testing.T, version, rest string) string {
	t.Helper()
	script := "#!/bin/sh\n[ \"$1\" != --version ] || { echo " + fixture.PluginName + " " + version + "; exit 0; }\n" + rest + "\n"
	path := filepath.Join(t.TempDir(), "script")
	fixture.Must(t, os.WriteFile(path, []byte(script), 0o600))
	return newRelease(t, path)
}

// startingOnce returns a script for newScriptRelease. Vault starts a plugin once to register it, and again for the mount.
// The first start works. The second one runs then.
func startingOnce(t *testing.T, then string) string {
	t.Helper()
	return "if mkdir " + filepath.Join(t.TempDir(), "registered") + " 2>/dev/null; then exec " + nextPlugin(t).Path + ` "$@"; fi` + "\n" + then
}

// registration is a run of scripts/register.
type registration struct {
	t      *testing.T
	cmd    *exec.Cmd
	mu     sync.Mutex
	output bytes.Buffer // guarded by mu
	ended  chan error
}

// Write records the output of the script.
func (r *registration) Write(text []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.Write(text)
}

// said returns the output so far.
func (r *registration) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.String()
}

// beginRegister starts scripts/register with the Vault token of the registrar.
func (v *registrar) beginRegister(arguments ...string) *registration {
	v.t.Helper()
	root, err := harness.RepoRoot()
	fixture.Must(v.t, err)
	r := &registration{t: v.t, ended: make(chan error, 1)}
	script := filepath.Join(root, "scripts", "register")
	if v.into != "" {
		arguments = append([]string{"-c", `"$0" "$@" ` + v.into + `; exit "${PIPESTATUS[0]}"`, script}, arguments...)
		script = "bash"
	}
	r.cmd, err = v.node.Command(v.t.Context(), v.token, v.before, script, arguments...)
	fixture.Must(v.t, err)
	r.cmd.Env = append(r.cmd.Env, v.env...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	fixture.Must(v.t, r.cmd.Start())
	go func() { r.ended <- r.cmd.Wait() }()
	return r
}

// wantEnd waits until the script ends. It asserts the exit code and that the output contains the texts.
func (r *registration) wantEnd(code int, texts ...string) {
	r.t.Helper()
	err := <-r.ended
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		r.t.Fatalf("scripts/register ended with %d, want %d:\n%s", got, code, r.said())
	}
	for _, text := range texts {
		if !strings.Contains(r.said(), text) {
			r.t.Errorf("scripts/register did not say %q:\n%s", text, r.said())
		}
	}
}

// registrar is an operator who runs scripts/register.
type registrar struct {
	t      *testing.T
	node   *harness.Node
	dir    string   // the plugin directory
	token  string   // of Vault; empty if the operator is not logged in
	before []string // the first directories on the PATH
	env    []string // further variables
	into   string   // a redirection or a pipe for the output, in the syntax of bash
}

// newRegistrar returns a registrar with the policy from docs/operations.md, adapted to the mount.
func newRegistrar(t *testing.T, cluster *harness.Cluster, mount string) *registrar {
	t.Helper()
	token, err := cluster.Nodes[0].TokenFor(t.Context(), "registrar-"+mount, registrarPolicy(t, mount))
	fixture.Must(t, err)
	return &registrar{t: t, node: cluster.Nodes[0], dir: cluster.PluginDir, token: token}
}

// registrarPolicy returns the policy from docs/operations.md, adapted to the mount.
func registrarPolicy(t *testing.T, mount string) string {
	t.Helper()
	_, after, found := strings.Cut(document.Read(t, "docs/operations.md"), "# The policy of scripts/register\n")
	policy, _, ended := strings.Cut(after, "\n\n")
	if !found || !ended {
		t.Fatal("docs/operations.md has no policy of scripts/register")
	}
	return strings.NewReplacer("sys/mounts/pagero", "sys/mounts/"+mount, `"pagero/`, `"`+mount+"/").Replace(policy)
}

// register runs scripts/register until it ends.
func (v *registrar) register(code int, arguments []string, texts ...string) {
	v.t.Helper()
	v.beginRegister(arguments...).wantEnd(code, texts...)
}

// wantNothingChanged calls do. It asserts that, according to Vault's audit log, no request could have changed anything.
func (v *registrar) wantNothingChanged(do func()) {
	v.t.Helper()
	before, err := os.ReadFile(v.node.AuditLog())
	fixture.Must(v.t, err)
	do()
	_, err = v.node.Client().Sys().ListMountsWithContext(v.t.Context()) // the log must grow
	fixture.Must(v.t, err)
	after, err := os.ReadFile(v.node.AuditLog())
	fixture.Must(v.t, err)
	requests := 0
	decoder := json.NewDecoder(bytes.NewReader(after[len(before):]))
	for {
		var entry struct {
			Type    string `json:"type"`
			Request struct{ Operation, Path string }
		}
		if err := decoder.Decode(&entry); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			v.t.Fatal(err)
		}
		asks := entry.Request.Operation == "read" || entry.Request.Path == "sys/capabilities-self"
		if entry.Type == "request" && !asks {
			v.t.Errorf("there was a request: %s %s", entry.Request.Operation, entry.Request.Path)
		}
		requests++
	}
	if requests == 0 {
		v.t.Fatal("the audit log is not written")
	}
	v.t.Logf("%d entries of the audit log were checked", requests)
}

// mounted is what Vault says about a mount.
type mounted struct{ Type, Version, Running, SHA256 string }

// mounted returns what Vault says about a mount.
func (v *registrar) mounted(mount string) mounted {
	v.t.Helper()
	secret, err := v.node.Client().Logical().ReadWithContext(v.t.Context(), "sys/mounts/"+mount)
	fixture.Must(v.t, err)
	text := func(name string) string { return fmt.Sprint(secret.Data[name]) }
	return mounted{text("type"), text("plugin_version"), text("running_plugin_version"), text("running_sha256")}
}

// registered returns the SHA-256 sum of a version in the catalog, or "" if the version is not there.
func (v *registrar) registered(version string) string {
	v.t.Helper()
	secret, err := v.node.Client().Logical().ReadWithDataWithContext(v.t.Context(),
		"sys/plugins/catalog/secret/"+fixture.PluginName, map[string][]string{"version": {version}})
	fixture.Must(v.t, err)
	if secret == nil {
		return ""
	}
	return fmt.Sprint(secret.Data["sha256"])
}

// wantInstalled asserts how many binaries are in the plugin directory.
func (v *registrar) wantInstalled(want int) {
	v.t.Helper()
	files, err := os.ReadDir(v.dir)
	fixture.Must(v.t, err)
	if len(files) != want {
		v.t.Errorf("the plugin directory holds %v, want %d files", files, want)
	}
}

// deregister removes a version from the catalog.
func (v *registrar) deregister(version string) {
	v.t.Helper()
	fixture.Must(v.t, v.node.Client().Sys().DeregisterPluginWithContext(v.t.Context(),
		&api.DeregisterPluginInput{Name: fixture.PluginName, Type: api.PluginTypeSecrets, Version: version}))
}

// tune sets the version that a mount runs after its next reload.
func (v *registrar) tune(mount, version string) {
	v.t.Helper()
	fixture.Must(v.t, v.node.Client().Sys().TuneMountAllowNilWithContext(v.t.Context(), mount, api.TuneMountConfigInput{PluginVersion: &version}))
}
