package acceptance

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestRegisterDoesNotReloadWhatIsUnsaved has the plugin say that refresh tokens are in memory only. A
// storage that refuses writes for so long ends the plugin, so that a vault command in front of the real
// one says it in its place.
func TestRegisterDoesNotReloadWhatIsUnsaved(t *testing.T) {
	t.Parallel()
	s := newStageIn(t, newVault(t, 1), sandbox.Config{Faults: true})
	s.enrol()
	v := newRegistrar(t, s.cluster, s.mount)
	before := v.mounted(s.mount)
	arguments := []string{"--mount", s.mount, "--plugin-dir", v.dir, newRelease(t, nextPlugin(t).Path)}
	v.before = []string{t.TempDir()}
	v.say("echo 2")
	v.wantNothingChanged(func() {
		v.register(1, append([]string{"--wait", "1"}, arguments...), "2 refresh tokens are in memory only", "Nothing is changed")
	})
	v.say("echo 'no such thing' >&2; exit 2")
	v.wantNothingChanged(func() { v.register(1, arguments, "is not known") })

	// Until they are saved, it waits.
	once := filepath.Join(v.before[0], "once")
	v.say("if mkdir " + once + " 2>/dev/null; then echo 1; else echo 0; fi")
	v.register(0, arguments, "1 refresh tokens are not saved yet; waiting", "Done")
	if after := v.mounted(s.mount); after == before || after.Running != nextVersion {
		t.Errorf("the mount is %+v", after)
	}
	// It can be forced, here to go back where it came from.
	v.say("echo 2")
	back := []string{"--mount", s.mount, "--plugin-dir", v.dir, newRelease(t, builtPlugin.Path)}
	v.register(1, append([]string{"--wait", "0"}, back...), "2 refresh tokens are in memory only")
	v.register(0, append([]string{"--force", "--global"}, back...), "--force: 2 refresh tokens", "Done")
	if after := v.mounted(s.mount); after != before {
		t.Errorf("the mount is %+v, want %+v", after, before)
	}
}

// say puts a vault command in front of the real one that answers the question for unsaved refresh
// tokens with a line of shell.
func (v *registrar) say(line string) {
	v.t.Helper()
	script := "#!/bin/sh\ncase \"$*\" in *-field=unsaved*) " + line + "; exit ;; esac\n" +
		"PATH=${PATH#*:} exec vault \"$@\"\n"
	must(v.t, os.WriteFile(filepath.Join(v.before[0], "vault"), []byte(script), 0o755))
}

// TestRegisterDoesNotReloadWhatMayBeKilled has an exchange take longer than Vault waits for a plugin's end.
func TestRegisterDoesNotReloadWhatMayBeKilled(t *testing.T) {
	t.Parallel()
	s := newStageIn(t, newVault(t, 1), sandbox.Config{})
	v := newRegistrar(t, s.cluster, s.mount)
	arguments := []string{"--mount", s.mount, newRelease(t, nextPlugin(t).Path)}
	s.write("config", fields{"exchange_timeout": "41s"})
	v.wantNothingChanged(func() {
		v.register(1, arguments, "with exchange_timeout=41 a reload may take longer", "set 40 or less", "Nothing is changed")
	})
	s.write("config", fields{"exchange_timeout": "40s"})
	v.register(0, append([]string{"--dry-run"}, arguments...), "would run: vault secrets tune")
}

// TestRegisterWantsAWayBack upgrades a mount whose version the catalog has not any more.
func TestRegisterWantsAWayBack(t *testing.T) {
	t.Parallel()
	s := newStageIn(t, newVault(t, 1), sandbox.Config{})
	v := newRegistrar(t, s.cluster, s.mount)
	arguments := []string{"--mount", s.mount, "--plugin-dir", v.dir, newRelease(t, nextPlugin(t).Path)}
	v.deregister(pluginVersion)
	v.wantNothingChanged(func() {
		v.register(1, arguments, "there is no way back: the catalog has no "+pluginVersion+" with the sum that runs", "Nothing is changed")
	})
	v.register(0, append([]string{"--force"}, arguments...), "--force: there is no way back", "Done")
}

// TestRegisterLeavesAPinAlone upgrades a mount of a plugin whose version is pinned, and makes one.
func TestRegisterLeavesAPinAlone(t *testing.T) {
	t.Parallel()
	s := newStageIn(t, newVault(t, 1), sandbox.Config{})
	pin := "sys/plugins/pins/secret/" + pluginName
	_, err := s.node.Client().Logical().WriteWithContext(s.ctx, pin, map[string]any{"version": pluginVersion})
	must(t, err)
	next, same := newRelease(t, nextPlugin(t).Path), newRelease(t, builtPlugin.Path)
	for _, mount := range []string{s.mount, "pagero-new"} {
		v := newRegistrar(t, s.cluster, mount)
		v.wantNothingChanged(func() {
			v.register(1, []string{"--force", "--mount", mount, "--plugin-dir", v.dir, next}, "is pinned to "+pluginVersion, "vault delete "+pin)
		})
		v.wantInstalled(1)
	}
	v := newRegistrar(t, s.cluster, s.mount)
	v.register(0, []string{"--mount", s.mount, same}, "runs "+pluginVersion+" already")
}
