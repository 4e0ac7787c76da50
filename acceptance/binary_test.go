package acceptance

import (
	"os"
	"strings"
	"testing"
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

func TestVaultHasTheVersionThatWasAskedFor(t *testing.T) {
	t.Parallel()
	version, err := shared.Nodes[0].Version(t.Context())
	must(t, err)
	t.Logf("the tests run on Vault %s", version)
	if want := strings.TrimPrefix(os.Getenv("VAULT_VERSION"), "v"); want != "" && version != want {
		t.Errorf("it is Vault %s, want %s", version, want)
	}
}
