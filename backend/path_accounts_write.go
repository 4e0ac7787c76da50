package backend

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func (b *backend) writeAccount(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(fieldName).(string)
	change, err := decodeChange(name, data)
	if err != nil {
		return nil, err
	}
	var warnings []string
	// Looked at without the account's lock: where the account changes meanwhile, a login
	// more or less is all that differs.
	if a, err := b.accounts.Get(ctx, name); err == nil && change.Repeats(a) {
		change.Credentials = nil
	}
	if change.Credentials != nil {
		_, warnings, err = b.accounts.LogIn(ctx, name, account.Login{
			Credentials: change.Credentials, AndSpare: true,
			Prepare: func(ctx context.Context, old *account.Account) (*account.Account, error) {
				a, _, err := b.changeAccount(ctx, name, old, change)
				return a, err
			},
		})
	} else {
		err = b.accounts.Update(ctx, name, func(old *account.Account) (a *account.Account, err error) {
			a, warnings, err = b.changeAccount(ctx, name, old, change)
			return a, err
		})
	}
	if err != nil || len(warnings) == 0 {
		return nil, err
	}
	return &logical.Response{Warnings: warnings}, nil
}

// changeAccount applies a change, whose client must exist.
func (b *backend) changeAccount(
	ctx context.Context, name string, old *account.Account, change account.Change,
) (*account.Account, []string, error) {
	a, warnings, err := change.Apply(name, old, now())
	if err != nil {
		return nil, nil, err
	}
	if old != nil && old.Client == a.Client {
		return a, warnings, nil
	}
	c, err := b.clients.load(ctx, a.Client)
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		return nil, nil, invalid("account %q: the client %q does not exist; create it first with a write to clients/%s", name, a.Client, a.Client)
	}
	return a, warnings, nil
}

// decodeChange reads what a write asks for: the fields that are given.
func decodeChange(name string, data *framework.FieldData) (account.Change, error) {
	var change account.Change
	for field, to := range map[string]*oauth.Secret{
		fieldRefreshToken: &change.RefreshToken, fieldSpareRefreshToken: &change.SpareRefreshToken,
	} {
		if _, given := data.Raw[field]; !given {
			continue
		}
		// A token that is read from a file ends in a newline.
		*to = oauth.NewSecret(strings.TrimSpace(data.Get(field).(string)))
		if !to.IsSet() {
			// Often a script's variable that is not set.
			return change, invalid("account %q: %s is empty; nothing was changed", name, field)
		}
	}
	var err error
	if change.Credentials, err = decodeCredentials(name, data); err != nil {
		return change, err
	}
	if _, given := data.Raw[fieldRevoke]; given {
		return change, invalid("account %q: revoke goes with delete; nothing was changed", name)
	}
	if _, given := data.Raw[fieldKeepPassword]; given {
		keep := data.Get(fieldKeepPassword).(bool)
		change.KeepPassword = &keep
	}
	if _, given := data.Raw[fieldClient]; given {
		client := data.Get(fieldClient).(string)
		change.Client = &client
	}
	if d, given := getSeconds(data, fieldMinTTL); given {
		change.MinTTL = &d
	}
	for field, to := range map[string]**bool{fieldRefreshOnRead: &change.RefreshOnRead, fieldAutoRefresh: &change.AutoRefresh} {
		if _, given := data.Raw[field]; given {
			value := data.Get(field).(bool)
			*to = &value
		}
	}
	return change, nil
}

// decodeCredentials returns nil where neither username nor password is given.
func decodeCredentials(name string, data *framework.FieldData) (*oauth.Credentials, error) {
	_, hasUsername := data.Raw[fieldUsername]
	_, hasPassword := data.Raw[fieldPassword]
	if !hasUsername && !hasPassword {
		return nil, nil
	}
	// A password may end in a space, but one that is read from a file ends in a newline.
	c := &oauth.Credentials{
		Username: strings.TrimSpace(data.Get(fieldUsername).(string)),
		Password: oauth.NewSecret(strings.TrimRight(data.Get(fieldPassword).(string), "\r\n")),
	}
	if c.Username == "" || !c.Password.IsSet() {
		return nil, invalid("account %q: username and password go together, and neither may be empty; nothing was changed", name)
	}
	return c, nil
}
