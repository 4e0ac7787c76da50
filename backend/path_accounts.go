package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

const accountsPrefix = "accounts/"

// expiryWarning is the time before the end of an authorization in which a read of its
// account warns, and in which the status and the metrics count it.
const expiryWarning = 90 * 24 * time.Hour

func (b *backend) pathAccounts() []*framework.Path {
	write := operation{
		handler: b.writeAccount, verb: "write", suffix: "account",
		summary: "Enrol an account or change it.",
		description: "Stores the refresh token without spending it, or gets one, and a spare, with username and password. Changes the given fields only. " +
			"A new refresh_token revives a dead account; one that was written before changes nothing.",
		responses: noContent("The account is stored."),
	}.build()
	return []*framework.Path{
		{
			Pattern: accountsPrefix + "?$",
			Fields:  listFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: operation{
					handler: b.listAccounts, verb: "list", suffix: "accounts",
					summary:     "List the names of the accounts.",
					description: "Returns the names in order. Use after and limit to get them in parts.",
					responses:   ok("The names.", keysField()),
				}.build(),
			},
			HelpSynopsis:    "The accounts of this mount.",
			HelpDescription: "List the names of the accounts; see accounts/<name>.",
			DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, ItemType: "Account", Navigation: true},
		},
		{
			Pattern:        named(accountsPrefix),
			Fields:         accountFields(),
			ExistenceCheck: b.accountExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.CreateOperation: write,
				logical.UpdateOperation: write,
				logical.ReadOperation: operation{
					handler: b.readAccount, verb: "read", suffix: "account",
					summary:     "Read an account's state, without its tokens.",
					description: "Says whether the account works, when it was last refreshed, and what went wrong last.",
					responses:   ok("The account.", accountResponseFields()),
				}.build(),
				logical.DeleteOperation: operation{
					handler: b.deleteAccount, verb: "delete", suffix: "account",
					summary: "Delete an account and its tokens.",
					description: "Revokes its grants at Pagero first, unless revoke=false. If that fails, the account is deleted anyway, with a warning. " +
						"Logins that have begun end. To enrol the account again, a new login at Pagero is needed.",
					responses: noContent("The account is deleted."),
				}.build(),
			},
			HelpSynopsis: "A Pagero user's authorization: its refresh token and its state.",
			HelpDescription: `
There are three ways to enrol an account: a login in a browser, which
authorize/<name> begins; the refresh token of a login elsewhere; or a user's name
and password. After that only the engine may use the refresh token, because it
works once and the engine keeps the newest. Read access tokens at token/<name>.`,
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, ItemType: "Account"},
		},
	}
}

// accountSettings returns the fields that a write sets and a read returns.
func accountSettings() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldClient: {
			Type: framework.TypeString, Default: account.DefaultClient,
			Description:  "Name of the OAuth client that the refresh token was issued to.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Client"},
		},
		fieldMinTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Remaining life below which a read replaces the access token; 0 is the mount's min_ttl. It counts for at most half of the token's lifetime.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Minimal TTL"},
		},
		fieldRefreshOnRead: {
			Type:         framework.TypeBool,
			Description:  "A read runs the refresh grant, unless the token is younger than 10 seconds. Concurrent reads share one exchange.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Refresh on read"},
		},
		fieldAutoRefresh: {
			Type:         framework.TypeBool,
			Description:  "Refresh the access token in the background when its ttl is over. A read in that very moment shares the exchange.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Automatic refresh"},
		},
		fieldKeepPassword: {
			Type:         framework.TypeBool,
			Description:  "Keep username and password, to log in again when the grant dies, at most once an hour. False forgets them.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Keep password"},
		},
	}
}

// settingFields gives each setting of an account its field, for reads and writes.
func settingFields(s *account.Settings) map[string]any {
	return map[string]any{fieldMinTTL: &s.MinTTL, fieldRefreshOnRead: &s.RefreshOnRead, fieldAutoRefresh: &s.AutoRefresh}
}

// accountFields returns the fields of a write and of a delete.
func accountFields() map[string]*framework.FieldSchema {
	fields := accountSettings()
	maps.Copy(fields, map[string]*framework.FieldSchema{
		fieldName: nameField("account"),
		fieldRefreshToken: {
			Type: framework.TypeString, Description: "Refresh token of a login at Pagero. Write only. Do not use it elsewhere afterwards.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Refresh token", Sensitive: true},
		},
		fieldSpareRefreshToken: {
			Type: framework.TypeString, Description: "Refresh token of a second login of the same user. Write only. It takes over when the first grant dies.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Spare refresh token", Sensitive: true},
		},
		fieldUsername: {
			Type: framework.TypeString, Description: "Name of a Pagero user, for the password grant of trusted applications. Write only.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Username"},
		},
		fieldPassword: {
			Type: framework.TypeString, Description: "The user's password: gets a grant and a spare at once. Write only. It is not kept unless keep_password is true.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Password", Sensitive: true},
		},
		fieldRevoke: {
			Type: framework.TypeBool, Default: true, Query: true,
			Description:  "For delete only: whether to revoke the grants at Pagero (RFC 7009).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Revoke"},
		},
	})
	return fields
}

func accountResponseFields() map[string]*framework.FieldSchema {
	timeField := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeTime, Description: description + " RFC 3339, UTC."}
	}
	fields := accountSettings()
	for _, field := range fields {
		field.Required = true
	}
	maps.Copy(fields, map[string]*framework.FieldSchema{
		fieldState:                   {Type: framework.TypeString, Required: true, Description: "new, ready, failing, in_doubt or reauthorization_required."},
		fieldSpare:                   {Type: framework.TypeString, Required: true, Description: "The spare grant: none, ready or used."},
		fieldRefreshCount:            {Type: framework.TypeInt64, Required: true, Description: "Successful exchanges since the refresh token was written."},
		fieldAuthorizedTime:          timeField("When the grant in use was written, or issued by a login."),
		fieldAuthorizationExpireTime: timeField("When the authorization is expected to end; absent if authorization_lifetime is 0."),
		fieldLastRefreshTime:         timeField("When the last exchange succeeded; absent before the first."),
		fieldAccessTokenExpireTime:   timeField("When the current access token expires; absent if there is none."),
		fieldLastError:               {Type: framework.TypeString, Description: "The last error; absent if there was none."},
		fieldLastErrorTime:           timeField("When the last error happened."),
		fieldNextAttemptTime:         timeField("After a failure: when the next exchange may be tried."),
	})
	return fields
}

func (b *backend) accountExists(ctx context.Context, _ *logical.Request, data *framework.FieldData) (bool, error) {
	name := data.Get(fieldName).(string)
	if !isAccountName(name) {
		return false, nil // the write refuses it, without a line in Vault's log
	}
	_, err := b.accounts.Get(ctx, name)
	var e *account.Error
	switch {
	case !errors.As(err, &e):
		return err == nil, err
	case e.Kind == account.KindNotFound:
		return false, nil
	case e.Unreadable:
		return true, nil // Vault hides an error from here; the write returns it again
	default:
		return false, err
	}
}

func (b *backend) listAccounts(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	names, err := b.accounts.List(ctx)
	if err != nil {
		return nil, err
	}
	return listResponse(names, data)
}

func (b *backend) readAccount(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(fieldName).(string)
	a, err := b.accounts.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return b.describeAccount(ctx, name, a)
}

// describeAccount returns the answer of accounts/<name> and refresh/<name>.
func (b *backend) describeAccount(ctx context.Context, name string, a *account.Account) (*logical.Response, error) {
	cfg, err := b.config.load(ctx)
	if err != nil {
		return nil, aboutAccount(name, err)
	}
	resp := &logical.Response{Data: map[string]any{
		fieldClient:       a.Client,
		fieldState:        string(a.State()),
		fieldSpare:        string(a.SpareState()),
		fieldKeepPassword: a.Credentials != nil,
		fieldRefreshCount: a.RefreshCount,
	}}
	settings := a.Settings
	for field, value := range settingFields(&settings) {
		switch value := value.(type) {
		case *bool:
			resp.Data[field] = *value
		case *time.Duration:
			resp.Data[field] = seconds(*value)
		}
	}
	set := func(field string, t time.Time) {
		if !t.IsZero() {
			resp.Data[field] = formatTime(t)
		}
	}
	set(fieldAuthorizedTime, a.Current().AuthorizedAt)
	set(fieldLastRefreshTime, a.LastRefresh)
	if a.Access != nil {
		set(fieldAccessTokenExpireTime, a.Access.Expires)
	}
	if e := a.LastError; e != nil {
		resp.Data[fieldLastError] = e.Message
		set(fieldLastErrorTime, e.Time)
	}
	set(fieldNextAttemptTime, a.NextAttempt(now()))
	if end := a.AuthorizationEnd(cfg.AuthorizationLifetime); !end.IsZero() {
		set(fieldAuthorizationExpireTime, end)
		if end.Sub(now()) < expiryWarning {
			resp.AddWarning(fmt.Sprintf("Pagero's authorization is expected to end at %s; log in again before then.", formatTime(end)))
		}
	}
	if a.Unsaved {
		resp.AddWarning(rotation.NotSaved)
	}
	return resp, nil
}

func (b *backend) deleteAccount(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(fieldName).(string)
	warnings, err := b.accounts.Delete(ctx, name, data.Get(fieldRevoke).(bool))
	if err != nil || len(warnings) == 0 {
		return nil, err
	}
	return &logical.Response{Warnings: warnings}, nil
}
