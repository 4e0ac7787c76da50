package quickstart

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// runScript runs a script of scripts/ with a cache, and returns its output and exit code. Its PATH has only a few programs
// and those in the directory before.
func runScript(t *testing.T, script, cache, before string, env ...string) (string, int) {
	t.Helper()
	root, err := harness.RepoRoot()
	fixture.Must(t, err)
	bin := t.TempDir()
	for _, name := range []string{"awk", "bash", "cat", "chmod", "dirname", "id", "install", "mkdir", "mktemp", "mv", "rm", "sed", "tail", "go"} {
		path, err := exec.LookPath(name)
		fixture.Must(t, err)
		fixture.Must(t, os.Symlink(path, filepath.Join(bin, name)))
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bash"), filepath.Join(root, "scripts", script))
	cmd.Env = append([]string{"PATH=" + before + ":" + bin, "HOME=" + os.Getenv("HOME"), "XDG_CACHE_HOME=" + cache}, env...)
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(output), cmd.ProcessState.ExitCode()
}

// TestAFailedUnpackLeavesNothing has the unpacking of Prometheus' package fail after the program was written.
func TestAFailedUnpackLeavesNothing(t *testing.T) {
	t.Parallel()
	cache, system := t.TempDir(), t.TempDir()
	for name, script := range map[string]string{
		"apt-get": ": >prometheus_1.deb",
		"dpkg":    `mkdir -p "$3/usr/bin" && printf '#!/bin/sh\n' >"$3/usr/bin/promtool" && chmod +x "$3/usr/bin/promtool"; exit 2`,
	} {
		fixture.Must(t, os.WriteFile(filepath.Join(system, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	for range 2 {
		output, code := runScript(t, "get-prometheus", cache, system)
		if code != 1 || !strings.Contains(output, "apt-get download prometheus") || !strings.Contains(output, "install Prometheus, or set PROMTOOL_BIN") {
			t.Errorf("exit code %d:\n%s", code, output)
		}
	}
	left, err := os.ReadDir(filepath.Join(cache, "vault-plugin-pagero"))
	fixture.Must(t, err)
	if len(left) > 0 {
		t.Errorf("the cache holds %v", left)
	}
}

// TestAMissingVaultVersionIsNamed asks for a version that the module proxy does not have.
func TestAMissingVaultVersionIsNamed(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	output, code := runScript(t, "get-vault", cache, t.TempDir(), "VAULT_VERSION=9.9.9", "GOPROXY=off", "GOCACHE="+t.TempDir())
	if code != 1 || !strings.Contains(output, "there is no source of Vault 9.9.9: ") || !strings.Contains(output, "GOPROXY=off") {
		t.Errorf("exit code %d:\n%s", code, output)
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) > 0 {
		t.Errorf("the cache holds %v, %v", left, err)
	}
}
