// Package openapi reads the OpenAPI document that a running Vault makes of the plugin.
package openapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

// Document is the part of an OpenAPI document that the tests use.
type Document struct {
	Paths      map[string]Path `json:"paths"`
	Components struct {
		Schemas map[string]Schema `json:"schemas"`
	} `json:"components"`
}

// Path is a path with its operations.
type Path struct {
	Description     string      `json:"description"`
	Parameters      []Parameter `json:"parameters"`
	Unauthenticated bool        `json:"x-vault-unauthenticated"`
	Sudo            bool        `json:"x-vault-sudo"`
	CreateSupported bool        `json:"x-vault-createSupported"`
	Get             *Operation  `json:"get"`
	Post            *Operation  `json:"post"`
	Delete          *Operation  `json:"delete"`
}

// Parameter is a parameter in the path or in the query.
type Parameter struct {
	Name        string `json:"name"`
	In          string `json:"in"`
	Description string `json:"description"`
	Required    bool   `json:"required"`
	Schema      Schema `json:"schema"`
}

// Operation is an operation of a path.
type Operation struct {
	Summary     string              `json:"summary"`
	Description string              `json:"description"`
	OperationID string              `json:"operationId"`
	Parameters  []Parameter         `json:"parameters"`
	RequestBody *Payload            `json:"requestBody"`
	Responses   map[string]Response `json:"responses"`
}

// Payload is the body of a request or of a response.
type Payload struct {
	Content map[string]struct {
		Schema Schema `json:"schema"`
	} `json:"content"`
}

// Response is the response with one status.
type Response struct {
	Description string `json:"description"`
	Payload
}

// Schema is the type of a field, or an object with fields.
type Schema struct {
	Ref         string            `json:"$ref"`
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Enum        []any             `json:"enum"`
	Properties  map[string]Schema `json:"properties"`
	Display     struct {
		Sensitive bool `json:"sensitive"`
	} `json:"x-vault-displayAttrs"`
}

// Read returns the document of all paths of the fixture's Vault.
func Read(f *fixture.Fixture, query string) Document {
	f.T.Helper()
	sys := *f
	sys.Mount = "sys"
	a := sys.Do(http.MethodGet, "internal/specs/openapi"+query, nil)
	a.WantStatus(http.StatusOK)
	var d Document
	fixture.Must(f.T, json.Unmarshal(a.Raw, &d))
	return d
}

// MountPaths returns the paths of the fixture's mount, relative to it.
func MountPaths(f *fixture.Fixture) map[string]Path {
	f.T.Helper()
	return Read(f, "").Below("/" + f.Mount + "/")
}

// Below returns the paths that begin with prefix, without the prefix.
func (d Document) Below(prefix string) map[string]Path {
	paths := map[string]Path{}
	for path, item := range d.Paths {
		if relative, ok := strings.CutPrefix(path, prefix); ok {
			paths[relative] = item
		}
	}
	return paths
}

// Operations returns the path's operations in Vault's words: create, read, update, delete, list.
func (p Path) Operations() map[string]*Operation {
	all := map[string]*Operation{"read": p.Get, "update": p.Post, "delete": p.Delete}
	if p.Get != nil && slices.ContainsFunc(p.Get.Parameters, func(q Parameter) bool { return q.Name == "list" && q.Required }) {
		all["list"], all["read"] = p.Get, nil
	}
	if p.CreateSupported {
		all["create"] = p.Post
	}
	maps.DeleteFunc(all, func(_ string, o *Operation) bool { return o == nil })
	return all
}

// Inputs returns the fields that an operation takes, except for the name in its path. Vault drops the references to
// schemas of external plugins (hashicorp/vault#30714), so Inputs finds the schemas by their names.
func (d Document) Inputs(o *Operation) map[string]Schema {
	in := map[string]Schema{}
	for _, p := range o.Parameters {
		if p.Name != "list" {
			field := p.Schema
			field.Description = p.Description
			in[p.Name] = field
		}
	}
	maps.Copy(in, d.Components.Schemas[SchemaName(o.OperationID, "Request")].Properties)
	return in
}

// Outputs returns the fields of an operation's response.
func (d Document) Outputs(o *Operation) map[string]Schema {
	return d.Components.Schemas[SchemaName(o.OperationID, "Response")].Properties
}

// SchemaName returns the SDK's name for the schema of an operation: pagero-read-token becomes PageroReadTokenResponse.
func SchemaName(operationID, suffix string) string {
	var name strings.Builder
	for word := range strings.SplitSeq(operationID, "-") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String() + suffix
}
