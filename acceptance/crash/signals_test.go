package crash

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestSignalsReloadsAndSealsLoseNoRefreshToken does to Vault and to the plugin what operators and service managers do, each
// time in the middle of an exchange of every account. The cases run one after the other in a Vault of their own.
func TestSignalsReloadsAndSealsLoseNoRefreshToken(t *testing.T) {
	t.Parallel()
	cluster := fixture.NewVault(t, 1)
	node := cluster.Nodes[0]
	for _, c := range []struct {
		name string
		do   func(ctx context.Context, f *crashfixture.Fixture, plugin harness.Process) error
		// undisturbed is true if the readers of the exchange must get its token, and the plugin's process must go on.
		undisturbed bool
	}{
		{"SIGHUP to the process group", func(context.Context, *crashfixture.Fixture, harness.Process) error {
			return node.SignalGroup(syscall.SIGHUP)
		}, true},
		{"SIGHUP to the plugin", func(_ context.Context, _ *crashfixture.Fixture, plugin harness.Process) error {
			return plugin.Signal(syscall.SIGHUP)
		}, true},
		{"SIGTERM to the plugin", func(_ context.Context, _ *crashfixture.Fixture, plugin harness.Process) error {
			return plugin.Signal(syscall.SIGTERM)
		}, true},
		{"reload of another mount", reloadAnother, true},
		{"reload of the mount", func(ctx context.Context, f *crashfixture.Fixture, _ harness.Process) error {
			return node.Reload(ctx, f.Mount+"/")
		}, false},
		{"seal and unseal", func(ctx context.Context, _ *crashfixture.Fixture, _ harness.Process) error {
			return errors.Join(node.Seal(ctx), node.Unseal(ctx))
		}, false},
		{"SIGTERM to the process group", func(ctx context.Context, _ *crashfixture.Fixture, _ harness.Process) error {
			return errors.Join(node.StopGroup(ctx), node.Start(ctx), node.Unseal(ctx))
		}, false},
		{"SIGTERM to Vault alone", func(ctx context.Context, _ *crashfixture.Fixture, _ harness.Process) error {
			return node.Restart(ctx)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := crashfixture.New(fixture.NewIn(t, cluster, sandbox.Config{Faults: true}), 8, 10*time.Second)
			f.WidenGate()
			plugin := startedPlugin(f.Fixture)
			answers := f.DuringExchanges(func() { fixture.Must(t, c.do(f.Ctx, f, plugin)) })
			if c.undisturbed {
				for _, err := range answers {
					if err != nil {
						t.Error(err)
					}
				}
				if after := startedPlugin(f.Fixture); after.PID != plugin.PID {
					t.Errorf("the plugin's process %d was replaced by %d", plugin.PID, after.PID)
				}
			}
			tally := f.Check()
			if want := 2 * len(f.Accounts); tally.Exchanges != want || tally.Succeeded != want || tally.MostPresentations != 1 {
				t.Errorf("there should be %d exchanges, one for each refresh token: %s", want, tally)
			}
			f.WantSaved(tally.Succeeded)
		})
	}
}

// reloadAnother mounts the plugin a second time and reloads that mount. Its process must be another one than that of the
// fixture's mount.
func reloadAnother(ctx context.Context, f *crashfixture.Fixture, plugin harness.Process) error {
	other := f.Mount + "-other"
	if err := f.Node.Enable(ctx, other, fixture.PluginName, nil); err != nil {
		return err
	}
	before, err := f.Node.PluginProcesses(ctx, fixture.PluginName)
	if err != nil {
		return err
	}
	if err := f.Node.Reload(ctx, other+"/"); err != nil {
		return err
	}
	after, err := f.Node.PluginProcesses(ctx, fixture.PluginName)
	if err != nil {
		return err
	}
	if len(before) != 2 || !slices.Contains(after, plugin) || slices.Equal(before, after) {
		return fmt.Errorf("the plugin processes were %v and are %v; the one that should stay is %v", before, after, plugin)
	}
	return f.Node.Disable(ctx, other)
}
