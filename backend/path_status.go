package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

// statusLimit is the maximum length of each list in the status.
const statusLimit = 1000

func (b *backend) pathStatus() []*framework.Path {
	return []*framework.Path{{
		Pattern: "status",
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation{
				handler: b.readStatus, verb: "read", suffix: "status",
				summary: "Read how all accounts are, and which of them need a person.",
				description: "Comes from memory, whatever the number of accounts. After a start the plugin scans the accounts step by step; " +
					"complete says whether it has seen all.",
				responses: ok("How the accounts are.", statusFields()),
			}.build(),
		},
		HelpSynopsis: "How the accounts of this mount are.",
		HelpDescription: `
Counts the accounts by state, and names those that need a person, with what
happened and what to do. After a start the plugin scans the accounts step by
step, at least two hundred a minute.`,
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix},
	}}
}

func statusFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldVersion:  {Type: framework.TypeString, Required: true, Description: "Version of the plugin."},
		fieldComplete: {Type: framework.TypeBool, Required: true, Description: "Whether the scan has read all accounts."},
		fieldAccounts: {Type: framework.TypeInt64, Required: true, Description: "Accounts that have been seen."},
		fieldStates:   {Type: framework.TypeMap, Required: true, Description: "Number of accounts by state."},
		fieldSpares:   {Type: framework.TypeMap, Required: true, Description: "Number of accounts by spare: none, ready, used."},
		fieldUnsaved:  {Type: framework.TypeInt64, Required: true, Description: "Rescue copies: refresh tokens that Vault's storage does not hold yet."},
		fieldAttention: {
			Type: framework.TypeSlice, Required: true,
			Description: "Accounts that need a person, each with account, state, since, error and remedy; at most 1000.",
		},
		fieldEnding: {
			Type: framework.TypeMap, Required: true,
			Description: "The authorizations that end within 90 days, by account, with the time of their end; at most 1000. RFC 3339, UTC.",
		},
	}
}

func (b *backend) overview() rotation.Overview {
	return b.accounts.Overview(now().Add(expiryWarning), statusLimit)
}

func (b *backend) readStatus(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	// Only the node that may write knows the state of all accounts.
	if err := b.writable(); err != nil {
		return nil, err
	}
	o := b.overview()
	byState, bySpare, ending := map[string]any{}, map[string]any{}, map[string]any{}
	for _, state := range account.States {
		byState[string(state)] = o.States[state]
	}
	for _, spare := range account.SpareStates {
		bySpare[string(spare)] = o.Spares[spare]
	}
	for name, t := range o.Ending {
		ending[name] = formatTime(t)
	}
	attention := make([]any, 0, len(o.Problems))
	for _, p := range o.Problems {
		attention = append(attention, map[string]any{
			fieldAccount: p.Account, fieldState: string(p.State), "since": formatTime(p.Since), fieldError: p.Error, "remedy": p.Remedy,
		})
	}
	return &logical.Response{Data: map[string]any{
		fieldVersion: Version, fieldComplete: o.ScanComplete, fieldAccounts: o.Known, fieldUnsaved: o.Unsaved,
		fieldStates: byState, fieldSpares: bySpare, fieldAttention: attention, fieldEnding: ending,
	}}, nil
}
