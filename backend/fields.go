package backend

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// Field names, as in RFC 6749, RFC 8414 and Vault's own engines.
const (
	fieldName                  = "name"
	fieldClient                = "client"
	fieldClientID              = "client_id"
	fieldClientSecret          = "client_secret"
	fieldClientSecretSet       = "client_secret_set"
	fieldAuthMethod            = "auth_method"
	fieldTokenURL              = "token_url"
	fieldAuthorizeURL          = "authorize_url"
	fieldRevokeURL             = "revoke_url"
	fieldRedirectURIs          = "redirect_uris"
	fieldScopes                = "scopes"
	fieldCACert                = "ca_cert"
	fieldAllowedHosts          = "allowed_hosts"
	fieldMinTTL                = "min_ttl"
	fieldExchangeTimeout       = "exchange_timeout"
	fieldKeepaliveInterval     = "keepalive_interval"
	fieldAuthorizationLifetime = "authorization_lifetime"
	fieldRefreshToken          = "refresh_token"
	fieldSpareRefreshToken     = "spare_refresh_token"
	fieldRefreshOnRead         = "refresh_on_read"
	fieldAutoRefresh           = "auto_refresh"
	fieldIssuer                = "issuer"
	fieldUsername              = "username"
	fieldPassword              = "password"
	fieldKeepPassword          = "keep_password"
	fieldRevoke                = "revoke"
	fieldRedirectURI           = "redirect_uri"
	fieldScope                 = "scope"
	fieldPrompt                = "prompt"
	fieldSpare                 = "spare"
	fieldResponseMode          = "response_mode"
	fieldTTL                   = "ttl"
	fieldState                 = "state"
	fieldCode                  = "code"
	fieldIss                   = "iss"
	fieldError                 = "error"
	fieldAuthorizationURL      = "authorization_url"
	fieldExpireTime            = "expire_time"
	fieldAfter                 = "after"
	fieldLimit                 = "limit"
)

// handler is an operation as the paths write it: what it returns as an error,
// respond turns into a response.
type handler func(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error)

// operation is a handler with its documentation. Each of an operation's possible
// statuses below 300 has a response in responses.
type operation struct {
	handler     handler
	summary     string
	description string
	verb        string
	suffix      string
	responses   map[int][]framework.Response
	// ignoreUnknown is for what a browser brings: RFC 6749, section 4.1.2, wants
	// parameters ignored that are not known.
	ignoreUnknown bool
}

// build makes of it what the framework wants, with the checks that all
// operations share: unknown fields are refused, not ignored.
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

func refuseUnknown(data *framework.FieldData) error {
	for field := range data.Raw {
		if _, ok := data.Schema[field]; !ok {
			known := slices.Sorted(maps.Keys(data.Schema))
			return invalid("unknown field %q; this path knows: %s", field, strings.Join(known, ", "))
		}
	}
	return nil
}

// refuseMalformedSecrets comes before the framework's validation, whose error
// repeats the value that it cannot read.
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

// ok is the documentation of an answer with data.
func ok(description string, fields map[string]*framework.FieldSchema) map[int][]framework.Response {
	return map[int][]framework.Response{http.StatusOK: {{Description: description, Fields: fields}}}
}

// noContent is the documentation of an answer without data. With a warning, its
// status is 200.
func noContent(description string) map[int][]framework.Response {
	return map[int][]framework.Response{
		http.StatusNoContent: {{Description: description}},
		http.StatusOK:        {{Description: description + " There are warnings."}},
	}
}

// nameField is the name in a path.
func nameField(what string) *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeString,
		Description:  "Name of the " + what + ".",
		Required:     true,
		DisplayAttrs: &framework.DisplayAttributes{Name: "Name", Identifier: true},
	}
}

// listFields are the parameters of every list.
func listFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAfter: {
			Type: framework.TypeString, Query: true,
			Description:  "Only names that sort after this one; to go on where a list with a limit ended.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "After"},
		},
		fieldLimit: {
			Type: framework.TypeInt, Query: true,
			Description:  "At most so many names. 0, the default, is all.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Limit"},
		},
	}
}

// keysField is the response of every list.
func keysField() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"keys": {Type: framework.TypeStringSlice, Required: true, Description: "The names, in order."},
	}
}

// page cuts sorted names down to what after and limit ask for.
func page(names []string, data *framework.FieldData) (*logical.Response, error) {
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

// getSeconds returns a duration field that is given, and whether it is.
func getSeconds(data *framework.FieldData, field string) (time.Duration, bool) {
	if _, given := data.Raw[field]; !given {
		return 0, false
	}
	return time.Duration(data.Get(field).(int)) * time.Second, true
}

// formatTime is the form in which times are returned: RFC 3339, UTC.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// seconds is the form in which durations are returned.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
