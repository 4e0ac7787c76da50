package operate

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestRegisterWaitsForUnsavedTokens tells the script that refresh tokens are in memory only. The plugin cannot say so for
// long, because it ends if the storage refuses writes. A fake vault command says it instead.
func TestRegisterWaitsForUnsavedTokens(t *testing.T) {
	t.Parallel()
	f := fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{Faults: true})
	f.Enrol()
	v := newRegistrar(t, f.Cluster, f.Mount)
	before := v.mounted(f.Mount)
	arguments := []string{"--mount", f.Mount, "--plugin-dir", v.dir, newRelease(t, nextPlugin(t).Path)}
	v.before = []string{t.TempDir()}
	v.say("echo 2")
	v.wantNothingChanged(func() {
		v.register(1, append([]string{"--wait", "1"}, arguments...), "2 refresh tokens are in memory only", "Nothing is changed")
	})
	v.say("echo 'no such thing' >&2; exit 2")
	v.wantNothingChanged(func() { v.register(1, arguments, "is not known") })

	// The script waits until they are saved.
	once := filepath.Join(v.before[0], "once")
	v.say("if mkdir " + once + " 2>/dev/null; then echo 1; else echo 0; fi")
	v.register(0, arguments, "1 refresh tokens are not saved yet; waiting", "Done")
	if after := v.mounted(f.Mount); after == before || after.Running != nextVersion {
		t.Errorf("the mount is %+v", after)
	}
	// It can be forced. Here it goes back to the old version.
	v.say("echo 2")
	back := []string{"--mount", f.Mount, "--plugin-dir", v.dir, newRelease(t, fixture.Plugin(t).Path)}
	v.register(1, append([]string{"--wait", "0"}, back...), "2 refresh tokens are in memory only")
	v.register(0, append([]string{"--force", "--global"}, back...), "--force: 2 refresh tokens", "Done")
	if after := v.mounted(f.Mount); after != before {
		t.Errorf("the mount is %+v, want %+v", after, before)
	}
}

// say puts a fake vault command first on the PATH. It runs a line of shell if it is asked for unsaved refresh tokens, and
// the real command otherwise.
func (v *registrar) say(line string) {
	v.t.Helper()
	script := "#!/bin/sh\ncase \"$*\" in *-field=unsaved*) " + line + "; exit ;; esac\n" +
		"PATH=${PATH#*:} exec vault \"$@\"\n"
	fixture.Must(v.t, os.WriteFile(filepath.Join(v.before[0], "vault"), []byte(script), 0o755))
}

// TestRegisterRefusesALongExchangeTimeout sets an exchange_timeout that is longer than Vault waits for a plugin to end.
func TestRegisterRefusesALongExchangeTimeout(t *testing.T) {
	t.Parallel()
	f := fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{})
	v := newRegistrar(t, f.Cluster, f.Mount)
	arguments := []string{"--mount", f.Mount, newRelease(t, nextPlugin(t).Path)}
	f.Write("config", fixture.Fields{"exchange_timeout": "41s"})
	v.wantNothingChanged(func() {
		v.register(1, arguments, "with exchange_timeout=41 a reload may take longer", "set 40 or less", "Nothing is changed")
	})
	f.Write("config", fixture.Fields{"exchange_timeout": "40s"})
	v.register(0, append([]string{"--dry-run"}, arguments...), "would run: vault secrets tune")
}

// TestRegisterRequiresAWayBack upgrades a mount whose version is no longer in the catalog.
func TestRegisterRequiresAWayBack(t *testing.T) {
	t.Parallel()
	f := fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{})
	v := newRegistrar(t, f.Cluster, f.Mount)
	arguments := []string{"--mount", f.Mount, "--plugin-dir", v.dir, newRelease(t, nextPlugin(t).Path)}
	v.deregister(fixture.PluginVersion)
	v.wantNothingChanged(func() {
		v.register(1, arguments, "there is no way back: the catalog has no "+fixture.PluginVersion+" with the sum that runs", "Nothing is changed")
	})
	v.register(0, append([]string{"--force"}, arguments...), "--force: there is no way back", "Done")
}

// TestRegisterLeavesAPinAlone upgrades a mount, and creates one, while the version of the plugin is pinned.
func TestRegisterLeavesAPinAlone(t *testing.T) {
	t.Parallel()
	f := fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{})
	pin := "sys/plugins/pins/secret/" + fixture.PluginName
	_, err := f.Node.Client().Logical().WriteWithContext(f.Ctx, pin, map[string]any{"version": fixture.PluginVersion})
	fixture.Must(t, err)
	next, same := newRelease(t, nextPlugin(t).Path), newRelease(t, fixture.Plugin(t).Path)
	for _, mount := range []string{f.Mount, "pagero-new"} {
		v := newRegistrar(t, f.Cluster, mount)
		v.wantNothingChanged(func() {
			v.register(1, []string{"--force", "--mount", mount, "--plugin-dir", v.dir, next}, "is pinned to "+fixture.PluginVersion, "vault delete "+pin)
		})
		v.wantInstalled(1)
	}
	v := newRegistrar(t, f.Cluster, f.Mount)
	v.register(0, []string{"--mount", f.Mount, same}, "runs "+fixture.PluginVersion+" already")
}
