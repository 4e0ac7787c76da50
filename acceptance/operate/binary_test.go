package operate

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

func TestThePluginBinaryPrintsItsVersion(t *testing.T) {
	t.Parallel()
	result, err := fixture.SharedVault(t).Nodes[0].RunProgram(t.Context(), fixture.Plugin(t).Path, "--version")
	fixture.Must(t, err)
	if result.Code != 0 || !strings.Contains(result.Stdout, fixture.PluginVersion) {
		t.Errorf("exit code %d: %q %q", result.Code, result.Stdout, result.Stderr)
	}
}

func TestThePluginBinaryRunByHandSaysHowToRegisterIt(t *testing.T) {
	t.Parallel()
	result, err := fixture.SharedVault(t).Nodes[0].RunProgram(t.Context(), fixture.Plugin(t).Path)
	fixture.Must(t, err)
	said := result.Stdout + result.Stderr
	for _, part := range []string{"plugin", "vault plugin register", "vault secrets enable", fixture.PluginName} {
		if !strings.Contains(said, part) {
			t.Errorf("it does not say %q: %s", part, said)
		}
	}
	if result.Code == 0 {
		t.Error("the exit code is 0 although the plugin served nothing")
	}
}

// A build of a release's commit gives the same bytes as the release, in any directory.
func TestBuildsOnTwoPathsAreTheSame(t *testing.T) {
	t.Parallel()
	const version, commit = "v1.2.3", "0123456789abcdef0123456789abcdef01234567"
	root, err := harness.RepoRoot()
	fixture.Must(t, err)
	var binaries [2][]byte
	for i, path := range []string{"here", "some/where/else"} {
		dir := filepath.Join(t.TempDir(), path)
		for _, part := range []string{"backend", "cmd"} {
			fixture.Must(t, os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(root, part))))
		}
		for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
			content, err := os.ReadFile(filepath.Join(root, file))
			fixture.Must(t, err)
			fixture.Must(t, os.WriteFile(filepath.Join(dir, file), content, 0o600))
		}
		build := exec.CommandContext(t.Context(), "make", "build", "VERSION="+version, "COMMIT="+commit)
		build.Dir = dir
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("make build: %v\n%s", err, output)
		}
		binary := filepath.Join(dir, "bin", fixture.PluginName)
		binaries[i], err = os.ReadFile(binary)
		fixture.Must(t, err)
		if bytes.Contains(binaries[i], []byte(dir)) {
			t.Errorf("the binary contains the directory of its build, %s", dir)
		}
		result, err := fixture.SharedVault(t).Nodes[0].RunProgram(t.Context(), binary, "--version")
		fixture.Must(t, err)
		if want := fixture.PluginName + " " + version + " (commit " + commit + ", go"; !strings.HasPrefix(result.Stdout, want) {
			t.Errorf("it says %q, not %q", result.Stdout, want)
		}
	}
	if !bytes.Equal(binaries[0], binaries[1]) {
		t.Error("two builds of the same source differ")
	}
}

func TestVaultHasTheVersionThatWasAskedFor(t *testing.T) {
	t.Parallel()
	version, err := fixture.SharedVault(t).Nodes[0].Version(t.Context())
	fixture.Must(t, err)
	t.Logf("the tests run on Vault %s", version)
	if want := strings.TrimPrefix(os.Getenv("VAULT_VERSION"), "v"); want != "" && version != want {
		t.Errorf("it is Vault %s, want %s", version, want)
	}
}

func TestVaultKnowsTheRunningVersion(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.AccessToken("acme")
	var listed struct {
		Data map[string]struct {
			Type           string `json:"type"`
			RunningVersion string `json:"running_plugin_version"`
			RunningSHA256  string `json:"running_sha256"`
		} `json:"data"`
	}
	root := *f
	root.Mount = "sys" // for a request to sys/mounts
	a := root.Do(http.MethodGet, "mounts", nil)
	a.WantStatus(http.StatusOK)
	fixture.Must(t, json.Unmarshal(a.Raw, &listed))
	mount := listed.Data[f.Mount+"/"]
	if mount.Type != fixture.PluginName || mount.RunningVersion != fixture.PluginVersion || mount.RunningSHA256 != fixture.Plugin(t).SHA256 {
		t.Errorf("the mount is %+v", mount)
	}
	info := f.CLIOutput("plugin", "info", "-version="+fixture.PluginVersion, "secret", fixture.PluginName)
	for _, part := range []string{fixture.PluginVersion, fixture.Plugin(t).SHA256} {
		if !strings.Contains(info, part) {
			t.Errorf("vault plugin info does not mention %q:\n%s", part, info)
		}
	}
}
