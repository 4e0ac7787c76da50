package rotation

import (
	"context"
	"errors"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// Storage is what the package needs of Vault's storage. Implementations return
// [ErrReadOnly], or an error that wraps it, if the node cannot write, and are safe
// for concurrent use. A failed Put or Delete may have taken effect.
type Storage interface {
	// Get returns nil, nil if there is no entry.
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	// List returns the names directly below a prefix, in order.
	List(ctx context.Context, prefix string) ([]string, error)
}

const (
	// StoragePrefix is where the accounts' entries are: one entry an account, named
	// by the account.
	StoragePrefix = "account/"
	// autoPrefix is where accounts that are refreshed in the background have a mark,
	// so that they are found quickly among many others after the start. A mark of
	// another account does no harm.
	autoPrefix = "auto/"

	// storageTimeout bounds one call to the storage. A Put that ran out of it may
	// still commit.
	storageTimeout = 15 * time.Second
)

// store reads and writes accounts. Its errors are *[account.Error] or a bare
// [ErrReadOnly].
type store struct{ storage Storage }

// get returns nil, nil if there is no account.
func (s store) get(ctx context.Context, name string) (*account.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	b, err := s.storage.Get(ctx, StoragePrefix+name)
	if err != nil {
		return nil, storageError(name, "reading the account", err)
	}
	if b == nil {
		return nil, nil
	}
	a, err := account.Decode(b)
	if err != nil {
		return nil, &account.Error{Kind: account.KindStorage, Account: name, Text: err.Error(), Unreadable: true}
	}
	return a, nil
}

// put writes the account within timeout. doing says what for, for the error.
func (s store) put(ctx context.Context, name string, a *account.Account, doing string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return written(name, doing, s.storage.Put(ctx, StoragePrefix+name, account.Encode(a)))
}

func (s store) delete(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return written(name, "deleting the account", s.storage.Delete(ctx, StoragePrefix+name))
}

// mark marks an account that is refreshed in the background.
func (s store) mark(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return written(name, "writing the account", s.storage.Put(ctx, autoPrefix+name, []byte("{}")))
}

func (s store) unmark(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return s.storage.Delete(ctx, autoPrefix+name)
}

// markRunning marks that the plugin runs, and reports whether the mark was there.
func (s store) markRunning(ctx context.Context) (before bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	value, err := s.storage.Get(ctx, runningKey)
	if err != nil || value != nil {
		return value != nil, err
	}
	return false, s.storage.Put(ctx, runningKey, []byte("{}"))
}

func (s store) unmarkRunning(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, intentTimeout)
	defer cancel()
	return s.storage.Delete(ctx, runningKey)
}

// list returns the names below a prefix.
func (s store) list(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return s.storage.List(ctx, prefix)
}

// written turns the error of a write into one about the account.
func written(name, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrReadOnly):
		return ErrReadOnly
	default:
		return storageError(name, doing, err)
	}
}

// mayHaveWritten reports whether a write that returned err may have taken effect.
func mayHaveWritten(err error) bool { return err != nil && !errors.Is(err, ErrReadOnly) }

// isReadOnly reports whether an error of this package is ErrReadOnly.
func isReadOnly(err error) bool { return errors.Is(err, ErrReadOnly) }
