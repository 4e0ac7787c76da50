package acceptance

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The table in examples/policies/README.md: its columns behind path and operation, and its cells.
const (
	roleNobody = "no token"

	cellYes  = "yes"
	cellNo   = "–"
	cellAcme = "`acme`" // for that account only
)

// attempt is how an operation is tried.
type attempt struct {
	method, path string
	body         fields
	prepare      func() // by root, before it is tried
	repair       func() // by root, where it went well
	want         int    // the status where it is allowed; 0: 200 or 204
}

// policyTable reads the table: the roles, and for "path operation" the cells by role.
func policyTable(t *testing.T) (roles []string, rows map[string]map[string]string) {
	t.Helper()
	rows = map[string]map[string]string{}
	for _, cells := range tableRows(repoFile(t, "examples/policies/README.md")) {
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

// tableRows returns the rows of the Markdown tables in a text, headings included.
func tableRows(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// roles gives the stage for each role of the table: with a token that has the role's file as its
// only policy, or with none.
func (s *stage) roles(names []string) map[string]*stage {
	s.t.Helper()
	stages := map[string]*stage{}
	for _, name := range names {
		if name == roleNobody {
			nobody := *s
			nobody.token = ""
			stages[name] = &nobody
			continue
		}
		stages[name] = s.as(repoFile(s.t, "examples/policies/"+name+".hcl"))
	}
	return stages
}

// newPolicyStage is a stage whose mount has the path that the files name, with the accounts acme and
// other.
func newPolicyStage(t *testing.T) *stage {
	t.Helper()
	s := newStageAt(t, newVault(t, 1), "pagero", loginConfig())
	s.write("clients/default", s.loginClient())
	s.first = s.login("alice")
	s.write("accounts/acme", fields{"refresh_token": s.first})
	s.write("accounts/other", fields{"refresh_token": s.login("bob")})
	return s
}

// attempts says how the operations of the mount are tried by a role, at the account of that name.
func (s *stage) attempts(role, name string) map[string]attempt {
	tag := strings.ReplaceAll(role, " ", "-")
	made := func(path string, body fields) func() { return func() { s.write(path, body) } }
	hosts := made("config", fields{"allowed_hosts": allowedHosts})
	stranger := fields{"state": "made-up", "code": "made-up"}
	return map[string]attempt{
		"accounts/ list":          {method: http.MethodGet, path: "accounts?list=true"},
		"accounts/<name> create":  {method: http.MethodPost, path: "accounts/new-" + tag + "-" + name, body: fields{"refresh_token": s.login("carol")}},
		"accounts/<name> read":    {method: http.MethodGet, path: "accounts/" + name},
		"accounts/<name> update":  {method: http.MethodPost, path: "accounts/" + name, body: fields{"auto_refresh": false}},
		"accounts/<name> delete":  {method: http.MethodDelete, path: "accounts/doomed", prepare: made("accounts/doomed", fields{"refresh_token": s.login("carol")})},
		"authorize/<name> update": {method: http.MethodPost, path: "authorize/" + name, body: fields{"ttl": "1m"}},
		"callback read":           {method: http.MethodGet, path: "callback?state=made-up&code=made-up", want: http.StatusBadRequest},
		"callback update":         {method: http.MethodPost, path: "callback", body: stranger, want: http.StatusBadRequest},
		"clients/ list":           {method: http.MethodGet, path: "clients?list=true"},
		"clients/<name> create":   {method: http.MethodPost, path: "clients/new-" + tag + "-" + name, body: s.client()},
		"clients/<name> read":     {method: http.MethodGet, path: "clients/default"},
		"clients/<name> update":   {method: http.MethodPost, path: "clients/default", body: fields{"auth_method": "client_secret_basic"}},
		"clients/<name> delete":   {method: http.MethodDelete, path: "clients/doomed", prepare: made("clients/doomed", s.client())},
		"config read":             {method: http.MethodGet, path: "config"},
		"config update":           {method: http.MethodPost, path: "config", body: fields{"min_ttl": "3m"}},
		"config delete":           {method: http.MethodDelete, path: "config", repair: hosts},
		"metrics read":            {method: http.MethodGet, path: "metrics"},
		"refresh/<name> update":   {method: http.MethodPost, path: "refresh/" + name},
		"status read":             {method: http.MethodGet, path: "status"},
		"token/<name> read":       {method: http.MethodGet, path: "token/" + name},
		"token/<name> update":     {method: http.MethodPost, path: "token/" + name, body: fields{"min_ttl": "4m"}},
	}
}

// TestEachRoleMayDoWhatTheTableSaysAndNothingElse tries every operation that the running plugin has
// with the policy of every role, and holds what comes of it against the table in the README.
func TestEachRoleMayDoWhatTheTableSaysAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newPolicyStage(t)
	roles, table := policyTable(t)
	for path, item := range s.mountPaths() {
		for op := range item.operations() {
			row := strings.ReplaceAll(path, "{name}", "<name>") + " " + op
			if _, ok := table[row]; !ok {
				t.Errorf("examples/policies/README.md has no row for %s", row)
			}
			if _, ok := s.attempts("", "acme")[row]; !ok {
				t.Errorf("this test does not know how to try %s", row)
			}
		}
	}
	for row := range table {
		path, op, _ := strings.Cut(strings.ReplaceAll(row, "<name>", "{name}"), " ")
		if item, ok := s.mountPaths()[path]; !ok || item.operations()[op] == nil {
			t.Errorf("examples/policies/README.md has a row for %s, which the plugin does not have", row)
		}
	}
	files, err := filepath.Glob("../examples/policies/*.hcl")
	must(t, err)
	if len(files) != len(roles)-1 {
		t.Errorf("there are %d files for the roles %q", len(files), roles)
	}
	allowed, exchanges := map[string]int{}, s.exchanges()
	for role, as := range s.roles(roles) {
		for row, cells := range table {
			for _, name := range []string{"acme", "other"} {
				granted := cells[role] == cellYes || cells[role] == cellAcme && name == "acme"
				if !granted && cells[role] != cellNo && cells[role] != cellAcme {
					t.Errorf("the cell of %s in %s is %q", role, row, cells[role])
				}
				as.attempt(s.attempts(role, name)[row], fmt.Sprintf("%s: %s of %s", role, row, name), granted)
				if granted {
					allowed[role]++
				}
			}
		}
	}
	t.Logf("%d rows, %d roles; allowed: %v; %d exchanges", len(table), len(roles), allowed, s.exchanges()-exchanges)
	if stats := s.sandbox.Stats(); stats.Replays != 0 {
		t.Errorf("%d refresh tokens were presented again after use", stats.Replays)
	}
}

// attempt makes an attempt, once, and asserts that Vault lets it through or refuses it.
func (s *stage) attempt(a attempt, what string, granted bool) {
	s.t.Helper()
	if a.prepare != nil {
		a.prepare()
	}
	got := s.do(a.method, a.path, a.body)
	switch {
	case !granted:
		if got.status != http.StatusForbidden || !slices.ContainsFunc(got.Errors, func(e string) bool { return strings.Contains(e, "permission denied") }) {
			s.t.Errorf("%s should be refused: status %d: %s", what, got.status, got.raw)
		}
	case a.want != 0 && got.status != a.want, a.want == 0 && got.status != http.StatusOK && got.status != http.StatusNoContent:
		s.t.Errorf("%s should be allowed: status %d: %s", what, got.status, got.raw)
	}
	if granted && a.repair != nil {
		a.repair()
	}
}

func TestCreateAndUpdateAreToldApart(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	for _, c := range []struct {
		path string // of things that do not exist yet, one for each policy
		old  string // of one that exists
		body fields
		also fields // for an update of old
	}{
		{"clients/new", "clients/default", s.client(), fields{"auth_method": "client_secret_basic"}},
		{
			"accounts/new", "accounts/acme",
			fields{"refresh_token": s.login("carol")},
			fields{"refresh_on_read": false},
		},
	} {
		rules := func(capability string) *stage {
			return s.as(`path "MOUNT/` + c.path + `" { capabilities = ["` + capability + `"] }
				path "MOUNT/` + c.old + `" { capabilities = ["` + capability + `"] }`)
		}
		creator, updater := rules("create"), rules("update")

		updater.do(http.MethodPost, c.path, c.body).wantError(http.StatusForbidden, "permission denied")
		creator.do(http.MethodPost, c.old, c.also).wantError(http.StatusForbidden, "permission denied")
		updater.write(c.old, c.also)
		creator.write(c.path, c.body)
		creator.do(http.MethodPost, c.path, c.also).wantError(http.StatusForbidden, "permission denied")
		updater.write(c.path, c.also)
	}
}
