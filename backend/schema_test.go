package backend

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/pendinglogin"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

func TestEveryOperationIsDocumented(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		verbs := map[string]logical.Operation{}
		for _, path := range m.Paths {
			if path.HelpSynopsis == "" || path.HelpDescription == "" {
				t.Errorf("%s has no help", path.Pattern)
			}
			if path.DisplayAttrs == nil || path.DisplayAttrs.OperationPrefix != "pagero" {
				t.Errorf("%s has no display attributes", path.Pattern)
			}
			for op, handler := range path.Operations {
				p := handler.Properties()
				if p.Summary == "" || p.Description == "" || len(p.Responses) == 0 || p.Deprecated {
					t.Errorf("%s of %s has no summary, description or responses", op, path.Pattern)
				}
				if p.DisplayAttrs == nil || p.DisplayAttrs.OperationPrefix != "pagero" || p.DisplayAttrs.OperationVerb == "" {
					t.Errorf("%s of %s has no display attributes", op, path.Pattern)
					continue
				}
				verb := p.DisplayAttrs.OperationVerb + "-" + p.DisplayAttrs.OperationSuffix
				other, taken := verbs[verb]
				if createOrUpdate := op == logical.CreateOperation && other == logical.UpdateOperation ||
					op == logical.UpdateOperation && other == logical.CreateOperation; taken && !createOrUpdate {
					t.Errorf("%s of %s has the verb of another: %s", op, path.Pattern, verb)
				}
				verbs[verb] = op
				for status, responses := range p.Responses {
					for _, response := range responses {
						if response.Description == "" {
							t.Errorf("%s of %s: the response %d has no description", op, path.Pattern, status)
						}
					}
				}
			}
		}
	})
}

func TestEveryFieldIsDescribed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		all := fieldsByPath(m.Paths)
		if len(all) < 60 {
			t.Errorf("there are only %d fields", len(all))
		}
		for name, field := range all {
			if field.Description == "" || !strings.HasSuffix(field.Description, ".") {
				t.Errorf("%s: %q", name, field.Description)
			}
			if field.Type == framework.TypeInvalid {
				t.Errorf("%s has no type", name)
			}
		}
		for _, path := range m.Paths {
			for name, field := range path.Fields {
				if field.DisplayAttrs == nil || field.DisplayAttrs.Name == "" {
					t.Errorf("%s: %s has no display name", path.Pattern, name)
				}
			}
		}
	})
}

func TestSecretFieldsAreMarkedAndNoOthers(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		var marked []string
		for name, field := range fieldsByPath(m.Paths) {
			if field.DisplayAttrs != nil && field.DisplayAttrs.Sensitive {
				marked = append(marked, name)
			}
		}
		slices.Sort(marked)
		want := []string{
			named("accounts/") + " password",
			named("accounts/") + " refresh_token",
			named("accounts/") + " spare_refresh_token",
			"callback$ code",
			named("clients/") + " client_secret",
			named("token/") + " read 200 access_token",
			named("token/") + " update 200 access_token",
		}
		if !slices.Equal(marked, want) {
			t.Errorf("the fields marked as sensitive are %q", marked)
		}
	})
}

// A field of a GET is in the query, which the audit log shows in clear text. A browser
// has no other way to bring a code to the callback. The code is used before anyone can
// read the log, and it is useless without the verifier.
func TestOnlyHarmlessFieldsAreQueryParameters(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		for name, field := range fieldsByPath(m.Paths) {
			_, short, _ := strings.Cut(name, " ")
			if field.Query && !slices.Contains([]string{"min_ttl", "after", "limit", "revoke"}, short) && !strings.HasPrefix(name, callbackPath) {
				t.Errorf("%s is a query parameter", name)
			}
		}
	})
}

func TestFieldDefaultsAreTheOnesThatAreUsed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		defaults := 0
		for _, path := range []string{"config", "clients/default", "accounts/acme"} {
			read := m.want(m.read(path), 200)
			for name, field := range m.Route(path).Fields {
				if field.Default != nil && name != fieldRevoke {
					m.wantData(read, fields{name: field.Default})
					defaults++
				}
			}
		}
		if defaults < 10 {
			t.Errorf("only %d fields have a default", defaults)
		}
	})
}

func TestSealWrapCoversClientsAndAccounts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("config", fields{"min_ttl": 1}), 204)
		m.want(m.read("token/acme"), 200)
		special := m.SpecialPaths()
		if !slices.Equal(special.Unauthenticated, []string{"callback"}) || len(special.Root) > 0 || len(special.LocalStorage) > 0 {
			t.Errorf("%+v", special)
		}
		for _, prefix := range special.SealWrapStorage {
			if !strings.HasSuffix(prefix, "/") { // it would name one entry, and no more
				t.Errorf("%q does not end in a slash", prefix)
			}
		}
		for _, prefix := range []string{clientPrefix, rotation.StoragePrefix, pendinglogin.StoragePrefix} {
			if !slices.Contains(special.SealWrapStorage, prefix) {
				t.Errorf("%q is not seal-wrapped", prefix)
			}
		}
		// Each entry with a secret is below one of them.
		keys, err := logical.CollectKeys(t.Context(), m.storage)
		if err != nil || len(keys) != 3 {
			t.Fatalf("%q %v", keys, err)
		}
		for _, key := range keys {
			wrapped := slices.ContainsFunc(special.SealWrapStorage, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
			if secret := strings.Contains(m.stored(key), canary); secret != wrapped {
				t.Errorf("%s holds a secret: %v; is wrapped: %v", key, secret, wrapped)
			}
		}
	})
}

func TestHelpOfEveryPathReadsWell(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		paths := []string{"config", "clients/", "clients/default", "accounts/", "accounts/acme", "token/acme", "refresh/acme", "authorize/acme", "callback", "status", "metrics"}
		if len(paths) != len(m.Paths) {
			t.Errorf("there are %d paths, not %d", len(m.Paths), len(paths))
		}
		for _, path := range paths {
			a := m.do(logical.HelpOperation, path, nil)
			help, _ := a.data["help"].(string)
			route := m.Route(path)
			for _, part := range []string{route.HelpSynopsis, strings.TrimSpace(strings.Split(strings.TrimSpace(route.HelpDescription), "\n")[0])} {
				if !strings.Contains(help, part) {
					t.Errorf("the help of %s lacks %q:\n%s", path, part, help)
				}
			}
			for field := range route.Fields {
				if !strings.Contains(help, field+" (") {
					t.Errorf("the help of %s lacks the field %s:\n%s", path, field, help)
				}
			}
		}
		a := m.do(logical.HelpOperation, "", nil)
		help, _ := a.data["help"].(string)
		for _, part := range append([]string{"Pagero secrets engine", "token/<account>"}, patterns(m)...) {
			if !strings.Contains(help, part) {
				t.Errorf("the help lacks %q:\n%s", part, help)
			}
		}
	})
}

func patterns(m *mount) []string {
	var all []string
	for _, path := range m.Paths {
		all = append(all, path.Pattern)
	}
	return all
}

func TestOpenAPIDocumentIsComplete(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		a := m.do(logical.HelpOperation, "", nil)
		doc, ok := a.data["openapi"].(*framework.OASDocument)
		if !ok {
			t.Fatalf("there is no document: %v", a.data)
		}
		ids := map[string]bool{}
		for path, item := range doc.Paths {
			for _, op := range []*framework.OASOperation{item.Get, item.Post, item.Delete} {
				if op == nil {
					continue
				}
				if op.Summary == "" || op.OperationID == "" || ids[op.OperationID] || len(op.Responses) == 0 {
					t.Errorf("%s: %+v", path, op)
				}
				ids[op.OperationID] = true
			}
		}
		want := []string{
			"pagero-authorize-account", "pagero-complete-login", "pagero-complete-with-parameters-login", "pagero-configure", "pagero-delete-account", "pagero-delete-client", "pagero-list-accounts", "pagero-list-clients",
			"pagero-read-account", "pagero-read-client", "pagero-read-configuration", "pagero-read-metrics", "pagero-read-status", "pagero-read-token", "pagero-read-with-parameters-token",
			"pagero-refresh-account", "pagero-reset-configuration", "pagero-write-account", "pagero-write-client",
		}
		if got := slices.Sorted(maps.Keys(ids)); !slices.Equal(got, want) {
			t.Errorf("the operations are %q", got)
		}
		if _, err := json.Marshal(doc); err != nil {
			t.Error(err)
		}
		if strings.Contains(m.log.String(), "error generating OpenAPI") {
			t.Error(m.log.String())
		}
	})
}
