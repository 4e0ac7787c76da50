package backend

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// handler handles an operation. respond turns its error into a response.
type handler func(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error)

// operation is a handler with its documentation. responses has each possible status
// below 300.
type operation struct {
	handler     handler
	summary     string
	description string
	verb        string
	suffix      string
	responses   map[int][]framework.Response
	// ignoreUnknown allows unknown parameters from a browser. RFC 6749, section 4.1.2,
	// wants them ignored.
	ignoreUnknown bool
}

// build returns the operation for the framework. It adds what all operations share:
// unknown fields are refused, and errors become responses.
func (o operation) build() framework.OperationHandler {
	return &framework.PathOperation{
		Callback: func(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
			if err := refuseUnknown(data); err != nil && !o.ignoreUnknown {
				return respond(err)
			}
			resp, err := o.handler(ctx, req, data)
			if err != nil {
				return respond(err)
			}
			return resp, nil
		},
		Summary:     o.summary,
		Description: o.description,
		Responses:   o.responses,
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationVerb:   o.verb,
			OperationSuffix: o.suffix,
		},
	}
}

// refuseUnknown refuses a request with a field that its path does not have.
func refuseUnknown(data *framework.FieldData) error {
	for field := range data.Raw {
		if _, ok := data.Schema[field]; !ok {
			known := slices.Sorted(maps.Keys(data.Schema))
			return invalid("unknown field %q; this path knows: %s", field, strings.Join(known, ", "))
		}
	}
	return nil
}

// refuseMalformedSecrets refuses a field that may contain a secret and is not a
// string. It runs before the framework's validation, because the framework's error
// repeats the value.
func refuseMalformedSecrets(req *logical.Request) error {
	for _, field := range []string{fieldClientSecret, fieldRefreshToken, fieldSpareRefreshToken, fieldUsername, fieldPassword, fieldState, fieldCode} {
		switch req.Data[field].(type) {
		case nil, string, json.Number:
		default:
			return invalid("%s must be a string", field)
		}
	}
	return nil
}

// ok documents an answer with data.
func ok(description string, fields map[string]*framework.FieldSchema) map[int][]framework.Response {
	return map[int][]framework.Response{http.StatusOK: {{Description: description, Fields: fields}}}
}

// noContent documents an answer without data. If there are warnings, its status is
// 200.
func noContent(description string) map[int][]framework.Response {
	return map[int][]framework.Response{
		http.StatusNoContent: {{Description: description}},
		http.StatusOK:        {{Description: description + " There are warnings."}},
	}
}

// listResponse answers a list with the part of the sorted names that after and limit
// select.
func listResponse(names []string, data *framework.FieldData) (*logical.Response, error) {
	limit := data.Get(fieldLimit).(int)
	if limit < 0 {
		return nil, invalid("limit must not be negative")
	}
	if after := data.Get(fieldAfter).(string); after != "" {
		i, found := slices.BinarySearch(names, after)
		if found {
			i++
		}
		names = names[i:]
	}
	if limit > 0 && limit < len(names) {
		names = names[:limit]
	}
	return logical.ListResponse(names), nil
}
