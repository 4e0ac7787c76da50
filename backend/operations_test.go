package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// operationTest is one operation of one path, for the rules that hold for all of
// them.
type operationTest struct {
	name   string
	op     logical.Operation
	path   string
	data   fields
	status int
	uses   []fault // its use of the storage if nothing is in memory
}

var operations = []operationTest{
	{"config read", logical.ReadOperation, "config", nil, 200, []fault{{verb: get, key: "config"}}},
	{"config update", logical.UpdateOperation, "config", fields{"min_ttl": "3m"}, 204, []fault{{verb: get, key: "config"}, {verb: put, key: "config"}}},
	{"config delete", logical.DeleteOperation, "config", nil, 204, []fault{{verb: remove, key: "config"}}},

	{"clients list", logical.ListOperation, "clients/", nil, 200, []fault{{verb: list, key: "client/"}}},
	{"client read", logical.ReadOperation, "clients/default", nil, 200, []fault{{verb: get, key: "client/"}}},
	{"client create", logical.CreateOperation, "clients/new", minimalClient, 204, []fault{
		{verb: get, key: "config"}, {verb: get, key: "client/"}, {verb: put, key: "client/"},
	}},
	{"client update", logical.UpdateOperation, "clients/default", fields{"scopes": "one"}, 204, []fault{
		{verb: get, key: "config"}, {verb: get, key: "client/"}, {verb: put, key: "client/"},
	}},
	{"client delete", logical.DeleteOperation, "clients/default", nil, 204, []fault{{verb: remove, key: "client/"}}},

	{"accounts list", logical.ListOperation, "accounts/", nil, 200, []fault{{verb: list, key: "account/"}}},
	{"account read", logical.ReadOperation, "accounts/acme", nil, 200, []fault{{verb: get, key: "account/"}, {verb: get, key: "config"}}},
	{"account create", logical.CreateOperation, "accounts/new", fields{"refresh_token": secondToken}, 204, []fault{
		{verb: get, key: "config"}, {verb: get, key: "account/"}, {verb: get, key: "client/"}, {verb: put, key: "account/"},
	}},
	{"account update", logical.UpdateOperation, "accounts/acme", fields{"min_ttl": "1m"}, 204, []fault{
		{verb: get, key: "config"}, {verb: get, key: "account/"}, {verb: put, key: "account/"},
	}},
	{"account delete", logical.DeleteOperation, "accounts/acme", fields{"revoke": false}, 204, []fault{
		{verb: get, key: "config"}, {verb: list, key: "login/"}, {verb: remove, key: "account/"},
	}},

	{"token read", logical.ReadOperation, "token/acme", nil, 200, tokenUses},
	{"token update", logical.UpdateOperation, "token/acme", fields{"min_ttl": "3m"}, 200, tokenUses},
	{"refresh", logical.UpdateOperation, "refresh/acme", nil, 200, tokenUses},

	{"status", logical.ReadOperation, "status", nil, 200, nil},
	{"metrics", logical.ReadOperation, "metrics", nil, 200, nil},

	{"authorize", logical.UpdateOperation, "authorize/acme", fields{"ttl": "1h"}, 200, []fault{
		{verb: get, key: "account/"}, {verb: get, key: "client/"}, {verb: get, key: "config"}, {verb: put, key: "login/"},
	}},
}

var tokenUses = []fault{{verb: get, key: "config"}, {verb: get, key: "account/"}, {verb: get, key: "client/"}, {verb: put, key: "account/"}}

func (o operationTest) writes() bool {
	return slices.ContainsFunc(o.uses, func(f fault) bool { return f.verb == put || f.verb == remove })
}

// exchanges reports whether the operation may run the refresh grant.
func (o operationTest) exchanges() bool {
	return strings.HasPrefix(o.path, "token/") || strings.HasPrefix(o.path, "refresh/")
}

// prepare sets up what the operations work on, with nothing in memory.
func (o operationTest) prepare(m *mount) {
	m.t.Helper()
	m.enrol()
	m.want(m.write("config", fields{"exchange_timeout": "20s"}), 204)
	m.want(m.write("clients/default", fields{"redirect_uris": redirectURI}), 204)
	m.restart()
}

func (o operationTest) do(m *mount) answer {
	m.t.Helper()
	return m.do(o.op, o.path, o.data)
}

// view is all that can be read of the mount: by this process, which must agree
// with what a new one reads. Nothing is in memory afterwards.
func (m *mount) view() string {
	m.t.Helper()
	look := func() string {
		answers := []answer{m.read("config"), m.list("clients/", nil), m.list("accounts/", nil)}
		for _, name := range []string{"default", "new"} {
			answers = append(answers, m.read("clients/"+name))
		}
		for _, name := range []string{"acme", "new"} {
			answers = append(answers, m.read("accounts/"+name))
		}
		var b strings.Builder
		for _, a := range answers {
			data, err := json.Marshal(a.data)
			if err != nil {
				m.t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s: %d %s %s\n", a.path, a.status, data, a.warnings)
		}
		return b.String()
	}
	here := look()
	m.restart()
	if fresh := look(); fresh != here {
		m.t.Errorf("memory has\n%s\nand the storage\n%s", here, fresh)
	}
	m.restart()
	return here
}

func TestTheTableOfOperationsIsComplete(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		// The callback has no fields that it refuses and no Vault token: path_callback_test.go and path_callback_refusal_test.go.
		tested := map[string]bool{m.Route(callbackPath).Pattern + "read": true, m.Route(callbackPath).Pattern + "update": true}
		for _, o := range operations {
			tested[m.Route(o.path).Pattern+string(o.op)] = true
		}
		for _, path := range m.Paths {
			for op := range path.Operations {
				if !tested[path.Pattern+string(op)] {
					t.Errorf("%s of %s is missing", op, path.Pattern)
				}
			}
		}
	})
}

func TestEveryOperationAnswersAsDocumented(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, m *mount) {
				op.prepare(m)
				m.wantNoWarning(m.want(op.do(m), op.status)) // the harness holds it against the schema
			})
		})
	}
}

func TestEveryOperationRefusesUnknownFields(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		if op.name == "token read" {
			continue // it ignores them, with a warning
		}
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				op.prepare(m)
				before := m.view()
				m.want(m.do(op.op, op.path, with(op.data, fields{"surprise": canary})), 400, `unknown field "surprise"`)
				m.want(m.do(op.op, op.path, with(op.data, fields{"surprise": nil})), 400, `unknown field "surprise"`)
				if m.view() != before {
					t.Error("the mount has changed")
				}
				m.wantPosts(0)
			})
		})
	}
}

func TestEveryOperationUsesTheStorageAsTheTableSays(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for _, v := range []verb{get, put, remove, list} {
				inBubble(t, func(t *testing.T, m *mount) {
					op.prepare(m)
					m.storage.fail(fault{verb: v})
					failed := op.do(m).status == http.StatusInternalServerError
					if used := slices.ContainsFunc(op.uses, func(f fault) bool { return f.verb == v }); failed != used {
						t.Errorf("with %s failing, it fails: %v", v, failed)
					}
					m.storage.heal()
				})
			}
		})
	}
}

// If any part of the storage fails, with or without an effect, the answer is a 500 and
// nothing is sent. Nothing is missing once the storage works again.
func TestEveryOperationSurvivesAFailingStorage(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		for _, f := range op.uses {
			for _, after := range []bool{false, true} {
				f := f
				f.after = after
				t.Run(op.name+"/"+f.String(), func(t *testing.T) {
					t.Parallel()
					inBubble(t, func(t *testing.T, m *mount) {
						op.prepare(m)
						before, done := m.view(), viewAfter(t, op)
						m.storage.fail(f)
						a := m.want(op.do(m), 500, errStorage.Error())
						if name, ok := strings.CutSuffix(op.path, "/acme"); ok && !strings.Contains(a.text, `"acme"`) {
							t.Errorf("the error of %s does not name the account: %s", name, a)
						}
						m.wantPosts(0)
						m.storage.heal()
						if !op.exchanges() {
							want := before
							if after && f.verb != get && f.verb != list {
								want = done
							}
							if got := m.view(); got != want {
								t.Errorf("the mount is\n%s\nnot\n%s", got, want)
							}
						}
						m.pass(minute)
						m.wantAllThere(op, after && f.verb == remove)
					})
				})
			}
		}
	}
}

// viewAfter is what the mount looks like after the operation went well.
func viewAfter(t *testing.T, op operationTest) string {
	t.Helper()
	m := newMount(t)
	op.prepare(m)
	op.do(m)
	return m.view()
}

// wantAllThere wants the account to work, unless it is the one thing that was
// deleted.
func (m *mount) wantAllThere(op operationTest, deleted bool) {
	m.t.Helper()
	switch {
	case deleted && op.path == "accounts/acme":
		m.want(m.read("token/acme"), 404)
		return
	case deleted && op.path == "clients/default":
		m.want(m.read("token/acme"), 404, "client")
		m.want(m.write("clients/default", minimalClient), 204)
	}
	m.want(m.read("token/acme"), 200)
	if p := m.wantPosts(1)[0]; p.token != firstToken {
		m.t.Errorf("the exchange was made with %s", p.token)
	}
	m.restart()
	m.want(m.read("token/acme"), 200)
	m.wantPosts(0)
}

func TestExistenceChecksFailWithTheStorage(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.restart()
		for _, path := range []string{"clients/default", "accounts/acme"} {
			m.storage.fail(fault{verb: get})
			req := &logical.Request{Operation: logical.CreateOperation, Path: path}
			if _, exists, err := m.HandleExistenceCheck(t.Context(), req); err == nil {
				t.Errorf("%s exists is %v though nobody knows", path, exists)
			}
			m.storage.heal()
			if _, exists, err := m.HandleExistenceCheck(t.Context(), req); err != nil || !exists {
				t.Errorf("%s exists is %v: %v", path, exists, err)
			}
		}
	})
}

// Vault hides the error of an existence check. An entry of a newer plugin therefore
// exists: the write that follows returns the error.
func TestEntriesThatCannotBeReadExist(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		for _, entry := range []string{`{"version":99}`, `{"version":"x"}`, `not JSON`} {
			for key, path := range map[string]string{"client/default": "clients/default", "account/acme": "accounts/acme"} {
				if err := m.storage.Put(t.Context(), entryOf(key, entry)); err != nil {
					t.Fatal(err)
				}
				req := &logical.Request{Operation: logical.CreateOperation, Path: path}
				if _, exists, err := m.HandleExistenceCheck(t.Context(), req); err != nil || !exists {
					t.Errorf("%s with %s exists is %v: %v", path, entry, exists, err)
				}
			}
		}
	})
}

func TestOnlyPathsThatCreateHaveAnExistenceCheck(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		for _, path := range m.Paths {
			_, creates := path.Operations[logical.CreateOperation]
			if (path.ExistenceCheck != nil) != creates {
				t.Errorf("%s: create is %v, an existence check %v", path.Pattern, creates, path.ExistenceCheck != nil)
			}
		}
	})
}

// fieldsByPath lists all fields of all paths, for the tests of schemas.
func fieldsByPath(paths []*framework.Path) map[string]*framework.FieldSchema {
	all := map[string]*framework.FieldSchema{}
	for _, path := range paths {
		for name, field := range path.Fields {
			all[path.Pattern+" "+name] = field
		}
		for op, handler := range path.Operations {
			for status, responses := range handler.Properties().Responses {
				for _, response := range responses {
					for name, field := range response.Fields {
						all[fmt.Sprintf("%s %s %d %s", path.Pattern, op, status, name)] = field
					}
				}
			}
		}
	}
	return all
}
