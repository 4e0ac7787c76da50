package backend

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

func TestErrorsGetTheStatusOfTheirKind(t *testing.T) {
	t.Parallel()
	accountError := func(kind account.ErrorKind) error {
		return &account.Error{Kind: kind, Account: "acme", Text: "went wrong"}
	}
	for _, test := range []struct {
		name   string
		err    error
		status int
		text   string
	}{
		{"storage", accountError(account.KindStorage), 500, `account "acme": went wrong`},
		{"not found", accountError(account.KindNotFound), 404, `account "acme": went wrong`},
		{"invalid", accountError(account.KindInvalid), 400, `account "acme": went wrong`},
		{"dead", accountError(account.KindDead), 400, `reauthorization required: account "acme": went wrong`},
		{"client", accountError(account.KindClient), 400, `account "acme": went wrong`},
		{"unavailable", accountError(account.KindUnavailable), 503, `account "acme": went wrong`},
		{"a kind to come", accountError(99), 500, `account "acme": went wrong`},
		{"wrapped", fmt.Errorf("while reading: %w", accountError(account.KindUnavailable)), 503, `while reading: account "acme": went wrong`},
		{"input", invalid("%s is wrong", "min_ttl"), 400, "min_ttl is wrong"},
		{"no such client", noSuchClient("x"), 404, `client "x" does not exist; create it with a write of client_id and client_secret to clients/x`},
		{
			"storage of a client", fmt.Errorf("client %q: %w", "x", &storageError{"reading client/x", errStorage}), 500,
			`client "x": storage failed while reading client/x: simulated storage failure; see Vault's log, fix the storage and try again`,
		},
		{
			"storage on the way to an account", storageFailed("acme", "writing the login", errStorage), 500,
			`account "acme": storage failed while writing the login: simulated storage failure; nothing was changed; see Vault's log, fix the storage and try again`,
		},
		{"anything else", errors.New("broken"), 500, "broken"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			resp, err := respond(test.err)
			if test.status == http.StatusBadRequest {
				if err != nil || resp == nil || !resp.IsError() || resp.Error().Error() != test.text {
					t.Errorf("%v, %v", resp, err)
				}
				return
			}
			// A coded error that is wrapped, or that comes with a response, loses
			// its status on the way to Vault.
			coded, bare := err.(logical.HTTPCodedError) //nolint:errorlint // over gRPC only the outermost type counts
			if resp != nil || !bare || coded.Code() != test.status || err.Error() != test.text {
				t.Errorf("%v, %#v", resp, err)
			}
		})
	}
}

func TestReadOnlyIsReturnedBare(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		rotation.ErrReadOnly,
		&storageError{"writing config", rotation.ErrReadOnly},
		readOnly(errReadOnlyText),
		readOnly(logical.ErrReadOnly),
		readOnly(fmt.Errorf("rpc error: %w", errReadOnlyText)),
	} {
		resp, got := respond(err)
		if resp != nil || got != logical.ErrReadOnly { //nolint:errorlint // Vault compares
			t.Errorf("%v becomes %v, %v", err, resp, got)
		}
	}
}

func TestOtherStorageErrorsAreNotTakenForReadOnly(t *testing.T) {
	t.Parallel()
	if err := readOnly(errStorage); !errors.Is(err, errStorage) || errors.Is(err, rotation.ErrReadOnly) {
		t.Errorf("it becomes %v", err)
	}
	if err := readOnly(nil); err != nil {
		t.Errorf("no error becomes %v", err)
	}
}
