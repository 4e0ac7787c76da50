package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// How long the server holds an exchange after something has come between: where a reader waits for it,
// and where nobody does any more. Vault takes a second between the two to stop a plugin.
const (
	midwayAwaited   = 500 * time.Millisecond
	midwayUnawaited = 2500 * time.Millisecond
)

// TestNothingOrderlyCostsARefreshToken does to Vault and to the plugin what operators and service
// managers do, each time in the middle of an exchange of every account. The Vault is one of its own,
// and the cases run one after the other.
func TestNothingOrderlyCostsARefreshToken(t *testing.T) {
	t.Parallel()
	cluster := newVault(t, 1)
	node := cluster.Nodes[0]
	for _, c := range []struct {
		name string
		do   func(ctx context.Context, f *fleet, plugin harness.Process) error
		// undisturbed says that the readers who wait for the exchange get its token, and that the
		// plugin's process stays.
		undisturbed bool
	}{
		{"SIGHUP to the process group", func(context.Context, *fleet, harness.Process) error {
			return node.SignalGroup(syscall.SIGHUP)
		}, true},
		{"SIGHUP to the plugin", func(_ context.Context, _ *fleet, plugin harness.Process) error {
			return plugin.Signal(syscall.SIGHUP)
		}, true},
		{"SIGTERM to the plugin", func(_ context.Context, _ *fleet, plugin harness.Process) error {
			return plugin.Signal(syscall.SIGTERM)
		}, true},
		{"reload of another mount", reloadAnother, true},
		{"reload of the mount", func(ctx context.Context, f *fleet, _ harness.Process) error {
			return node.Reload(ctx, f.mount+"/")
		}, false},
		{"seal and unseal", func(ctx context.Context, _ *fleet, _ harness.Process) error {
			return errors.Join(node.Seal(ctx), node.Unseal(ctx))
		}, false},
		{"SIGTERM to the process group", func(ctx context.Context, _ *fleet, _ harness.Process) error {
			return errors.Join(node.StopGroup(ctx), node.Start(ctx), node.Unseal(ctx))
		}, false},
		{"SIGTERM to Vault alone", func(ctx context.Context, _ *fleet, _ harness.Process) error {
			return node.Restart(ctx)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(newStageIn(t, cluster, sandbox.Config{Faults: true}), 8, 10*time.Second)
			plugin := f.plugin()
			answers := f.midExchange(func() { must(t, c.do(f.ctx, f, plugin)) })
			if c.undisturbed {
				for _, err := range answers {
					if err != nil {
						t.Error(err)
					}
				}
				if after := f.plugin(); after.PID != plugin.PID {
					t.Errorf("the plugin's process %d has been replaced by %d", plugin.PID, after.PID)
				}
			}
			tally := f.check()
			if want := 2 * len(f.members); tally.exchanges != want || tally.succeeded != want || tally.most != 1 {
				t.Errorf("there should be %d exchanges, one for each refresh token: %s", want, tally)
			}
			f.wantSaved(tally.succeeded)
		})
	}
}

// reloadAnother reloads a second mount of the plugin, which is there only for that. Its process ends,
// and has to be another than the one of the fleet's mount.
func reloadAnother(ctx context.Context, f *fleet, plugin harness.Process) error {
	other := f.mount + "-other"
	if err := f.node.Enable(ctx, other, pluginName, nil); err != nil {
		return err
	}
	before, err := f.node.PluginProcesses(ctx, pluginName)
	if err != nil {
		return err
	}
	if err := f.node.Reload(ctx, other+"/"); err != nil {
		return err
	}
	after, err := f.node.PluginProcesses(ctx, pluginName)
	if err != nil {
		return err
	}
	if len(before) != 2 || !slices.Contains(after, plugin) || slices.Equal(before, after) {
		return fmt.Errorf("the plugin processes were %v and are %v; the one that should stay is %v", before, after, plugin)
	}
	return f.node.Disable(ctx, other)
}

// midExchange begins an exchange of every account, calls the function when the server holds all of
// them, half of them with the refresh token already spent, lets them go a while later, and returns
// how the readers fared.
//
// Half of the readers have gone away before. Vault lets requests end before it stops a plugin: only
// where nobody waits for an exchange, it is the plugin that has to.
func (f *fleet) midExchange(do func()) []error {
	f.t.Helper()
	var (
		readers            sync.WaitGroup
		awaited, unawaited []*sandbox.FaultHandle
		answers            = make([]error, len(f.members))
	)
	impatient, leave := context.WithCancel(f.ctx)
	defer leave()
	for i, m := range f.members {
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		fault, err := f.sandbox.SetFault(sandbox.Fault{User: m.name, When: when, Count: 1, Action: sandbox.ActionHold})
		must(f.t, err)
		if i/4%2 == 1 {
			unawaited = append(unawaited, fault)
			readers.Go(func() { _ = f.askUntil(impatient, http.MethodGet, "token/"+m.name) })
			continue
		}
		awaited = append(awaited, fault)
		readers.Go(func() {
			a, err := f.ask(http.MethodGet, "token/"+m.name)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("%s: status %d: %q", m.name, a.status, a.Errors)
			}
			answers[i] = err
		})
	}
	for _, fault := range slices.Concat(awaited, unawaited) {
		must(f.t, fault.Wait(f.ctx, 1))
	}
	leave()
	time.AfterFunc(midwayAwaited, func() { clearAll(awaited) })
	time.AfterFunc(midwayUnawaited, func() { clearAll(unawaited) })
	do()
	readers.Wait()
	return answers
}

// clearAll ends faults.
func clearAll(faults []*sandbox.FaultHandle) {
	for _, fault := range faults {
		fault.Clear()
	}
}
