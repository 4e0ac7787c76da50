// Package acceptance tests the built plugin in a real Vault process against the sandbox, through
// the HTTP API, the vault command and a browser. Without a Vault the tests fail. Those with a browser
// are skipped where no Chromium can be had, unless REQUIRE_BROWSER is set; so are those of the examples
// for Terraform (REQUIRE_TERRAFORM) and for Prometheus (REQUIRE_PROMTOOL) where the programs cannot be had.
package acceptance

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// pluginName is the name of the plugin's binary and in Vault's catalog.
const pluginName = "vault-plugin-pagero"

// pluginVersion is what the linker gives the plugin in these tests.
const pluginVersion = "v0.9.1-acceptance"

// What TestMain sets up. Tests that stop or seal Vault start a cluster of their own.
var (
	builtPlugin harness.Plugin
	shared      *harness.Cluster
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

// runTests builds the plugin, starts the Vault that the tests share, and runs them.
func runTests(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "pagero-plugin-")
	if err != nil {
		return report(err)
	}
	defer os.RemoveAll(dir)
	if builtPlugin, err = harness.PageroPlugin(ctx, dir, pluginVersion); err != nil {
		return report(err)
	}
	shared, err = harness.Start(ctx, harness.Options{Plugins: []harness.Plugin{builtPlugin}})
	if err != nil {
		return report(err)
	}
	if code := m.Run(); code != 0 {
		fmt.Fprintf(os.Stderr, "Vault's log and data are kept in %s\n%s", shared.Dir, shared.LogTail(30))
		if err := shared.CloseKeepingFiles(); err != nil {
			return report(err)
		}
		return code
	}
	if err := shared.Close(); err != nil {
		return report(err)
	}
	return 0
}

// report says what went wrong around the tests, and returns the exit code of that.
func report(err error) int {
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}

// program returns the path of a program that not every machine has. Where there is none, the test is skipped,
// and with it what is named, or fails where the variable says that there has to be one.
func program(t *testing.T, find func() (string, error), required, skipped string) string {
	t.Helper()
	path, err := find()
	switch {
	case err == nil:
		return path
	case os.Getenv(required) != "":
		t.Fatal(err)
	default:
		t.Skipf("SKIPPED, and %s with it: %v", skipped, err)
	}
	return ""
}
