package operate

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestRegisterRollsBack upgrades to releases that have the right sum but do not work.
func TestRegisterRollsBack(t *testing.T) {
	t.Parallel()
	cluster := fixture.NewVault(t, 1)
	for _, c := range []struct {
		name, script string
		code         int
		says         []string
	}{
		{"it does not start", "exit 1", 3, []string{"The reload reported an error", "is back on " + fixture.PluginVersion}},
		{"it claims to be another version", "exec " + fixture.Plugin(t).Path + ` "$@"`, 1, []string{"was not registered"}},
		{"it starts only for the registration", startingOnce(t, "exit 1"), 3, []string{"should run " + nextVersion, "is back on " + fixture.PluginVersion}},
		{"it runs another version", startingOnce(t, "exec "+fixture.Plugin(t).Path+` "$@"`), 3, []string{"should run " + nextVersion, "is back on " + fixture.PluginVersion}},
	} {
		ok := t.Run(c.name, func(t *testing.T) {
			f := fixture.NewIn(t, cluster, sandbox.Config{Faults: true})
			f.Enrol()
			v := newRegistrar(t, cluster, f.Mount)
			before := v.mounted(f.Mount)
			f.WantKept(func(context.Context) error {
				release := newScriptRelease(t, nextVersion, c.script)
				v.register(c.code, []string{"--mount", f.Mount, "--plugin-dir", v.dir, release}, c.says...)
				return os.Remove(filepath.Join(v.dir, fixture.PluginName+"_"+nextVersion)) // for the next case
			})
			if after := v.mounted(f.Mount); after != before {
				t.Errorf("the mount was %+v and is %+v", before, after)
			}
			if sum := v.registered(nextVersion); sum != "" {
				t.Errorf("%s is still registered, with the sum %s", nextVersion, sum)
			}
		})
		if !ok {
			break // the Vault is not in its original state
		}
	}
}

// TestRegisterReportsAMountThatDoesNotWork mounts a plugin for the first time. It turns out to have another version than the
// registered one.
func TestRegisterReportsAMountThatDoesNotWork(t *testing.T) {
	t.Parallel()
	v := newRegistrar(t, fixture.NewVault(t, 1), "pagero")
	release := newScriptRelease(t, nextVersion, startingOnce(t, "exec "+fixture.Plugin(t).Path+` "$@"`))
	v.register(4, []string{"--plugin-dir", v.dir, release}, "pagero/ should run "+nextVersion,
		"the new mount pagero/ does not work", "vault secrets disable pagero/")
}

// TestRegisterReportsAFailedRollback forces an upgrade from a version that is no longer in the catalog to one that does not
// start. The remedy that the script names works.
func TestRegisterReportsAFailedRollback(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolledInOwnVault(t)
	v := newRegistrar(t, f.Cluster, f.Mount)
	f.WantKept(func(ctx context.Context) error {
		v.deregister(fixture.PluginVersion)
		release := newScriptRelease(t, nextVersion, "exit 1")
		v.register(4, []string{"--force", "--mount", f.Mount, "--plugin-dir", v.dir, release},
			"--force: there is no way back", nextVersion+" does not work; going back to "+fixture.PluginVersion,
			"going back failed, too", f.Mount+"/ is tuned to "+nextVersion)
		fixture.Must(t, f.Node.Register(ctx, fixture.Plugin(t)))
		v.tune(f.Mount, fixture.PluginVersion)
		return f.Node.Reload(ctx, f.Mount+"/")
	})
}

// TestRegisterResumesAnInterruptedUpgrade upgrades a mount that is tuned to the new version but was not reloaded. A power
// failure in between leaves it so.
func TestRegisterResumesAnInterruptedUpgrade(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolledInOwnVault(t)
	v := newRegistrar(t, f.Cluster, f.Mount)
	next := nextPlugin(t)
	next.Command = fixture.PluginName + "_" + nextVersion
	register(t, f.Cluster, next)
	v.tune(f.Mount, nextVersion)
	before := mounted{fixture.PluginName, nextVersion, fixture.PluginVersion, fixture.Plugin(t).SHA256}
	if got := v.mounted(f.Mount); got != before {
		t.Fatalf("the mount is %+v, want %+v", got, before)
	}
	f.WantKept(func(context.Context) error {
		v.register(0, []string{"--mount", f.Mount, newRelease(t, next.Path)}, "from "+fixture.PluginVersion+" to "+nextVersion, "Done")
		return nil
	})
	want := mounted{fixture.PluginName, nextVersion, nextVersion, next.SHA256}
	if got := v.mounted(f.Mount); got != want {
		t.Errorf("the mount is %+v, want %+v", got, want)
	}
}

// TestRegisterContinuesIfItsOutputIsClosed upgrades a mount and rolls it back, while the reader of the script's output
// leaves after different lines.
func TestRegisterContinuesIfItsOutputIsClosed(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolledInOwnVault(t)
	v := newRegistrar(t, f.Cluster, f.Mount)
	releases := map[string]string{nextVersion: newRelease(t, nextPlugin(t).Path), fixture.PluginVersion: newRelease(t, fixture.Plugin(t).Path)}
	for i, into := range []string{"| head -n 1", "2>&1 | head -n 1", "| sed '/Upgrading/q'", "2>&1 | sed '/secrets tune/q'"} {
		v.into = into
		to := []string{nextVersion, fixture.PluginVersion}[i%2]
		v.register(0, []string{"--mount", f.Mount, "--plugin-dir", v.dir, releases[to]}, "its sum is right")
		if got := v.mounted(f.Mount); got.Version != to || got.Running != to {
			t.Errorf("%s: the mount is %+v, want %s", into, got, to)
		}
	}
	f.AccessToken("acme")
}
