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

// respond turns an error into what Vault wants: here and nowhere else. The
// error that it returns is never wrapped, because a wrapped one loses its
// status on the way to Vault, and never comes with a response, because Vault
// would make a 400 of that.
func respond(err error) (*logical.Response, error) {
	var (
		input    *inputError
		notFound *notFoundError
		e        *account.Error
	)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, account.ErrReadOnly):
		return nil, logical.ErrReadOnly
	case errors.As(err, &input):
		return logical.ErrorResponse(input.text), nil
	case errors.As(err, &notFound):
		return nil, logical.CodedError(http.StatusNotFound, notFound.text)
	case errors.As(err, &e):
		return respondAccount(e)
	default:
		return nil, logical.CodedError(http.StatusInternalServerError, err.Error())
	}
}

func respondAccount(e *account.Error) (*logical.Response, error) {
	switch e.Kind {
	case account.KindInvalid, account.KindDead, account.KindClient:
		return logical.ErrorResponse(e.Error()), nil
	case account.KindNotFound:
		return nil, logical.CodedError(http.StatusNotFound, e.Error())
	case account.KindUnavailable:
		return nil, logical.CodedError(http.StatusServiceUnavailable, e.Error())
	default:
		return nil, logical.CodedError(http.StatusInternalServerError, e.Error())
	}
}
