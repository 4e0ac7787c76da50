package docs

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/openapi"
)

// withoutData are the operations whose answers have no data or are not JSON.
var withoutData = map[string]bool{
	"callback read": true, "metrics read": true, // a page, and the text format of Prometheus
	"accounts/{name} create": true, "accounts/{name} update": true, "accounts/{name} delete": true,
	"clients/{name} create": true, "clients/{name} update": true, "clients/{name} delete": true,
	"config update": true, "config delete": true,
}

// TestTheOpenAPIDocumentIsComplete checks the document that a running Vault makes of the plugin.
func TestTheOpenAPIDocumentIsComplete(t *testing.T) {
	t.Parallel()
	f := fixture.NewAt(t, fixture.NewVault(t, 1), "pagero", fixture.LoginConfig())
	d := openapi.Read(f, "")
	paths := d.Below("/pagero/")
	if len(paths) < 11 {
		t.Fatalf("the document has %d paths of the mount", len(paths))
	}
	ids := map[string]string{} // paths by the ID of their operation
	for path, item := range d.Paths {
		for op, o := range item.Operations() {
			if op != "create" && o.OperationID != "" {
				if other := ids[o.OperationID]; other != "" && strings.Contains(path+other, "/pagero/") {
					t.Errorf("%s and %s have the id %s", other, path, o.OperationID)
				}
				ids[o.OperationID] = path
			}
		}
	}
	for path, item := range paths {
		if item.Description == "" || item.Sudo || item.Unauthenticated != (path == "callback") {
			t.Errorf("%s: %+v", path, item)
		}
		for _, p := range item.Parameters {
			if p.In == "path" && (p.Description == "" || !p.Required) {
				t.Errorf("%s: the parameter %+v", path, p)
			}
		}
		for op, o := range item.Operations() {
			checkOperation(f, d, path+" "+op, o)
		}
	}
	if got, want := sensitive(d, paths), []string{
		"access_token", "client_secret", "code", "password", "refresh_token", "spare_refresh_token",
	}; !slices.Equal(got, want) {
		t.Errorf("marked as sensitive are %q, want %q", got, want)
	}

	// With the mount's path as a parameter, which client generators need, the document is the same.
	generic := openapi.Read(f, "?generic_mount_paths=true").Below("/{pagero_mount_path}/")
	if !slices.Equal(slices.Sorted(maps.Keys(generic)), slices.Sorted(maps.Keys(paths))) {
		t.Errorf("the generic paths are %q", slices.Sorted(maps.Keys(generic)))
	}
	for path, item := range generic {
		for op, o := range item.Operations() {
			if other := paths[path].Operations()[op]; other == nil || other.OperationID != o.OperationID {
				t.Errorf("%s of %s: %+v", op, path, o)
			}
		}
	}
}

// checkOperation asserts that an operation is documented.
func checkOperation(f *fixture.Fixture, d openapi.Document, name string, o *openapi.Operation) {
	f.T.Helper()
	if o.Summary == "" || o.Description == "" || !strings.HasPrefix(o.OperationID, "pagero-") || o.OperationID != strings.ToLower(o.OperationID) {
		f.T.Errorf("%s: summary %q, description %q, id %q", name, o.Summary, o.Description, o.OperationID)
	}
	success := 0
	for status, r := range o.Responses {
		if r.Description == "" {
			f.T.Errorf("%s: the response %s has no description", name, status)
		}
		if status == "200" || status == "204" {
			success++
		}
	}
	if success == 0 {
		f.T.Errorf("%s: no response is a success: %v", name, o.Responses)
	}
	if got := len(d.Outputs(o)) == 0; got != withoutData[name] {
		f.T.Errorf("%s: it has a schema for its answer: %v", name, !got)
	}
	if _, hasNoContent := o.Responses["204"]; withoutData[name] && !hasNoContent && len(o.Responses["200"].Content) > 0 {
		f.T.Errorf("%s: it has a content without a schema", name)
	}
	for _, fields := range []map[string]openapi.Schema{d.Inputs(o), d.Outputs(o)} {
		for field, about := range fields {
			if !strings.HasSuffix(about.Description, ".") || about.Type == "" {
				f.T.Errorf("%s: %s is a %q: %q", name, field, about.Type, about.Description)
			}
		}
	}
}

// sensitive returns the names of the fields that are marked as sensitive.
func sensitive(d openapi.Document, paths map[string]openapi.Path) []string {
	marked := map[string]bool{}
	for _, item := range paths {
		for _, o := range item.Operations() {
			for _, fields := range []map[string]openapi.Schema{d.Inputs(o), d.Outputs(o)} {
				for field, about := range fields {
					if about.Display.Sensitive {
						marked[field] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(marked))
}

// Vault does not change the mount's own document. It has the references to schemas, and every schema exists and is used.
func TestTheReferencesOfTheMountsDocumentLeadSomewhere(t *testing.T) {
	t.Parallel()
	f := fixture.New(t)
	a := f.Do(http.MethodGet, "?help=1", nil)
	a.WantStatus(http.StatusOK)
	var help struct {
		OpenAPI openapi.Document `json:"openapi"`
	}
	fixture.Must(t, json.Unmarshal(a.Raw, &help))
	d, used := help.OpenAPI, map[string]bool{}
	follow := func(where, want string, p *openapi.Payload) {
		for _, content := range p.Content {
			name := strings.TrimPrefix(content.Schema.Ref, "#/components/schemas/")
			if name != want || len(d.Components.Schemas[name].Properties) == 0 {
				t.Errorf("%s refers to %q, want %q", where, content.Schema.Ref, want)
			}
			used[name] = true
		}
	}
	for path, item := range d.Paths {
		for op, o := range item.Operations() {
			if o.RequestBody != nil {
				follow(path+" "+op, openapi.SchemaName(o.OperationID, "Request"), o.RequestBody)
			}
			for _, r := range o.Responses {
				follow(path+" "+op, openapi.SchemaName(o.OperationID, "Response"), &r.Payload)
			}
		}
	}
	if len(used) < 10 || len(used) != len(d.Components.Schemas) {
		t.Errorf("%d schemas are used of %d", len(used), len(d.Components.Schemas))
	}
}
