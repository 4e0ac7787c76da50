package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (b *backend) pathRefresh() []*framework.Path {
	return []*framework.Path{{
		Pattern: named("refresh/"),
		Fields:  map[string]*framework.FieldSchema{fieldName: nameField("account")},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: operation{
				handler: b.refreshAccount, verb: "refresh", suffix: "account",
				summary: "Run the refresh grant now.",
				description: "Exchanges the refresh token whatever the access token's age. It overrides a back-off and tries a dead grant once more. " +
					"If an exchange is in progress, it waits for that one. Returns the account's state, not the token.",
				responses: ok("The account after the exchange.", accountResponseFields()),
			}.build(),
		},
		HelpSynopsis: "Run the refresh grant of an account now.",
		HelpDescription: `
For operators: a policy that allows only reads of tokens cannot force an exchange.
Use it to see whether an account works, for example after a client was corrected,
or to try a dead account once more.

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
