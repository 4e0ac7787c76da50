package acceptance

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// apiDocument is the part of an OpenAPI document that is of interest here.
type apiDocument struct {
	Paths      map[string]pathItem `json:"paths"`
	Components struct {
		Schemas map[string]apiSchema `json:"schemas"`
	} `json:"components"`
}

// pathItem is a path with its operations.
type pathItem struct {
	Description     string           `json:"description"`
	Parameters      []queryParameter `json:"parameters"`
	Unauthenticated bool             `json:"x-vault-unauthenticated"`
	Sudo            bool             `json:"x-vault-sudo"`
	CreateSupported bool             `json:"x-vault-createSupported"`
	Get             *operation       `json:"get"`
	Post            *operation       `json:"post"`
	Delete          *operation       `json:"delete"`
}

// queryParameter is a parameter in the path or in the query.
type queryParameter struct {
	Name        string    `json:"name"`
	In          string    `json:"in"`
	Description string    `json:"description"`
	Required    bool      `json:"required"`
	Schema      apiSchema `json:"schema"`
}

// operation is what a method does.
type operation struct {
	Summary     string                    `json:"summary"`
	Description string                    `json:"description"`
	OperationID string                    `json:"operationId"`
	Parameters  []queryParameter          `json:"parameters"`
	RequestBody *payload                  `json:"requestBody"`
	Responses   map[string]responseObject `json:"responses"`
}

// payload is the body of a request or of a response.
type payload struct {
	Content map[string]struct {
		Schema apiSchema `json:"schema"`
	} `json:"content"`
}

// responseObject is the answer of one status.
type responseObject struct {
	Description string `json:"description"`
	payload
}

// apiSchema is the type of a field, or an object of them.
type apiSchema struct {
	Ref         string               `json:"$ref"`
	Type        string               `json:"type"`
	Description string               `json:"description"`
	Enum        []any                `json:"enum"`
	Properties  map[string]apiSchema `json:"properties"`
	Display     struct {
		Sensitive bool `json:"sensitive"`
	} `json:"x-vault-displayAttrs"`
}

// openAPI returns the document of everything that this Vault has.
func (s *stage) openAPI(query string) apiDocument {
	s.t.Helper()
	sys := *s
	sys.mount = "sys"
	a := sys.do(http.MethodGet, "internal/specs/openapi"+query, nil)
	a.wantStatus(http.StatusOK)
	var d apiDocument
	must(s.t, json.Unmarshal(a.raw, &d))
	return d
}

// mountPaths returns the paths of the stage's mount, relative to it.
func (s *stage) mountPaths() map[string]pathItem {
	s.t.Helper()
	return s.openAPI("").below("/" + s.mount + "/")
}

// below returns the paths that begin so, without it.
func (d apiDocument) below(prefix string) map[string]pathItem {
	paths := map[string]pathItem{}
	for path, item := range d.Paths {
		if relative, ok := strings.CutPrefix(path, prefix); ok {
			paths[relative] = item
		}
	}
	return paths
}

// operations returns the path's operations in Vault's words: create, read, update, delete, list.
func (p pathItem) operations() map[string]*operation {
	all := map[string]*operation{"read": p.Get, "update": p.Post, "delete": p.Delete}
	if p.Get != nil && slices.ContainsFunc(p.Get.Parameters, func(q queryParameter) bool { return q.Name == "list" && q.Required }) {
		all["list"], all["read"] = p.Get, nil
	}
	if p.CreateSupported {
		all["create"] = p.Post
	}
	maps.DeleteFunc(all, func(_ string, o *operation) bool { return o == nil })
	return all
}

// inputs returns the descriptions of the fields that an operation takes, its name in the path left
// out. Vault loses the references to schemas of external plugins (hashicorp/vault#30714): they are
// found by their names.
func (d apiDocument) inputs(o *operation) map[string]apiSchema {
	in := map[string]apiSchema{}
	for _, p := range o.Parameters {
		if p.Name != "list" {
			field := p.Schema
			field.Description = p.Description
			in[p.Name] = field
		}
	}
	maps.Copy(in, d.Components.Schemas[schemaName(o.OperationID, "Request")].Properties)
	return in
}

// outputs returns the fields of an operation's answer.
func (d apiDocument) outputs(o *operation) map[string]apiSchema {
	return d.Components.Schemas[schemaName(o.OperationID, "Response")].Properties
}

// schemaName is what the SDK calls the schema of an operation: pagero-read-token becomes
// PageroReadTokenResponse.
func schemaName(operationID, suffix string) string {
	var name strings.Builder
	for word := range strings.SplitSeq(operationID, "-") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String() + suffix
}

// withoutData are the operations whose answers are no JSON, or have no data.
var withoutData = map[string]bool{
	"callback read": true, "metrics read": true, // a page, and Prometheus' text
	"accounts/{name} create": true, "accounts/{name} update": true, "accounts/{name} delete": true,
	"clients/{name} create": true, "clients/{name} update": true, "clients/{name} delete": true,
	"config update": true, "config delete": true,
}

// TestTheOpenAPIDocumentIsComplete looks at the document that a running Vault makes of the plugin.
func TestTheOpenAPIDocumentIsComplete(t *testing.T) {
	t.Parallel()
	s := newStageAt(t, newVault(t, 1), "pagero", loginConfig())
	d := s.openAPI("")
	paths := d.below("/pagero/")
	if len(paths) < 11 {
		t.Fatalf("the document has %d paths of the mount", len(paths))
	}
	ids := map[string]string{} // whose they are
	for path, item := range d.Paths {
		for op, o := range item.operations() {
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
		for op, o := range item.operations() {
			s.checkOperation(d, path+" "+op, o)
		}
	}
	if got, want := d.sensitive(paths), []string{
		"access_token", "client_secret", "code", "password", "refresh_token", "spare_refresh_token",
	}; !slices.Equal(got, want) {
		t.Errorf("marked as sensitive are %q, want %q", got, want)
	}

	// With the mount's path as a parameter, for those who generate clients, it is the same document.
	generic := s.openAPI("?generic_mount_paths=true").below("/{pagero_mount_path}/")
	if !slices.Equal(slices.Sorted(maps.Keys(generic)), slices.Sorted(maps.Keys(paths))) {
		t.Errorf("the generic paths are %q", slices.Sorted(maps.Keys(generic)))
	}
	for path, item := range generic {
		for op, o := range item.operations() {
			if other := paths[path].operations()[op]; other == nil || other.OperationID != o.OperationID {
				t.Errorf("%s of %s: %+v", op, path, o)
			}
		}
	}
}

// checkOperation asserts that an operation is documented.
func (s *stage) checkOperation(d apiDocument, name string, o *operation) {
	s.t.Helper()
	if o.Summary == "" || o.Description == "" || !strings.HasPrefix(o.OperationID, "pagero-") || o.OperationID != strings.ToLower(o.OperationID) {
		s.t.Errorf("%s: summary %q, description %q, id %q", name, o.Summary, o.Description, o.OperationID)
	}
	success := 0
	for status, r := range o.Responses {
		if r.Description == "" {
			s.t.Errorf("%s: the response %s has no description", name, status)
		}
		if status == "200" || status == "204" {
			success++
		}
	}
	if success == 0 {
		s.t.Errorf("%s: no response is a success: %v", name, o.Responses)
	}
	if got := len(d.outputs(o)) == 0; got != withoutData[name] {
		s.t.Errorf("%s: it has a schema for its answer: %v", name, !got)
	}
	if _, hasNoContent := o.Responses["204"]; withoutData[name] && !hasNoContent && len(o.Responses["200"].Content) > 0 {
		s.t.Errorf("%s: it has a content without a schema", name)
	}
	for _, fields := range []map[string]apiSchema{d.inputs(o), d.outputs(o)} {
		for field, about := range fields {
			if !strings.HasSuffix(about.Description, ".") || about.Type == "" {
				s.t.Errorf("%s: %s is a %q: %q", name, field, about.Type, about.Description)
			}
		}
	}
}

// sensitive returns the names of the fields that are marked so.
func (d apiDocument) sensitive(paths map[string]pathItem) []string {
	marked := map[string]bool{}
	for _, item := range paths {
		for _, o := range item.operations() {
			for _, fields := range []map[string]apiSchema{d.inputs(o), d.outputs(o)} {
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

// The mount's own document, which Vault does not touch, has the references, and they lead somewhere.
func TestTheReferencesOfTheMountsDocumentLeadSomewhere(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	a := s.do(http.MethodGet, "?help=1", nil)
	a.wantStatus(http.StatusOK)
	var help struct {
		OpenAPI apiDocument `json:"openapi"`
	}
	must(t, json.Unmarshal(a.raw, &help))
	d, used := help.OpenAPI, map[string]bool{}
	follow := func(where, want string, p *payload) {
		for _, content := range p.Content {
			name := strings.TrimPrefix(content.Schema.Ref, "#/components/schemas/")
			if name != want || len(d.Components.Schemas[name].Properties) == 0 {
				t.Errorf("%s refers to %q, want %q", where, content.Schema.Ref, want)
			}
			used[name] = true
		}
	}
	for path, item := range d.Paths {
		for op, o := range item.operations() {
			if o.RequestBody != nil {
				follow(path+" "+op, schemaName(o.OperationID, "Request"), o.RequestBody)
			}
			for _, r := range o.Responses {
				follow(path+" "+op, schemaName(o.OperationID, "Response"), &r.payload)
			}
		}
	}
	if len(used) < 10 || len(used) != len(d.Components.Schemas) {
		t.Errorf("%d schemas are used of %d", len(used), len(d.Components.Schemas))
	}
}
