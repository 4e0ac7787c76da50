package backend

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"

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
				summary: "Read how all accounts are, which of them need a person, and which clients are held back.",
				description: "Comes from memory, whatever the number of accounts. After a start the plugin scans the accounts step by step; " +
					"complete says whether it has seen all.",
				responses: ok("How the accounts are.", statusFields()),
			}.build(),
		},
		HelpSynopsis: "How the accounts of this mount are.",
		HelpDescription: `
Counts the accounts by state. Names the accounts that need a person, and the
clients whose exchanges are held back because their token endpoint does not
answer as it should: each with what happened and what to do. After a start the
plugin scans the accounts step by step, at least two hundred a minute.`,
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
			Description: "Accounts that need a person, each with account, state, since, error and remedy; at most 1000. " +
				"A dead or refused account is one at once; any other after an hour without a success, or ten minutes without a living token.",
		},
		fieldClients: {
			Type: framework.TypeSlice, Required: true,
			Description: "Clients whose exchanges are held back, each with client, endpoint, reason and, if a probe is due, next_probe_time.",
		},
		fieldClockSkew: {
			Type:        framework.TypeInt64,
			Description: "By how many seconds the token endpoint's clock is ahead of this machine's; negative if it is behind. Absent up to a minute.",
		},
		fieldBackground: {
			Type: framework.TypeMap, Required: true,
			Description: "The plugin's own exchanges: rate, how many it begins a second at most; due_per_second, how many are due while all is well; lag_seconds, how late the most overdue one is.",
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

func (b *backend) readStatus(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
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
	data := map[string]any{
		fieldVersion: Version, fieldComplete: o.ScanComplete, fieldAccounts: o.Known, fieldUnsaved: o.Unsaved,
		fieldStates: byState, fieldSpares: bySpare, fieldEnding: ending,
		fieldAttention:  attentionOf(o.Problems, req.MountPoint),
		fieldClients:    heldBackClients(o.Gates),
		fieldBackground: backgroundOf(o.Background),
	}
	if skew := seconds(o.ClockSkew); skew != 0 {
		data[fieldClockSkew] = skew
	}
	return &logical.Response{Data: data}, nil
}

// attentionOf returns the accounts that need a person. Their remedies are commands for
// the mount at the path mount, which ends in a slash.
func attentionOf(problems []account.Problem, mount string) []any {
	all := make([]any, 0, len(problems))
	for _, p := range problems {
		all = append(all, map[string]any{
			fieldAccount: p.Account, fieldState: string(p.State), "since": formatTime(p.Since), fieldError: p.Error,
			"remedy": strings.ReplaceAll(p.Remedy, account.Mount, mount),
		})
	}
	return all
}

// heldBackClients returns the clients whose exchanges are held back, in order.
func heldBackClients(gates []rotation.GateStatus) []any {
	held := map[string]any{}
	for _, g := range gates {
		if !g.HeldBack {
			continue
		}
		for _, name := range g.Clients {
			client := map[string]any{fieldClient: name, "endpoint": g.Endpoint, "reason": g.Reason}
			if !g.NextProbe.IsZero() {
				client["next_probe_time"] = formatTime(g.NextProbe)
			}
			held[name] = client
		}
	}
	all := make([]any, 0, len(held))
	for _, name := range slices.Sorted(maps.Keys(held)) {
		all = append(all, held[name])
	}
	return all
}

func backgroundOf(s rotation.BackgroundStatus) map[string]any {
	return map[string]any{
		"rate":           s.Rate,
		"due_per_second": math.Round(1000*s.DuePerSecond) / 1000,
		"lag_seconds":    seconds(s.Lag),
	}
}
