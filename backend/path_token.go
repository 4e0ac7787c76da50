package backend

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

const tokenPrefix = "token/"

func (b *backend) pathToken() []*framework.Path {
	read := operation{
		handler: b.readToken, verb: "read", suffix: "token",
		summary: "Read an access token that works.",
		description: "Returns the current access token. If its remaining life is below min_ttl, gets a new one first. " +
			"There is no lease: read again after ttl seconds.",
		responses: ok("An access token.", tokenResponseFields()),
		unknown:   warnOfUnknown, // Bank-Vaults adds "version=-1" to every read
	}
	update := read
	update.unknown = refuseUnknown
	update.verb = "read-with-parameters"
	return []*framework.Path{{
		Pattern: named(tokenPrefix),
		Fields:  tokenSchema,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   read.build(),
			logical.UpdateOperation: update.build(),
		},
		HelpSynopsis: "An access token that works, for an account.",
		HelpDescription: `
This is the main job of the engine. A read returns the account's access token.
If the token's remaining life is below min_ttl, the engine first exchanges the
refresh token for a new pair and saves it. Concurrent readers wait and share the
result. Otherwise the answer comes from memory.

    vault read pagero/token/acme
    vault read -field=access_token pagero/token/acme

Send the token to Pagero's API as "Authorization: Bearer <access_token>". Do not
keep it: read again after ttl seconds.`,
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix},
	}}
}

// tokenSchema has the fields of a read. Nothing changes it.
var tokenSchema = map[string]*framework.FieldSchema{
	fieldName: nameField("account"),
	fieldMinTTL: {
		Type: framework.TypeDurationSecond, Query: true,
		Description:  "Minimal remaining life of the token, if that is more than the account's min_ttl. It counts for at most half of the token's lifetime.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Minimal TTL"},
	},
}

func tokenResponseFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAccessToken: {
			Type: framework.TypeString, Required: true, Description: "The access token.",
			DisplayAttrs: &framework.DisplayAttributes{Sensitive: true},
		},
		fieldTokenType:         {Type: framework.TypeString, Required: true, Description: "The token's type, nearly always Bearer."},
		fieldScope:             {Type: framework.TypeString, Required: true, Description: "Scope as issued, often empty."},
		fieldExpireTime:        {Type: framework.TypeTime, Required: true, Description: "When the access token expires. RFC 3339, UTC."},
		fieldTTL:               {Type: framework.TypeInt64, Required: true, Description: "Seconds until a read will return another token; at least 1."},
		fieldRotationPeriod:    {Type: framework.TypeInt64, Required: true, Description: "Seconds from one token to the next: its lifetime less min_ttl; at least 1."},
		fieldLastVaultRotation: {Type: framework.TypeTime, Required: true, Description: "When this token was obtained. RFC 3339, UTC."},
		fieldClaims:            {Type: framework.TypeString, Description: "The claims that the server sent; absent if it sent none."},
	}
}

// quickToken answers a read from memory or by an exchange. It returns nil if the read
// needs more, or if the request may be wrong: the framework handles it then.
func (b *backend) quickToken(ctx context.Context, name string, req *logical.Request) (*logical.Response, error) {
	if req.Operation != logical.ReadOperation && req.Operation != logical.UpdateOperation {
		return nil, nil
	}
	cfg := b.config.cached()
	if cfg == nil {
		return nil, nil
	}
	var (
		ask     account.ReadRequest
		unknown []string
	)
	if len(req.Data) > 0 {
		data := &framework.FieldData{Schema: tokenSchema}
		data.Raw, unknown = splitFields(req.Data, tokenSchema)
		if len(unknown) > 0 && req.Operation != logical.ReadOperation || checkTypes(data.Raw, tokenSchema) != nil {
			return nil, nil //nolint:nilerr // check refuses it
		}
		ask = decodeAsk(data)
	}
	answer, found := b.accounts.Cached(name, cfg.settings(), ask)
	if found {
		b.metrics.cached.Inc()
		return warnOf(unknown, tokenSchema, tokenResponse(answer)), nil
	}
	answer, found, err := b.accounts.Shared(ctx, name, cfg.settings(), ask)
	if err != nil {
		b.metrics.reads.WithLabelValues("error").Inc()
		return nil, err
	}
	if !found {
		return nil, nil
	}
	b.metrics.reads.WithLabelValues(string(answer.Source)).Inc()
	return warnOf(unknown, tokenSchema, tokenResponse(answer)), nil
}

func decodeAsk(data *framework.FieldData) account.ReadRequest {
	var ask account.ReadRequest
	given(data, fieldMinTTL, &ask.MinTTL)
	return ask
}

func (b *backend) readToken(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	answer, err := b.accounts.Token(ctx, data.Get(fieldName).(string), decodeAsk(data))
	if errors.Is(err, rotation.ErrReadOnly) {
		return nil, err // the node that Vault forwards the read to counts it
	}
	if err != nil {
		b.metrics.reads.WithLabelValues("error").Inc()
		return nil, err
	}
	b.metrics.reads.WithLabelValues(string(answer.Source)).Inc()
	return tokenResponse(answer), nil
}

// tokenResponse returns the fields of an access token. For one access token all fields
// but ttl stay the same, because Vault Secrets Operator restarts workloads if any
// other field changes.
func tokenResponse(answer rotation.Answer) *logical.Response {
	t := answer.Token
	resp := &logical.Response{
		Data: map[string]any{
			fieldAccessToken:       t.Token.Reveal(),
			fieldTokenType:         cmp.Or(t.TokenType, "Bearer"),
			fieldScope:             t.Scope,
			fieldExpireTime:        formatTime(t.Expires),
			fieldTTL:               seconds(answer.TTL),
			fieldRotationPeriod:    seconds(answer.RotationPeriod),
			fieldLastVaultRotation: formatTime(t.Obtained.Add(time.Second - 1)), // rounded up, as the ttl is
		},
		Warnings: answer.Warnings,
	}
	if t.HasClaims {
		resp.Data[fieldClaims] = t.Claims
	}
	return resp
}
