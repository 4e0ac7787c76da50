package acceptance

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

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// expectations are what expected.json says of a folder of stored entries.
type expectations struct {
	Read        map[string]map[string]any `json:"read"`        // what reads of these paths return, among others
	Works       []string                  `json:"works"`       // accounts that can be refreshed
	Reauthorize []string                  `json:"reauthorize"` // accounts that need a login
}

// store puts entries into a mount at which the plugin runs that shows its storage.
func (s *stage) store(entries map[string]string) {
	s.t.Helper()
	for key, value := range entries {
		s.write(key, fields{"value": value})
	}
}

// TestEveryStoredFormIsReadAfterAnUpgrade walks the folders of testdata/stored. It puts the entries of
// each into a mount as an older version would have left them, upgrades the plugin in place, and uses
// everything. It rolls back and upgrades again, too.
func TestEveryStoredFormIsReadAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	versions, err := os.ReadDir(filepath.Join("testdata", "stored"))
	must(t, err)
	if len(versions) == 0 {
		t.Fatal("there are no stored entries")
	}
	older := buildStoragePlugin(t, olderVersion)
	for _, version := range versions {
		t.Run("version "+version.Name(), func(t *testing.T) {
			t.Parallel()
			cluster := newVault(t, 1)
			register(t, cluster, older)
			s := newEmptyStage(t, cluster, "pagero", olderVersion, loginConfig())
			entries := s.storedEntries(version.Name())
			s.store(entries)
			var want expectations
			content, err := os.ReadFile(filepath.Join("testdata", "stored", version.Name(), "expected.json"))
			must(t, err)
			must(t, json.Unmarshal(content, &want))
			u := newUpgrader(s, builtPlugin)

			u.wantRunning(u.run("Upgrade", olderVersion, pluginVersion), pluginVersion)
			u.wantVersion(pluginVersion)
			s.checkStored(entries, want)
			stored := s.storedValues(entries)

			u.wantRunning(u.run("Roll back", olderVersion, pluginVersion), olderVersion)
			for key, value := range stored {
				if got := s.read(key).text("value"); got != value {
					t.Errorf("%s was\n%s\nand is after the way back\n%s", key, value, got)
				}
			}
			u.wantRunning(u.run("Upgrade", olderVersion, pluginVersion), pluginVersion)
			for _, account := range want.Works {
				s.write("refresh/"+account, nil)
				s.wantAPIAccepts(s.accessToken(account))
			}
			u.run("Clean up", olderVersion, pluginVersion)
			if _, err := os.Stat(filepath.Join(s.cluster.PluginDir, pluginName+"_"+olderVersion)); !os.IsNotExist(err) {
				t.Errorf("the old binary is still there: %v", err)
			}
			if stats := s.sandbox.Stats(); stats.Replays != 0 {
				t.Errorf("%d refresh tokens were presented again after use", stats.Replays)
			}
		})
	}
}

// storedValues returns what is stored under the keys now.
func (s *stage) storedValues(entries map[string]string) map[string]string {
	s.t.Helper()
	values := map[string]string{}
	for key := range entries {
		value, err := s.node.StoredValue(s.ctx, s.mount, key)
		must(s.t, err)
		if value != "" {
			values[key] = value
		}
	}
	return values
}

// checkStored uses everything that is in the storage.
func (s *stage) checkStored(entries map[string]string, want expectations) {
	s.t.Helper()
	for path, data := range want.Read {
		got := s.read(path)
		for field, value := range data {
			if a, b := canonical(s.t, map[string]any{field: got.Data[field]}), canonical(s.t, map[string]any{field: value}); a != b {
				s.t.Errorf("%s has %s, want %s", path, a, b)
			}
		}
	}
	if a := s.read("accounts/golden"); a.text("client") != "other" || a.integer("refresh_count") != 7 || a.text("last_error") != "message" {
		s.t.Errorf("accounts/golden is %s", a.raw)
	}
	if a := s.read("clients/other"); a.text("client_id") != "our-app" || a.text("auth_method") != "client_secret_post" {
		s.t.Errorf("clients/other is %s", a.raw)
	}
	names := map[string][]string{}
	for key := range entries {
		names[path.Dir(key)] = append(names[path.Dir(key)], path.Base(key))
	}
	for list, prefix := range map[string]string{"accounts": "account", "clients": "client"} {
		listed := s.read(list + "?list=true").Data["keys"]
		if got := fmt.Sprint(listed); got != fmt.Sprint(slices.Sorted(slices.Values(names[prefix]))) {
			s.t.Errorf("the %s are %s, want %q", list, got, names[prefix])
		}
	}
	for _, account := range want.Works {
		a := s.do(http.MethodGet, "token/"+account, nil)
		if a.status != http.StatusOK {
			s.t.Errorf("%s: status %d: %s", account, a.status, a.raw)
			continue
		}
		s.wantAPIAccepts(a.text("access_token"))
		about := s.read("accounts/" + account)
		if about.text("state") != "ready" {
			s.t.Errorf("%s is %s", account, about.raw)
		}
	}
	for _, account := range want.Reauthorize {
		s.do(http.MethodGet, "token/"+account, nil).wantError(http.StatusBadRequest, "reauthorization required")
	}
	if checked := len(want.Works) + len(want.Reauthorize); checked != len(names["account"])-1 {
		s.t.Errorf("%d of the %d accounts are to work or to need a login", checked, len(names["account"]))
	}
	s.wantPage(s.comeBack(s.answerTo(storedState)), http.StatusOK, "connected")
	s.wantAPIAccepts(s.accessToken("by-login"))
}

// answerTo logs in at the server for the login in the folders, and returns what the browser brings.
func (s *stage) answerTo(state string) url.Values {
	s.t.Helper()
	challenge := sha256.Sum256([]byte(storedVerifier))
	return s.logInUpToTheCallback(s.sandbox.AuthorizeURL() + "?" + url.Values{
		"response_type": {"code"}, "client_id": {sandbox.DefaultClientID}, "redirect_uri": {s.callbackURL()}, "scope": {"all"}, "state": {state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode())
}

// newerForm is an entry as a newer plugin would write it: what is known has another shape, and there
// is something new.
func newerForm(t *testing.T, value string) string {
	t.Helper()
	var entry map[string]any
	must(t, json.Unmarshal([]byte(value), &entry))
	if _, ok := entry["version"].(float64); !ok { // a mark
		return value
	}
	entry["version"], entry["new"] = 99, "something that must not be dropped"
	text, err := json.Marshal(entry)
	must(t, err)
	return string(text)
}

// TestEntriesOfANewerPluginAreRefusedAndKept rolls back from a newer version, once with each kind of
// entry in a newer stored form, and uses every path.
func TestEntriesOfANewerPluginAreRefusedAndKept(t *testing.T) {
	t.Parallel()
	cluster := newVault(t, 1)
	register(t, cluster, buildStoragePlugin(t, newerVersion))
	for _, kind := range []string{"account/", "client/", "config", "login/"} {
		mount := "pagero-" + strings.Trim(kind, "/")
		s := newEmptyStage(t, cluster, mount, newerVersion, loginConfig())
		u := newUpgrader(s, builtPlugin)
		entries := s.storedEntries("1")
		delete(entries, "account/background") // it would be refreshed meanwhile
		delete(entries, "auto/background")
		for key, value := range entries {
			if strings.HasPrefix(key, kind) {
				entries[key] = newerForm(t, value)
			}
		}
		s.store(entries)
		before := s.storedValues(entries)
		// The version of today has never been here: it has to be registered, as for an upgrade.
		u.wantRunning(u.run("Upgrade", newerVersion, pluginVersion), pluginVersion)
		s.wantRefused(kind)
		if after := s.storedValues(entries); kind != "login/" && !maps.Equal(after, before) {
			t.Errorf("%s: the entries were\n%v\nand are\n%v", kind, before, after)
		}
		if n := s.exchanges(); n != 0 {
			t.Errorf("%s: %d exchanges", kind, n)
		}
	}
}

// wantRefused asserts that what meets an entry of the kind says so, with the entry's version.
func (s *stage) wantRefused(kind string) {
	s.t.Helper()
	refuse := func(method, path string, body fields) {
		s.t.Helper()
		s.do(method, path, body).wantError(http.StatusInternalServerError, "version 99", "reads up to 1")
	}
	minTTL := fields{"min_ttl": "1m"}
	switch kind {
	case "account/":
		refuse(http.MethodGet, "token/new", nil)
		refuse(http.MethodPost, "refresh/new", nil)
		refuse(http.MethodGet, "accounts/new", nil)
		refuse(http.MethodPost, "accounts/new", minTTL)
		refuse(http.MethodPost, "accounts/new", fields{"refresh_token": s.login("alice")})
		refuse(http.MethodPost, "authorize/new", fields{})
		s.read("clients/default")
	case "client/":
		refuse(http.MethodGet, "token/new", nil)
		refuse(http.MethodGet, "clients/default", nil)
		refuse(http.MethodPost, "clients/default", s.client())
		refuse(http.MethodPost, "authorize/new", fields{})
		s.read("accounts/new")
		s.read("config")
	case "config":
		refuse(http.MethodGet, "config", nil)
		refuse(http.MethodPost, "config", minTTL)
		refuse(http.MethodGet, "token/new", nil)
		refuse(http.MethodGet, "accounts/new", nil)
		refuse(http.MethodPost, "clients/default", s.client())
	case "login/":
		page := s.comeBack(s.answerTo(storedState))
		s.wantPage(page, http.StatusInternalServerError, "version 99")
		s.read("config")
		if n := s.pendingLogins(); n != 1 {
			s.t.Errorf("%d logins are stored, want the one that is newer", n)
		}
	}
}

// TestAnUpgradeInTheMiddleOfExchangesLosesNothing upgrades the plugin of a cluster, and rolls it back,
// while every account has an exchange under way and readers read.
func TestAnUpgradeInTheMiddleOfExchangesLosesNothing(t *testing.T) {
	t.Parallel()
	const newer = "v0.9.2-acceptance"
	next, err := harness.PageroPlugin(t.Context(), t.TempDir(), newer)
	must(t, err)
	next.Command = pluginName + "_" + newer
	cluster := newVault(t, 3)
	register(t, cluster, next)
	for _, c := range []struct{ heading, from, to string }{{"Upgrade", pluginVersion, newer}, {"Roll back", newer, pluginVersion}} {
		t.Run(c.heading, func(t *testing.T) {
			s := newEmptyStage(t, cluster, fmt.Sprintf("pagero%d", mounts.Add(1)), c.from, sandbox.Config{Faults: true})
			s.allowSandbox()
			f := newFleet(s, 8, 10*time.Second)
			u := newUpgrader(f.stage, next)
			u.wantVersion(c.from)
			readers, stop := context.WithCancel(f.ctx)
			reads := f.readOn(readers)
			f.midExchange(func() { u.wantRunning(u.run(c.heading, pluginVersion, newer), c.to) })
			u.wantVersion(c.to)
			stop()
			t.Logf("reads meanwhile: %v", <-reads)
			tally := f.check()
			if want := 2 * len(f.members); tally.exchanges != want || tally.succeeded != want || tally.most != 1 {
				t.Errorf("there should be %d exchanges, one for each refresh token: %s", want, tally)
			}
			f.wantSaved(tally.succeeded)

			before := f.agree()
			must(t, before.StepDown(f.ctx))
			f.waitFor("another leader", func() bool { return f.agree() != before })
			f.settle() // another node has started what the mount is tuned to
			u.wantVersion(c.to)
		})
	}
}

// readOn reads all tokens again and again, on every node, until ctx ends, and returns how often each
// status came. A reader can be told that the plugin is being reloaded; what else is not 200 is an error.
func (f *fleet) readOn(ctx context.Context) <-chan map[int]int {
	counts := make(chan map[int]int, 1)
	go func() {
		seen := map[int]int{}
		for i := 0; ctx.Err() == nil; i++ {
			a, err := f.ask(http.MethodGet, "token/"+f.members[i%len(f.members)].name)
			if err != nil {
				f.t.Errorf("a reader: %v", err)
				break
			}
			seen[a.status]++
			if a.status != http.StatusOK && !strings.Contains(string(a.raw), "being stopped or reloaded") {
				f.t.Errorf("a reader got %d: %s", a.status, a.raw)
			}
		}
		counts <- seen
	}()
	return counts
}
