package operate

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

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestRegisterMountsARelease registers a release with a new Vault. Before that, it checks that no refusal changes anything.
func TestRegisterMountsARelease(t *testing.T) {
	t.Parallel()
	cluster, err := harness.Start(t.Context(), harness.Options{})
	fixture.Must(t, err)
	t.Cleanup(func() { fixture.Must(t, cluster.Close()) })
	v := newRegistrar(t, cluster, "pagero")
	fixture.Must(t, v.node.Enable(t.Context(), "pagero-kv", "kv", nil))
	release := newRelease(t, fixture.Plugin(t).Path)
	install := []string{"--plugin-dir", v.dir, release}

	v.wantNothingChanged(func() { v.refusals(release) })
	v.wantNothingChanged(func() {
		v.register(0, append([]string{"--dry-run"}, install...), "would run: vault plugin register", "would run: vault secrets enable", "Nothing was changed")
	})
	v.wantInstalled(0)

	v.register(0, install, "its sum is right", "pagero/ runs "+fixture.PluginVersion+", and answers", "Done")
	want := mounted{fixture.PluginName, fixture.PluginVersion, fixture.PluginVersion, fixture.Plugin(t).SHA256}
	if got := v.mounted("pagero"); got != want {
		t.Errorf("the mount is %+v, want %+v", got, want)
	}
	v.wantInstalled(1)
	v.env = []string{"VAULT_FORMAT=json", "VAULT_WRAP_TTL=1m"} // an operator may have set them for other commands
	v.wantNothingChanged(func() { v.register(0, install, "runs "+fixture.PluginVersion+" already") })
	v.env = nil

	// A version has one binary.
	other := newScriptRelease(t, fixture.PluginVersion, "exit 1")
	v.wantNothingChanged(func() { v.register(1, []string{other}, "is registered with another sum") })

	fixture.Must(t, v.node.Seal(t.Context()))
	v.register(1, install, "Vault is sealed")
}

// refusals runs the script in all ways in which it ends before it changes anything.
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
		{v.token, 1, []string{"--version", "v9.9.9", release}, "says that it is " + fixture.PluginVersion},
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

	tampered := newRelease(v.t, fixture.Plugin(v.t).Path)
	file, err := os.OpenFile(filepath.Join(tampered, fixture.PluginName), os.O_APPEND|os.O_WRONLY, 0)
	fixture.Must(v.t, err)
	_, err = file.WriteString("x")
	fixture.Must(v.t, err)
	fixture.Must(v.t, file.Close())
	v.register(1, []string{"--plugin-dir", v.dir, tampered}, "is not what was released")
}

// TestRegisterNamesWhatIsMissing registers a binary that is not in the plugin directory.
func TestRegisterNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	f := fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{})
	v := newRegistrar(t, f.Cluster, f.Mount)
	before := v.mounted(f.Mount)
	v.register(1, []string{"--mount", f.Mount, newRelease(t, nextPlugin(t).Path)},
		"was not registered, and the mount is as it was", fixture.PluginName+"_"+nextVersion)
	if after := v.mounted(f.Mount); after != before || v.registered(nextVersion) != "" {
		t.Errorf("the mount was %+v and is %+v", before, after)
	}
}

// TestRegisterUpgradesUnderLoad upgrades a mount while readers read tokens that expire so soon that there are always
// exchanges under way. Ctrl-C during the reload does not stop the upgrade. Another mount does not change.
func TestRegisterUpgradesUnderLoad(t *testing.T) {
	t.Parallel()
	const takes = 500 * time.Millisecond
	config := sandbox.Config{Faults: true, AccessTokenLifetime: 4 * time.Second}
	f := crashfixture.New(fixture.NewIn(t, fixture.NewVault(t, 1), config), 12, 10*time.Second)
	other := fixture.NewIn(t, f.Cluster, sandbox.Config{})
	for i, account := range f.Accounts { // an exchange takes a while, before or after the token is spent
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		_, err := f.Sandbox.SetFault(sandbox.Fault{User: account.Name, When: when, Delay: takes})
		fixture.Must(t, err)
	}
	v := newRegistrar(t, f.Cluster, f.Mount)
	release := newRelease(t, nextPlugin(t).Path)
	arguments := []string{"--mount", f.Mount, "--plugin-dir", v.dir, release}
	fixture.Must(t, f.Each(f.Accounts, func(account *crashfixture.Account) error {
		_, err := f.Ask(http.MethodGet, "token/"+account.Name)
		return err
	}))
	processes, err := f.Node.PluginProcesses(f.Ctx, fixture.PluginName)
	fixture.Must(t, err)
	otherBefore := v.mounted(other.Mount)

	v.wantDryRun(f.Mount, arguments)
	readers := askPatiently(f, 8, crashfixture.NewRandom(t))
	f.WaitForExchanges(2)
	began := time.Now()
	run := v.beginRegister(arguments...)
	f.WaitFor("the reload", func() bool { return strings.Contains(run.said(), "sys/plugins/reload") })
	fixture.Must(t, syscall.Kill(-run.cmd.Process.Pid, syscall.SIGINT))
	run.wantEnd(0, f.Mount+"/ runs "+nextVersion+", and answers", "Done")
	took := time.Since(began)
	f.WaitForExchanges(2)
	errs := readers.stop()

	want := mounted{fixture.PluginName, nextVersion, nextVersion, nextPlugin(t).SHA256}
	if got := v.mounted(f.Mount); got != want {
		t.Errorf("the mount is %+v, want %+v", got, want)
	}
	if after := v.mounted(other.Mount); after != otherBefore {
		t.Errorf("the other mount was %+v and is %+v", otherBefore, after)
	}
	old, err := f.Node.PluginProcesses(f.Ctx, fixture.PluginName)
	fixture.Must(t, err)
	if len(processes) != 2 || len(old) != 1 || old[0] != processes[0] && old[0] != processes[1] {
		t.Errorf("the processes of the old version were %v and are %v: one of them should still run", processes, old)
	}
	for text, count := range errs {
		t.Errorf("%d readers got %s", count, text)
	}
	tally := f.Check()
	if tally.MostPresentations != 1 || tally.LostAnswers != 0 || tally.Exchanges != tally.Succeeded {
		t.Errorf("an upgrade should cost nothing: %s", tally)
	}
	t.Logf("the upgrade took %s with %d tokens read; the longest read took %s", took.Round(time.Millisecond),
		readers.tokens, readers.longest.Round(time.Millisecond))
}

// patientReaders are readers that wait for every answer.
type patientReaders struct {
	mu      sync.Mutex
	tokens  int
	longest time.Duration
	errs    map[string]int
	stop    func() map[string]int // stops them, and returns how often each error came
}

// askPatiently starts readers that read tokens of random accounts all the time.
func askPatiently(f *crashfixture.Fixture, readers int, random crashfixture.Random) *patientReaders {
	p := &patientReaders{errs: map[string]int{}}
	ctx, cancel := context.WithCancel(f.Ctx)
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
				a, err := f.Ask(http.MethodGet, "token/"+f.Accounts[random.UpTo(time.Duration(len(f.Accounts)))].Name)
				took := time.Since(asked)
				p.mu.Lock()
				switch {
				case err != nil:
					p.errs[err.Error()]++
				case a.Status != http.StatusOK:
					p.errs[fmt.Sprintf("%d: %q", a.Status, a.Errors)]++
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

// wantDryRun asserts that an upgrade with --dry-run changes nothing.
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

// TestRegisterRequiresTheActiveNode runs the script on a standby, which only installs the binary there.
func TestRegisterRequiresTheActiveNode(t *testing.T) {
	t.Parallel()
	cluster := fixture.NewVault(t, 3)
	active, err := cluster.Agreed(t.Context())
	fixture.Must(t, err)
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
	fixture.Must(t, os.WriteFile(filepath.Join(v.dir, fixture.PluginName+"_"+nextVersion), []byte("x"), 0o600))
	v.register(1, []string{"--install-only", "--plugin-dir", v.dir, release}, "with another sum")
}
