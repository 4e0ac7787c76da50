package backend

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// inputError is a request that makes no sense. Its text names the remedy.
type inputError struct{ text string }

func (e *inputError) Error() string { return e.text }

func invalid(format string, args ...any) error { return &inputError{fmt.Sprintf(format, args...)} }

// notFoundError is something that does not exist.
type notFoundError struct{ text string }

func (e *notFoundError) Error() string { return e.text }

// storageError is Vault's storage that failed. respond adds the remedy, once.
type storageError struct {
	doing string
	err   error
}

func (e *storageError) Error() string {
	return fmt.Sprintf("storage failed while %s: %v", e.doing, e.err)
}
func (e *storageError) Unwrap() error { return e.err }

const mendStorage = "see Vault's log, mend the storage and try again"

// aboutAccount names the account in an error about something else.
func aboutAccount(name string, err error) error { return fmt.Errorf("account %q: %w", name, err) }

// storageFailed is about storage that failed before anything was done for an
// account.
func storageFailed(name, doing string, err error) error {
	if errors.Is(err, account.ErrReadOnly) {
		return account.ErrReadOnly
	}
	return fmt.Errorf("account %q: storage failed while %s: %w; nothing was changed; %s", name, doing, err, mendStorage)
}

// statusOf returns the HTTP status of an error other than account.ErrReadOnly. No
// other place decides on one.
func statusOf(err error) int {
	var (
		input    *inputError
		notFound *notFoundError
		e        *account.Error
	)
	switch {
	case errors.As(err, &input):
		return http.StatusBadRequest
	case errors.As(err, &notFound):
		return http.StatusNotFound
	case errors.As(err, &e):
		return statusOfAccountError(e.Kind)
	default:
		return http.StatusInternalServerError
	}
}

func statusOfAccountError(kind account.ErrorKind) int {
	switch kind {
	case account.KindInvalid, account.KindDead, account.KindClient:
		return http.StatusBadRequest
	case account.KindNotFound:
		return http.StatusNotFound
	case account.KindUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// respond turns an error into what Vault wants. The error that it returns is never
// wrapped, because a wrapped one loses its status on the way to Vault, and never
// comes with a response, because Vault would make a 400 of that.
func respond(err error) (*logical.Response, error) {
	if errors.Is(err, account.ErrReadOnly) {
		return nil, logical.ErrReadOnly
	}
	status, text := statusOf(err), err.Error()
	if status == http.StatusBadRequest {
		return logical.ErrorResponse(text), nil
	}
	var storage *storageError
	if errors.As(err, &storage) {
		text += "; " + mendStorage
	}
	return nil, logical.CodedError(status, text)
}
