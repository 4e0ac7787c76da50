package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestRegisterMountsARelease registers a release with a Vault that has nothing yet, after every
// refusal has been seen to change nothing.
func TestRegisterMountsARelease(t *testing.T) {
	t.Parallel()
	cluster, err := harness.Start(t.Context(), harness.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, cluster.Close()) })
	v := newRegistrar(t, cluster, "pagero")
	must(t, v.node.Enable(t.Context(), "pagero-kv", "kv", nil))
	release := newRelease(t, builtPlugin.Path)
	install := []string{"--plugin-dir", v.dir, release}

	v.wantNothingChanged(func() { v.refusals(release) })
	v.wantNothingChanged(func() {
		v.register(0, append([]string{"--dry-run"}, install...), "would run: vault plugin register", "would run: vault secrets enable", "Nothing was changed")
	})
	v.wantInstalled(0)

	v.register(0, install, "its sum is right", "pagero/ runs "+pluginVersion+", and answers", "Done")
	want := mounted{pluginName, pluginVersion, pluginVersion, builtPlugin.SHA256}
	if got := v.mounted("pagero"); got != want {
		t.Errorf("the mount is %+v, want %+v", got, want)
	}
	v.wantInstalled(1)
	v.env = []string{"VAULT_FORMAT=json", "VAULT_WRAP_TTL=1m"} // as a person may have them for other commands
	v.wantNothingChanged(func() { v.register(0, install, "runs "+pluginVersion+" already") })
	v.env = nil

	// A version means one binary.
	other := newScriptRelease(t, pluginVersion, "exit 1")
	v.wantNothingChanged(func() { v.register(1, []string{other}, "is registered with another sum") })

	must(t, v.node.Seal(t.Context()))
	v.register(1, install, "Vault is sealed")
}

// refusals are the ways in which the script ends before it has changed anything.
func (v *registrar) refusals(release string) {
	v.t.Helper()
	for _, c := range []struct {
		token     string
		code      int
		arguments []string
		text      string
	}{
		{v.token, 2, nil, "no folder of a release is given"},
		{v.token, 2, []string{"--nonsense", release}, "unknown option --nonsense"},
		{v.token, 1, []string{v.t.TempDir()}, "is it the folder of a release"},
		{v.token, 1, []string{"--version", "v9.9.9", release}, "says that it is " + pluginVersion},
		{v.token, 1, []string{"--mount", "pagero-kv", release}, "your token lacks read on sys/mounts/pagero-kv"},
		{"", 1, []string{release}, "does not know your token"},
		{"hvs.nonsense", 1, []string{release}, "does not know your token"},
	} {
		as := *v
		as.token = c.token
		as.register(c.code, c.arguments, c.text)
	}
	root := *v
	root.token = v.node.Client().Token()
	root.register(1, []string{"--mount", "pagero-kv", release}, "is of the type kv")
	lost := *v
	lost.env = []string{"VAULT_ADDR="}
	lost.register(1, []string{release}, "does not answer at https://127.0.0.1:8200")

	tampered := newRelease(v.t, builtPlugin.Path)
	file, err := os.OpenFile(filepath.Join(tampered, pluginName), os.O_APPEND|os.O_WRONLY, 0)
	must(v.t, err)
	_, err = file.WriteString("x")
	must(v.t, err)
	must(v.t, file.Close())
	v.register(1, []string{"--plugin-dir", v.dir, tampered}, "is not what was released")
}

// TestRegisterNamesWhatIsMissing registers a binary that is not in the plugin directory.
func TestRegisterNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newStageIn(t, newVault(t, 1), sandbox.Config{})
	v := newRegistrar(t, s.cluster, s.mount)
	before := v.mounted(s.mount)
	v.register(1, []string{"--mount", s.mount, newRelease(t, nextPlugin(t).Path)},
		"was not registered, and the mount is as it was", pluginName+"_"+nextVersion)
	if after := v.mounted(s.mount); after != before || v.registered(nextVersion) != "" {
		t.Errorf("the mount was %+v and is %+v", before, after)
	}
}

// TestRegisterUpgradesUnderLoad upgrades a mount while readers ask for tokens that live so shortly that
// exchanges are always under way, and somebody presses Ctrl-C. Another mount is left alone.
func TestRegisterUpgradesUnderLoad(t *testing.T) {
	t.Parallel()
	const takes = 500 * time.Millisecond
	config := sandbox.Config{Faults: true, AccessTokenLifetime: 4 * time.Second}
	f := newFleet(newStageIn(t, newVault(t, 1), config), 12, 10*time.Second)
	other := newStageIn(t, f.cluster, sandbox.Config{})
	for i, m := range f.members { // an exchange takes a while, before the token is spent or after
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		_, err := f.sandbox.SetFault(sandbox.Fault{User: m.name, When: when, Delay: takes})
		must(t, err)
	}
	v := newRegistrar(t, f.cluster, f.mount)
	release := newRelease(t, nextPlugin(t).Path)
	arguments := []string{"--mount", f.mount, "--plugin-dir", v.dir, release}
	must(t, f.each(f.members, func(m *member) error { _, err := f.ask(http.MethodGet, "token/"+m.name); return err }))
	processes, err := f.node.PluginProcesses(f.ctx, pluginName)
	must(t, err)
	otherBefore := v.mounted(other.mount)

	v.wantDryRun(f.mount, arguments)
	readers := f.askPatiently(8, newRandom(t))
	f.waitForExchanges(2)
	began := time.Now()
	run := v.beginRegister(arguments...)
	f.waitFor("the reload", func() bool { return strings.Contains(run.said(), "sys/plugins/reload") })
	must(t, syscall.Kill(-run.cmd.Process.Pid, syscall.SIGINT))
	run.wantEnd(0, f.mount+"/ runs "+nextVersion+", and answers", "Done")
	took := time.Since(began)
	f.waitForExchanges(2)
	errs := readers.stop()

	want := mounted{pluginName, nextVersion, nextVersion, nextPlugin(t).SHA256}
	if got := v.mounted(f.mount); got != want {
		t.Errorf("the mount is %+v, want %+v", got, want)
	}
	if after := v.mounted(other.mount); after != otherBefore {
		t.Errorf("the other mount was %+v and is %+v", otherBefore, after)
	}
	old, err := f.node.PluginProcesses(f.ctx, pluginName)
	must(t, err)
	if len(processes) != 2 || len(old) != 1 || old[0] != processes[0] && old[0] != processes[1] {
		t.Errorf("the processes of the old version were %v and are %v: one should have stayed", processes, old)
	}
	for text, count := range errs {
		t.Errorf("%d readers got %s", count, text)
	}
	tally := f.check()
	if tally.most != 1 || tally.inTheAir != 0 || tally.exchanges != tally.succeeded {
		t.Errorf("an upgrade should cost nothing: %s", tally)
	}
	t.Logf("the upgrade took %s with %d tokens read; the longest read took %s", took.Round(time.Millisecond),
		readers.tokens, readers.longest.Round(time.Millisecond))
}

// patientReaders wait for every answer.
type patientReaders struct {
	mu      sync.Mutex
	tokens  int
	longest time.Duration
	errs    map[string]int
	stop    func() map[string]int // ends them, and returns what they got instead of tokens
}

// askPatiently has so many readers ask for the tokens of random members all the time.
func (f *fleet) askPatiently(readers int, random random) *patientReaders {
	p := &patientReaders{errs: map[string]int{}}
	ctx, cancel := context.WithCancel(f.ctx)
	var group sync.WaitGroup
	p.stop = func() map[string]int {
		cancel()
		group.Wait()
		return p.errs
	}
	for range readers {
		group.Go(func() {
			ticker := time.NewTicker(50 * time.Millisecond)
			defer ticker.Stop()
			for range ticker.C {
				if ctx.Err() != nil {
					return
				}
				asked := time.Now()
				a, err := f.ask(http.MethodGet, "token/"+f.members[random.upTo(time.Duration(len(f.members)))].name)
				took := time.Since(asked)
				p.mu.Lock()
				switch {
				case err != nil:
					p.errs[err.Error()]++
				case a.status != http.StatusOK:
					p.errs[fmt.Sprintf("%d: %q", a.status, a.Errors)]++
				default:
					p.tokens++
				}
				p.longest = max(p.longest, took)
				p.mu.Unlock()
			}
		})
	}
	return p
}

// wantDryRun runs an upgrade dry, while nobody reads.
func (v *registrar) wantDryRun(mount string, arguments []string) {
	v.t.Helper()
	before := v.mounted(mount)
	v.wantNothingChanged(func() {
		v.register(0, append([]string{"--dry-run"}, arguments...), "would run: vault secrets tune", "would run: env", "Nothing was changed")
	})
	if after := v.mounted(mount); after != before || v.registered(nextVersion) != "" {
		v.t.Errorf("the mount was %+v and is %+v", before, after)
	}
}

// TestRegisterWantsTheActiveNode asks a standby, and copies the binary for it.
func TestRegisterWantsTheActiveNode(t *testing.T) {
	t.Parallel()
	cluster := newVault(t, 3)
	active, err := cluster.Agreed(t.Context())
	must(t, err)
	v := newRegistrar(t, cluster, "pagero")
	for _, node := range cluster.Nodes {
		if node != active {
			v.node = node
		}
	}
	release := newRelease(t, nextPlugin(t).Path)
	v.wantNothingChanged(func() { v.register(1, []string{release}, "is a standby", active.Address) })
	v.register(0, []string{"--install-only", "--plugin-dir", v.dir, release}, "Copying the binary")
	v.register(0, []string{"--install-only", "--plugin-dir", v.dir, release}, "is in place")
	must(t, os.WriteFile(filepath.Join(v.dir, pluginName+"_"+nextVersion), []byte("x"), 0o600))
	v.register(1, []string{"--install-only", "--plugin-dir", v.dir, release}, "with another sum")
}
