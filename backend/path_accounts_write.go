package backend

import (
	"context"
	"fmt"
	"time"

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
	warnings, err := b.accounts.Write(ctx, name, change)
	if err != nil || len(warnings) == 0 {
		return nil, err
	}
	return &logical.Response{Warnings: warnings}, nil
}

// decodeChange reads the fields that are given.
func decodeChange(name string, data *framework.FieldData) (account.Change, error) {
	var change account.Change
	if _, ok := data.Raw[fieldRevoke]; ok {
		return change, invalid("account %q: revoke goes with delete; nothing was changed", name)
	}
	if given(data, fieldClient, &change.Client) {
		if err := checkClientName(*change.Client); err != nil {
			return change, aboutAccount(name, fmt.Errorf("client: %w", err))
		}
	}
	given(data, fieldKeepPassword, &change.KeepPassword)
	change.Settings = func(s *account.Settings) {
		for field, to := range settingFields(s) {
			switch to := to.(type) {
			case *bool:
				given(data, field, to)
			case *time.Duration:
				given(data, field, to)
			}
		}
	}
	var err error
	if change.RefreshToken, err = decodeRefreshToken(name, data, fieldRefreshToken); err != nil {
		return change, err
	}
	if change.SpareRefreshToken, err = decodeRefreshToken(name, data, fieldSpareRefreshToken); err != nil {
		return change, err
	}
	change.Credentials, err = decodeCredentials(name, data)
	return change, err
}

// decodeRefreshToken returns an unset Secret if the field is not given.
func decodeRefreshToken(name string, data *framework.FieldData, field string) (oauth.Secret, error) {
	text, ok, err := givenText(data, field, tokenText)
	switch {
	case err != nil:
		return oauth.Secret{}, aboutAccount(name, err)
	case ok && text == "":
		// Often a variable of a script is not set.
		return oauth.Secret{}, invalid("account %q: %s is empty; nothing was changed", name, field)
	}
	return oauth.NewSecret(text), nil
}

// decodeCredentials returns nil if neither username nor password is given.
func decodeCredentials(name string, data *framework.FieldData) (*oauth.Credentials, error) {
	username, hasUsername, err := givenText(data, fieldUsername, labelText)
	if err != nil {
		return nil, aboutAccount(name, err)
	}
	password, hasPassword, err := givenText(data, fieldPassword, passwordText)
	if err != nil {
		return nil, aboutAccount(name, err)
	}
	if !hasUsername && !hasPassword {
		return nil, nil
	}
	if username == "" || password == "" {
		return nil, invalid("account %q: username and password go together, and neither may be empty; nothing was changed", name)
	}
	return &oauth.Credentials{Username: username, Password: oauth.NewSecret(password)}, nil
}
