package operate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// expectations is the content of expected.json in a folder of stored entries.
type expectations struct {
	Read        map[string]map[string]any `json:"read"`        // fields of the answers to reads, by the path
	Works       []string                  `json:"works"`       // accounts that can be refreshed
	Reauthorize []string                  `json:"reauthorize"` // accounts that need a login
}

// store writes entries into a mount that runs storageplugin.
func store(f *fixture.Fixture, entries map[string]string) {
	f.T.Helper()
	for key, value := range entries {
		f.Write(key, fixture.Fields{"value": value})
	}
}

// TestEveryStoredFormIsReadAfterAnUpgrade walks the folders of testdata/stored. It writes the entries of each into a mount,
// as an older version would have left them, upgrades the plugin in place, and uses every entry. Then it rolls back and
// upgrades again.
func TestEveryStoredFormIsReadAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	versions, err := os.ReadDir(filepath.Join("testdata", "stored"))
	fixture.Must(t, err)
	if len(versions) == 0 {
		t.Fatal("there are no stored entries")
	}
	older := buildStoragePlugin(t, olderVersion)
	for _, version := range versions {
		t.Run("version "+version.Name(), func(t *testing.T) {
			t.Parallel()
			cluster := fixture.NewVault(t, 1)
			register(t, cluster, older)
			f := fixture.NewEmpty(t, cluster, "pagero", olderVersion, fixture.LoginConfig())
			entries := storedEntries(f, version.Name())
			store(f, entries)
			var want expectations
			content, err := os.ReadFile(filepath.Join("testdata", "stored", version.Name(), "expected.json"))
			fixture.Must(t, err)
			fixture.Must(t, json.Unmarshal(content, &want))
			u := newUpgrader(f, fixture.Plugin(t))

			u.wantRunning(u.run("Upgrade", olderVersion, fixture.PluginVersion), fixture.PluginVersion)
			u.wantVersion(fixture.PluginVersion)
			checkStored(f, entries, want)
			stored := storedValues(f, entries)

			u.wantRunning(u.run("Roll back", olderVersion, fixture.PluginVersion), olderVersion)
			for key, value := range stored {
				if got := f.Read(key).Text("value"); got != value {
					t.Errorf("%s was\n%s\nand is after the rollback\n%s", key, value, got)
				}
			}
			u.wantRunning(u.run("Upgrade", olderVersion, fixture.PluginVersion), fixture.PluginVersion)
			for _, account := range want.Works {
				f.Write("refresh/"+account, nil)
				f.WantAPIAccepts(f.AccessToken(account))
			}
			u.run("Clean up", olderVersion, fixture.PluginVersion)
			if _, err := os.Stat(filepath.Join(f.Cluster.PluginDir, fixture.PluginName+"_"+olderVersion)); !os.IsNotExist(err) {
				t.Errorf("the old binary is still there: %v", err)
			}
			if stats := f.Sandbox.Stats(); stats.Replays != 0 {
				t.Errorf("%d refresh tokens were presented again after use", stats.Replays)
			}
		})
	}
}

// storedValues returns the values that are stored under the keys of entries now.
func storedValues(f *fixture.Fixture, entries map[string]string) map[string]string {
	f.T.Helper()
	values := map[string]string{}
	for key := range entries {
		value, err := f.Node.StoredValue(f.Ctx, f.Mount, key)
		fixture.Must(f.T, err)
		if value != "" {
			values[key] = value
		}
	}
	return values
}

// checkStored uses every stored entry.
func checkStored(f *fixture.Fixture, entries map[string]string, want expectations) {
	f.T.Helper()
	for path, data := range want.Read {
		got := f.Read(path)
		for field, value := range data {
			if a, b := fixture.Canonical(f.T, map[string]any{field: got.Data[field]}), fixture.Canonical(f.T, map[string]any{field: value}); a != b {
				f.T.Errorf("%s has %s, want %s", path, a, b)
			}
		}
	}
	golden := struct {
		Client       string `json:"client"`
		RefreshCount int64  `json:"refresh_count"`
		LastError    string `json:"last_error"`
	}{}
	fixture.Must(f.T, json.Unmarshal([]byte(entries["account/golden"]), &golden))
	a := f.Read("accounts/golden")
	if a.Text("client") != golden.Client || a.Integer("refresh_count") != golden.RefreshCount || a.Text("last_error") != golden.LastError {
		f.T.Errorf("accounts/golden is %s", a.Raw)
	}
	if a := f.Read("clients/other"); a.Text("client_id") != "our-app" || a.Text("auth_method") != "client_secret_post" {
		f.T.Errorf("clients/other is %s", a.Raw)
	}
	names := map[string][]string{}
	for key := range entries {
		names[path.Dir(key)] = append(names[path.Dir(key)], path.Base(key))
	}
	for list, prefix := range map[string]string{"accounts": "account", "clients": "client"} {
		listed := f.Read(list + "?list=true").Data["keys"]
		if got := fmt.Sprint(listed); got != fmt.Sprint(slices.Sorted(slices.Values(names[prefix]))) {
			f.T.Errorf("the %s are %s, want %q", list, got, names[prefix])
		}
	}
	for _, account := range want.Works {
		var a fixture.Answer
		f.WaitFor(account+" to work", func() bool { // a doubt of another process is presented again after its time-out
			a = f.Do(http.MethodGet, "token/"+account, nil)
			return a.Status != http.StatusServiceUnavailable
		})
		a.WantStatus(http.StatusOK)
		f.WantAPIAccepts(a.Text("access_token"))
		about := f.Read("accounts/" + account)
		if about.Text("state") != "ready" {
			f.T.Errorf("%s is %s", account, about.Raw)
		}
	}
	for _, account := range want.Reauthorize {
		f.Do(http.MethodGet, "token/"+account, nil).WantError(http.StatusBadRequest, "reauthorization required")
	}
	if checked := len(want.Works) + len(want.Reauthorize); checked != len(names["account"])-1 {
		f.T.Errorf("%d of the %d accounts are to work or to need a login", checked, len(names["account"]))
	}
	f.WantPage(f.GetCallback(answerTo(f, storedState)), http.StatusOK, "connected")
	f.WantAPIAccepts(f.AccessToken("by-login"))
}

// answerTo logs in at the server for the stored login, and returns the parameters for the callback.
func answerTo(f *fixture.Fixture, state string) url.Values {
	f.T.Helper()
	challenge := sha256.Sum256([]byte(storedVerifier))
	return f.LogInUpToCallback(f.Sandbox.AuthorizeURL() + "?" + url.Values{
		"response_type": {"code"}, "client_id": {sandbox.DefaultClientID}, "redirect_uri": {f.CallbackURL()}, "scope": {"all"}, "state": {state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode())
}

// newerForm returns an entry as a newer plugin would write it: with a higher version and a new field.
func newerForm(t *testing.T, value string) string {
	t.Helper()
	var entry map[string]any
	fixture.Must(t, json.Unmarshal([]byte(value), &entry))
	if _, ok := entry["version"].(float64); !ok { // a marker without a version
		return value
	}
	entry["version"], entry["new"] = 99, "something that must not be dropped"
	text, err := json.Marshal(entry)
	fixture.Must(t, err)
	return string(text)
}

// TestEntriesOfANewerPluginAreRefusedAndKept rolls back from a newer version and uses every path. It does so once for each
// kind of entry, which is in a newer stored form.
func TestEntriesOfANewerPluginAreRefusedAndKept(t *testing.T) {
	t.Parallel()
	cluster := fixture.NewVault(t, 1)
	register(t, cluster, buildStoragePlugin(t, newerVersion))
	for _, kind := range []string{"account/", "client/", "config", "login/"} {
		mount := "pagero-" + strings.Trim(kind, "/")
		f := fixture.NewEmpty(t, cluster, mount, newerVersion, fixture.LoginConfig())
		u := newUpgrader(f, fixture.Plugin(t))
		entries := storedEntries(f, "1")
		delete(entries, "account/background") // it would be refreshed in the background
		delete(entries, "auto/background")
		for key, value := range entries {
			if strings.HasPrefix(key, kind) {
				entries[key] = newerForm(t, value)
			}
		}
		store(f, entries)
		before := storedValues(f, entries)
		// The tested version is new to this Vault, so it has to be registered, as for an upgrade.
		u.wantRunning(u.run("Upgrade", newerVersion, fixture.PluginVersion), fixture.PluginVersion)
		wantRefused(f, kind)
		if after := storedValues(f, entries); kind != "login/" && !maps.Equal(after, before) {
			t.Errorf("%s: the entries were\n%v\nand are\n%v", kind, before, after)
		}
		if n := f.Exchanges(); n != 0 {
			t.Errorf("%s: %d exchanges", kind, n)
		}
	}
}

// wantRefused asserts that every request that reads an entry of this kind fails, and that the error names the version.
func wantRefused(f *fixture.Fixture, kind string) {
	f.T.Helper()
	refuse := func(method, path string, body fixture.Fields) {
		f.T.Helper()
		f.Do(method, path, body).WantError(http.StatusInternalServerError, "version 99", "reads up to 1")
	}
	minTTL := fixture.Fields{"min_ttl": "1m"}
	switch kind {
	case "account/":
		refuse(http.MethodGet, "token/new", nil)
		refuse(http.MethodPost, "refresh/new", nil)
		refuse(http.MethodGet, "accounts/new", nil)
		refuse(http.MethodPost, "accounts/new", minTTL)
		refuse(http.MethodPost, "accounts/new", fixture.Fields{"refresh_token": f.Login("alice")})
		refuse(http.MethodPost, "authorize/new", fixture.Fields{})
		f.Read("clients/default")
	case "client/":
		refuse(http.MethodGet, "token/new", nil)
		refuse(http.MethodGet, "clients/default", nil)
		refuse(http.MethodPost, "clients/default", f.Client())
		refuse(http.MethodPost, "authorize/new", fixture.Fields{})
		f.Read("accounts/new")
		f.Read("config")
	case "config":
		refuse(http.MethodGet, "config", nil)
		refuse(http.MethodPost, "config", minTTL)
		refuse(http.MethodGet, "token/new", nil)
		refuse(http.MethodGet, "accounts/new", nil)
		refuse(http.MethodPost, "clients/default", f.Client())
	case "login/":
		page := f.GetCallback(answerTo(f, storedState))
		f.WantPage(page, http.StatusInternalServerError, "could not be looked up")
		f.Read("config")
		if n := f.PendingLogins(); n != 1 {
			f.T.Errorf("%d logins are stored, want the one that is newer", n)
		}
	}
}

// TestAnUpgradeInTheMiddleOfExchangesLosesNothing upgrades the plugin of a cluster and rolls it back, while every account
// has an exchange under way and readers read.
func TestAnUpgradeInTheMiddleOfExchangesLosesNothing(t *testing.T) {
	t.Parallel()
	const newer = "v0.9.2-acceptance"
	next, err := fixture.BuildPlugin(t.Context(), newer)
	fixture.Must(t, err)
	next.Command = fixture.PluginName + "_" + newer
	cluster := fixture.NewVault(t, 3)
	register(t, cluster, next)
	for _, c := range []struct{ heading, from, to string }{{"Upgrade", fixture.PluginVersion, newer}, {"Roll back", newer, fixture.PluginVersion}} {
		t.Run(c.heading, func(t *testing.T) {
			mount := fixture.NewEmpty(t, cluster, fixture.UniqueMount(), c.from, sandbox.Config{Faults: true})
			mount.AllowSandbox()
			f := crashfixture.New(mount, 8, 10*time.Second)
			f.WidenGate()
			u := newUpgrader(f.Fixture, next)
			u.wantVersion(c.from)
			readers, stop := context.WithCancel(f.Ctx)
			reads := readOn(readers, f)
			f.DuringExchanges(func() { u.wantRunning(u.run(c.heading, fixture.PluginVersion, newer), c.to) })
			u.wantVersion(c.to)
			stop()
			t.Logf("reads during the upgrade, by status: %v", <-reads)
			tally := f.Check()
			if want := 2 * len(f.Accounts); tally.Exchanges != want || tally.Succeeded != want || tally.MostPresentations != 1 {
				t.Errorf("there should be %d exchanges, one for each refresh token: %s", want, tally)
			}
			f.WantSaved(tally.Succeeded)

			before := f.AgreedNode()
			fixture.Must(t, before.StepDown(f.Ctx))
			f.WaitFor("another leader", func() bool { return f.AgreedNode() != before })
			f.Settle() // another node has started the version that the mount is tuned to
			u.wantVersion(c.to)
		})
	}
}

// readOn reads all tokens from all nodes until ctx ends, and returns how often each status came. Only the error that the
// plugin is being reloaded is allowed.
func readOn(ctx context.Context, f *crashfixture.Fixture) <-chan map[int]int {
	counts := make(chan map[int]int, 1)
	go func() {
		seen := map[int]int{}
		for i := 0; ctx.Err() == nil; i++ {
			a, err := f.Ask(http.MethodGet, "token/"+f.Accounts[i%len(f.Accounts)].Name)
			if err != nil {
				f.T.Errorf("a reader: %v", err)
				break
			}
			seen[a.Status]++
			if a.Status != http.StatusOK && !strings.Contains(string(a.Raw), "being stopped or reloaded") {
				f.T.Errorf("a reader got %d: %s", a.Status, a.Raw)
			}
		}
		counts <- seen
	}()
	return counts
}
