package rotation

import (
	"errors"
	"fmt"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// ErrReadOnly reports that this node must not write: Vault forwards the request to
// the node that may. It is returned bare.
var ErrReadOnly = errors.New("rotation: this node cannot write")

func notFound(name string) *account.Error {
	return &account.Error{Kind: account.KindNotFound, Account: name, Text: fmt.Sprintf(
		"does not exist; enrol it: a write to authorize/%s begins a login, or write a refresh_token to accounts/%s", name, name)}
}

func storageError(name, doing string, err error) *account.Error {
	return &account.Error{Kind: account.KindStorage, Account: name, Text: fmt.Sprintf(
		"Vault's storage failed while %s: %v; see Vault's log, fix the storage and try again", doing, err)}
}

func unavailable(name, text string) *account.Error {
	return &account.Error{Kind: account.KindUnavailable, Account: name, Text: text}
}

func closing(name string) *account.Error {
	return unavailable(name, "the plugin is being stopped or reloaded; try again")
}
