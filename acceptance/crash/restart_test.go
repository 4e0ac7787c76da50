package crash

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

func TestAReloadOfThePluginKeepsEverything(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.WantKept(func(ctx context.Context) error {
		return f.Node.Reload(ctx, f.Mount+"/")
	})
}

func TestARestartAndASealOfVaultKeepEverything(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolledInOwnVault(t)
	f.WantKept(f.Node.Restart)
	f.WantKept(func(ctx context.Context) error {
		return errors.Join(f.Node.Seal(ctx), f.Node.Unseal(ctx))
	})
}

func TestAKilledPluginProcessIsReplacedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolledInOwnVault(t)
	f.WantKept(func(ctx context.Context) error {
		if err := f.PluginProcess().Kill(); err != nil {
			return err
		}
		// Vault notices at the next request, and repeats the request with a new process.
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return harness.Until(ctx, "the plugin to answer again", func(context.Context) (bool, error) {
			return f.Do(http.MethodGet, "config", nil).Status == http.StatusOK, nil
		})
	})
}

// The plugin begins to work when it is started. Vault's tick comes up to a minute later.
func TestThePluginScansItsAccountsAtItsStart(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolledInOwnVault(t)
	scanned := func(after string) {
		t.Helper()
		began := time.Now()
		f.WaitFor("the scan after "+after, func() bool {
			a := f.Do(http.MethodGet, "status", nil)
			return a.Status == http.StatusOK && a.Data["complete"] == true
		})
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("after %s the scan took %s", after, took)
		}
	}
	scanned("the mount")
	for what, restart := range map[string]func() error{
		"a reload":  func() error { return f.Node.Reload(f.Ctx, f.Mount+"/") },
		"a restart": func() error { return f.Node.Restart(f.Ctx) },
		"a kill":    func() error { return f.PluginProcess().Kill() },
	} {
		fixture.Must(t, restart())
		scanned(what)
	}
}
