package backend

import (
	"context"
	"net/http"
	"slices"

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
	unknown     unknownFields
}

// unknownFields is what happens to the fields of a request that its path does not have.
type unknownFields int

const (
	refuseUnknown unknownFields = iota
	ignoreUnknown               // RFC 6749, section 4.1.2, wants that of the callback
	warnOfUnknown               // they are ignored, and a warning names them
)

// builtOperation is an operation as the framework takes it, with what check has to know
// of it.
type builtOperation struct {
	*framework.PathOperation
	unknown unknownFields
}

// build returns the operation for the framework. Its errors become responses.
func (o operation) build() framework.OperationHandler {
	return &builtOperation{unknown: o.unknown, PathOperation: &framework.PathOperation{
		Callback: func(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
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
	}}
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
