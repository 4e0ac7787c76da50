package acceptance

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestRegisterGoesBack upgrades to releases with the right sum that do not work.
func TestRegisterGoesBack(t *testing.T) {
	t.Parallel()
	cluster := newVault(t, 1)
	for _, c := range []struct {
		name, script string
		code         int
		says         []string
	}{
		{"it does not start", "exit 1", 3, []string{"The reload reported an error", "is back on " + pluginVersion}},
		{"it says to be another version", "exec " + builtPlugin.Path + ` "$@"`, 1, []string{"was not registered"}},
		{"it starts only to be registered", startingOnce(t, "exit 1"), 3, []string{"should run " + nextVersion, "is back on " + pluginVersion}},
		{"it runs another version", startingOnce(t, "exec "+builtPlugin.Path+` "$@"`), 3, []string{"should run " + nextVersion, "is back on " + pluginVersion}},
	} {
		ok := t.Run(c.name, func(t *testing.T) {
			s := newStageIn(t, cluster, sandbox.Config{Faults: true})
			s.enrol()
			v := newRegistrar(t, cluster, s.mount)
			before := v.mounted(s.mount)
			s.wantKept(func(context.Context) error {
				release := newScriptRelease(t, nextVersion, c.script)
				v.register(c.code, []string{"--mount", s.mount, "--plugin-dir", v.dir, release}, c.says...)
				return os.Remove(filepath.Join(v.dir, pluginName+"_"+nextVersion)) // for the next case
			})
			if after := v.mounted(s.mount); after != before {
				t.Errorf("the mount was %+v and is %+v", before, after)
			}
			if sum := v.registered(nextVersion); sum != "" {
				t.Errorf("%s is still registered, with the sum %s", nextVersion, sum)
			}
		})
		if !ok {
			break // the Vault is not as it was
		}
	}
}

// TestRegisterTellsOfAMountThatDoesNotWork mounts a plugin for the first time that turns out to be another
// version than it was registered as.
func TestRegisterTellsOfAMountThatDoesNotWork(t *testing.T) {
	t.Parallel()
	v := newRegistrar(t, newVault(t, 1), "pagero")
	release := newScriptRelease(t, nextVersion, startingOnce(t, "exec "+builtPlugin.Path+` "$@"`))
	v.register(4, []string{"--plugin-dir", v.dir, release}, "pagero/ should run "+nextVersion,
		"the new mount pagero/ does not work", "vault secrets disable pagero/")
}

// TestRegisterSaysWhenAPersonHasToLook forces an upgrade from a version that the catalog has not any more
// to one that does not start. What the script names as the remedy works.
func TestRegisterSaysWhenAPersonHasToLook(t *testing.T) {
	t.Parallel()
	s := newEnrolledStageInOwnVault(t)
	v := newRegistrar(t, s.cluster, s.mount)
	s.wantKept(func(ctx context.Context) error {
		v.deregister(pluginVersion)
		release := newScriptRelease(t, nextVersion, "exit 1")
		v.register(4, []string{"--force", "--mount", s.mount, "--plugin-dir", v.dir, release},
			"--force: there is no way back", nextVersion+" does not work; going back to "+pluginVersion,
			"going back failed, too", s.mount+"/ is tuned to "+nextVersion)
		must(t, s.node.Register(ctx, builtPlugin))
		v.tune(s.mount, pluginVersion)
		return s.node.Reload(ctx, s.mount+"/")
	})
}

// TestRegisterTakesUpWhatWasBrokenOff upgrades a mount that is tuned to the new version and was not
// reloaded, as a machine that loses power in between leaves it.
func TestRegisterTakesUpWhatWasBrokenOff(t *testing.T) {
	t.Parallel()
	s := newEnrolledStageInOwnVault(t)
	v := newRegistrar(t, s.cluster, s.mount)
	next := nextPlugin(t)
	next.Command = pluginName + "_" + nextVersion
	register(t, s.cluster, next)
	v.tune(s.mount, nextVersion)
	before := mounted{pluginName, nextVersion, pluginVersion, builtPlugin.SHA256}
	if got := v.mounted(s.mount); got != before {
		t.Fatalf("the mount is %+v, want %+v", got, before)
	}
	s.wantKept(func(context.Context) error {
		v.register(0, []string{"--mount", s.mount, newRelease(t, next.Path)}, "from "+pluginVersion+" to "+nextVersion, "Done")
		return nil
	})
	want := mounted{pluginName, nextVersion, nextVersion, next.SHA256}
	if got := v.mounted(s.mount); got != want {
		t.Errorf("the mount is %+v, want %+v", got, want)
	}
}

// TestRegisterGoesOnWhereNobodyReads upgrades a mount, and goes back, while who reads the output goes away
// at each of its lines.
func TestRegisterGoesOnWhereNobodyReads(t *testing.T) {
	t.Parallel()
	s := newEnrolledStageInOwnVault(t)
	v := newRegistrar(t, s.cluster, s.mount)
	releases := map[string]string{nextVersion: newRelease(t, nextPlugin(t).Path), pluginVersion: newRelease(t, builtPlugin.Path)}
	for i, into := range []string{"| head -n 1", "2>&1 | head -n 1", "| sed '/Upgrading/q'", "2>&1 | sed '/secrets tune/q'"} {
		v.into = into
		to := []string{nextVersion, pluginVersion}[i%2]
		v.register(0, []string{"--mount", s.mount, "--plugin-dir", v.dir, releases[to]}, "its sum is right")
		if got := v.mounted(s.mount); got.Version != to || got.Running != to {
			t.Errorf("%s: the mount is %+v, want %s", into, got, to)
		}
	}
	s.accessToken("acme")
}
