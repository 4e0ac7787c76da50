package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (b *backend) pathRefresh() []*framework.Path {
	return []*framework.Path{{
		Pattern: "refresh/" + framework.GenericNameWithAtRegex(fieldName),
		Fields:  map[string]*framework.FieldSchema{fieldName: nameField("account")},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: operation{
				handler: b.refreshAccount, verb: "refresh", suffix: "account",
				summary: "Run the refresh grant now.",
				description: "Exchanges the refresh token whatever the access token's age, overriding a back-off and trying a dead grant once more. " +
					"Returns the account's state, not the token; an exchange that is under way is joined.",
				responses: ok("The account after the exchange.", accountResponseFields()),
			}.build(),
		},
		HelpSynopsis: "Run the refresh grant of an account now.",
		HelpDescription: `
For operators: whoever may only read tokens cannot force an exchange. Use it to
see whether an account works, after a correction of a client, or to try a dead
account once more.

    vault write -f pagero/refresh/acme`,
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix},
	}}
}

func (b *backend) refreshAccount(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(fieldName).(string)
	a, err := b.accounts.Refresh(ctx, name)
	if err != nil {
		return nil, err
	}
	return b.describeAccount(ctx, name, a)
}
