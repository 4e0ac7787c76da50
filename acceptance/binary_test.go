package acceptance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

func TestThePluginBinaryPrintsItsVersion(t *testing.T) {
	t.Parallel()
	result, err := shared.Nodes[0].RunProgram(t.Context(), builtPlugin.Path, "--version")
	must(t, err)
	if result.Code != 0 || !strings.Contains(result.Stdout, pluginVersion) {
		t.Errorf("exit code %d: %q %q", result.Code, result.Stdout, result.Stderr)
	}
}

func TestThePluginBinaryRunByHandSaysHowToRegisterIt(t *testing.T) {
	t.Parallel()
	result, err := shared.Nodes[0].RunProgram(t.Context(), builtPlugin.Path)
	must(t, err)
	said := result.Stdout + result.Stderr
	for _, part := range []string{"plugin", "vault plugin register", "vault secrets enable", pluginName} {
		if !strings.Contains(said, part) {
			t.Errorf("it does not say %q: %s", part, said)
		}
	}
	if result.Code == 0 {
		t.Error("the exit code is 0 although nothing was served")
	}
}

// Whoever builds a release's commit gets the release's bytes, wherever he does it.
func TestBuildsOnTwoPathsAreTheSame(t *testing.T) {
	t.Parallel()
	const version, commit = "v1.2.3", "0123456789abcdef0123456789abcdef01234567"
	root, err := harness.RepoRoot()
	must(t, err)
	var binaries [2][]byte
	for i, path := range []string{"here", "some/where/else"} {
		dir := filepath.Join(t.TempDir(), path)
		for _, part := range []string{"backend", "cmd"} {
			must(t, os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(root, part))))
		}
		for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
			content, err := os.ReadFile(filepath.Join(root, file))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, file), content, 0o600))
		}
		build := exec.CommandContext(t.Context(), "make", "build", "VERSION="+version, "COMMIT="+commit)
		build.Dir = dir
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("make build: %v\n%s", err, output)
		}
		binary := filepath.Join(dir, "bin", pluginName)
		binaries[i], err = os.ReadFile(binary)
		must(t, err)
		if bytes.Contains(binaries[i], []byte(dir)) {
			t.Errorf("the binary tells that it was built in %s", dir)
		}
		result, err := shared.Nodes[0].RunProgram(t.Context(), binary, "--version")
		must(t, err)
		if want := pluginName + " " + version + " (commit " + commit + ", go"; !strings.HasPrefix(result.Stdout, want) {
			t.Errorf("it says %q, not %q", result.Stdout, want)
		}
	}
	if !bytes.Equal(binaries[0], binaries[1]) {
		t.Error("two builds of the same source differ")
	}
}

func TestVaultHasTheVersionThatWasAskedFor(t *testing.T) {
	t.Parallel()
	version, err := shared.Nodes[0].Version(t.Context())
	must(t, err)
	t.Logf("the tests run on Vault %s", version)
	if want := strings.TrimPrefix(os.Getenv("VAULT_VERSION"), "v"); want != "" && version != want {
		t.Errorf("it is Vault %s, want %s", version, want)
	}
}
