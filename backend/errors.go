package backend

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

// inputError reports an invalid request. Its text names the remedy.
type inputError struct{ text string }

func (e *inputError) Error() string { return e.text }

func invalid(format string, args ...any) error { return &inputError{fmt.Sprintf(format, args...)} }

// notFoundError reports that something does not exist.
type notFoundError struct{ text string }

func (e *notFoundError) Error() string { return e.text }

// storageError reports a failure of Vault's storage. respond adds the remedy, once.
type storageError struct {
	doing string
	err   error
}

func (e *storageError) Error() string {
	return fmt.Sprintf("storage failed while %s: %v", e.doing, e.err)
}
func (e *storageError) Unwrap() error { return e.err }

const storageRemedy = "see Vault's log, fix the storage and try again"

// aboutAccount names the account in an error about something else.
func aboutAccount(name string, err error) error { return fmt.Errorf("account %q: %w", name, err) }

// storageFailed returns an error about storage that failed before anything was done
// for an account.
func storageFailed(name, doing string, err error) error {
	if errors.Is(err, rotation.ErrReadOnly) {
		return rotation.ErrReadOnly
	}
	return fmt.Errorf("account %q: storage failed while %s: %w; nothing was changed; %s", name, doing, err, storageRemedy)
}

// statusOf returns the HTTP status of an error other than rotation.ErrReadOnly. It is
// the only place that decides on a status.
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

// respond turns an error into an answer for Vault. It never returns a wrapped error,
// because a wrapped error loses its status on the way to Vault. It never returns an
// error and a response, because Vault would turn them into a 400.
func respond(err error) (*logical.Response, error) {
	if errors.Is(err, rotation.ErrReadOnly) {
		return nil, logical.ErrReadOnly
	}
	status, text := statusOf(err), err.Error()
	if status == http.StatusBadRequest {
		return logical.ErrorResponse(text), nil
	}
	var storage *storageError
	if errors.As(err, &storage) {
		text += "; " + storageRemedy
	}
	return nil, logical.CodedError(status, text)
}
