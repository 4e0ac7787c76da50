package examples

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/openapi"
)

// The names in the table of examples/policies/README.md: a column, and the values of its cells.
const (
	roleNobody = "no token"

	cellYes  = "yes"
	cellNo   = "–"
	cellAcme = "`acme`" // only for that account
)

// attempt describes how a test tries an operation.
type attempt struct {
	method, path string
	body         fixture.Fields
	prepare      func() // as root, before the attempt
	repair       func() // as root, after an attempt that succeeded
	want         int    // the status if it is allowed; 0 means 200 or 204
}

// policyTable reads the table. It returns the roles, and the cells of each "path operation" by role.
func policyTable(t *testing.T) (roles []string, rows map[string]map[string]string) {
	t.Helper()
	rows = map[string]map[string]string{}
	for _, cells := range document.TableRows(document.Read(t, "examples/policies/README.md")) {
		switch {
		case len(cells) < 3 || strings.HasPrefix(cells[0], "--"):
		case roles == nil:
			roles = cells[2:]
		default:
			row := map[string]string{}
			for i, role := range roles {
				row[role] = cells[2+i]
			}
			rows[strings.Trim(cells[0], "`")+" "+cells[1]] = row
		}
	}
	return roles, rows
}

// asRoles returns the mount for requests as each role of the table. The token of a role has the role's file as its only
// policy.
func asRoles(f *fixture.Fixture, names []string) map[string]*fixture.Fixture {
	f.T.Helper()
	mounts := map[string]*fixture.Fixture{}
	for _, name := range names {
		if name == roleNobody {
			nobody := *f
			nobody.Token = ""
			mounts[name] = &nobody
			continue
		}
		mounts[name] = f.WithPolicy(document.Read(f.T, "examples/policies/"+name+".hcl"))
	}
	return mounts
}

// newPolicyFixture mounts the plugin at the path in the files, in its own Vault, and enrols the accounts acme and other.
func newPolicyFixture(t *testing.T) *fixture.Fixture {
	t.Helper()
	f := fixture.NewAt(t, fixture.NewVault(t, 1), "pagero", fixture.LoginConfig())
	f.Write("clients/default", f.LoginClient())
	f.FirstRefreshToken = f.Login("alice")
	f.Write("accounts/acme", fixture.Fields{"refresh_token": f.FirstRefreshToken})
	f.Write("accounts/other", fixture.Fields{"refresh_token": f.Login("bob")})
	return f
}

// attempts returns how a role tries the operations of the mount, with the account of this name.
func attempts(f *fixture.Fixture, role, name string) map[string]attempt {
	tag := strings.ReplaceAll(role, " ", "-")
	made := func(path string, body fixture.Fields) func() { return func() { f.Write(path, body) } }
	hosts := made("config", fixture.Fields{"allowed_hosts": fixture.AllowedHosts})
	stranger := fixture.Fields{"state": "made-up", "code": "made-up"}
	return map[string]attempt{
		"accounts/ list":          {method: http.MethodGet, path: "accounts?list=true"},
		"accounts/<name> create":  {method: http.MethodPost, path: "accounts/new-" + tag + "-" + name, body: fixture.Fields{"refresh_token": f.Login("carol")}},
		"accounts/<name> read":    {method: http.MethodGet, path: "accounts/" + name},
		"accounts/<name> update":  {method: http.MethodPost, path: "accounts/" + name, body: fixture.Fields{"auto_refresh": false}},
		"accounts/<name> delete":  {method: http.MethodDelete, path: "accounts/doomed", prepare: made("accounts/doomed", fixture.Fields{"refresh_token": f.Login("carol")})},
		"authorize/<name> update": {method: http.MethodPost, path: "authorize/" + name, body: fixture.Fields{"ttl": "1m"}},
		"callback read":           {method: http.MethodGet, path: "callback?state=made-up&code=made-up", want: http.StatusBadRequest},
		"callback update":         {method: http.MethodPost, path: "callback", body: stranger, want: http.StatusBadRequest},
		"clients/ list":           {method: http.MethodGet, path: "clients?list=true"},
		"clients/<name> create":   {method: http.MethodPost, path: "clients/new-" + tag + "-" + name, body: f.Client()},
		"clients/<name> read":     {method: http.MethodGet, path: "clients/default"},
		"clients/<name> update":   {method: http.MethodPost, path: "clients/default", body: fixture.Fields{"auth_method": "client_secret_basic"}},
		"clients/<name> delete":   {method: http.MethodDelete, path: "clients/doomed", prepare: made("clients/doomed", f.Client())},
		"config read":             {method: http.MethodGet, path: "config"},
		"config update":           {method: http.MethodPost, path: "config", body: fixture.Fields{"min_ttl": "3m"}},
		"config delete":           {method: http.MethodDelete, path: "config", repair: hosts},
		"metrics read":            {method: http.MethodGet, path: "metrics"},
		"refresh/<name> update":   {method: http.MethodPost, path: "refresh/" + name},
		"status read":             {method: http.MethodGet, path: "status"},
		"token/<name> read":       {method: http.MethodGet, path: "token/" + name},
		"token/<name> update":     {method: http.MethodPost, path: "token/" + name, body: fixture.Fields{"min_ttl": "4m"}},
	}
}

// TestEachRoleMayDoWhatTheTableSaysAndNothingElse tries every operation of the running plugin with the policy of every role,
// and compares the results with the table in the README.
func TestEachRoleMayDoWhatTheTableSaysAndNothingElse(t *testing.T) {
	t.Parallel()
	f := newPolicyFixture(t)
	roles, table := policyTable(t)
	for path, item := range openapi.MountPaths(f) {
		for op := range item.Operations() {
			row := strings.ReplaceAll(path, "{name}", "<name>") + " " + op
			if _, ok := table[row]; !ok {
				t.Errorf("examples/policies/README.md has no row for %s", row)
			}
			if _, ok := attempts(f, "", "acme")[row]; !ok {
				t.Errorf("this test does not know how to try %s", row)
			}
		}
	}
	for row := range table {
		path, op, _ := strings.Cut(strings.ReplaceAll(row, "<name>", "{name}"), " ")
		if item, ok := openapi.MountPaths(f)[path]; !ok || item.Operations()[op] == nil {
			t.Errorf("examples/policies/README.md has a row for %s, which the plugin does not have", row)
		}
	}
	files, err := filepath.Glob("../../examples/policies/*.hcl")
	fixture.Must(t, err)
	if len(files) != len(roles)-1 {
		t.Errorf("there are %d files for the roles %q", len(files), roles)
	}
	allowed, exchanges := map[string]int{}, f.Exchanges()
	for role, as := range asRoles(f, roles) {
		for row, cells := range table {
			for _, name := range []string{"acme", "other"} {
				granted := cells[role] == cellYes || cells[role] == cellAcme && name == "acme"
				if !granted && cells[role] != cellNo && cells[role] != cellAcme {
					t.Errorf("the cell of %s in %s is %q", role, row, cells[role])
				}
				makeAttempt(as, attempts(f, role, name)[row], fmt.Sprintf("%s: %s of %s", role, row, name), granted)
				if granted {
					allowed[role]++
				}
			}
		}
	}
	t.Logf("%d rows, %d roles; allowed: %v; %d exchanges", len(table), len(roles), allowed, f.Exchanges()-exchanges)
	if stats := f.Sandbox.Stats(); stats.Replays != 0 {
		t.Errorf("%d refresh tokens were presented again after use", stats.Replays)
	}
}

// makeAttempt makes an attempt, once, and asserts that Vault allows or refuses it.
func makeAttempt(f *fixture.Fixture, a attempt, what string, granted bool) {
	f.T.Helper()
	if a.prepare != nil {
		a.prepare()
	}
	got := f.Do(a.method, a.path, a.body)
	switch {
	case !granted:
		if got.Status != http.StatusForbidden || !slices.ContainsFunc(got.Errors, func(e string) bool { return strings.Contains(e, "permission denied") }) {
			f.T.Errorf("%s should be refused: status %d: %s", what, got.Status, got.Raw)
		}
	case a.want != 0 && got.Status != a.want, a.want == 0 && got.Status != http.StatusOK && got.Status != http.StatusNoContent:
		f.T.Errorf("%s should be allowed: status %d: %s", what, got.Status, got.Raw)
	}
	if granted && a.repair != nil {
		a.repair()
	}
}

func TestCreateAndUpdateNeedTheirOwnCapability(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	for _, c := range []struct {
		path string // of something that does not exist yet
		old  string // of something that exists
		body fixture.Fields
		also fixture.Fields // the body of an update
	}{
		{"clients/new", "clients/default", f.Client(), fixture.Fields{"auth_method": "client_secret_basic"}},
		{
			"accounts/new", "accounts/acme",
			fixture.Fields{"refresh_token": f.Login("carol")},
			fixture.Fields{"refresh_on_read": false},
		},
	} {
		rules := func(capability string) *fixture.Fixture {
			return f.WithPolicy(`path "MOUNT/` + c.path + `" { capabilities = ["` + capability + `"] }
				path "MOUNT/` + c.old + `" { capabilities = ["` + capability + `"] }`)
		}
		creator, updater := rules("create"), rules("update")

		updater.Do(http.MethodPost, c.path, c.body).WantError(http.StatusForbidden, "permission denied")
		creator.Do(http.MethodPost, c.old, c.also).WantError(http.StatusForbidden, "permission denied")
		updater.Write(c.old, c.also)
		creator.Write(c.path, c.body)
		creator.Do(http.MethodPost, c.path, c.also).WantError(http.StatusForbidden, "permission denied")
		updater.Write(c.path, c.also)
	}
}
