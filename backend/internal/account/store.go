package account

import (
	"context"
	"errors"
	"time"
)

// Storage is what the account needs of Vault's storage. Implementations return
// [ErrReadOnly], or an error that wraps it, where the node cannot write, and
// are safe for concurrent use. A failed Put or Delete may have taken effect.
type Storage interface {
	// Get returns nil, nil where there is no entry.
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	// List returns the names directly below a prefix, in order.
	List(ctx context.Context, prefix string) ([]string, error)
}

// StoragePrefix is where the accounts' entries are: one entry an account, named
// by the account.
const StoragePrefix = "account/"

// storageTimeout bounds one call to the storage. A Put that ran out of it may
// still commit.
const storageTimeout = 15 * time.Second

// store reads and writes accounts: one entry an account, one Put a transition.
type store struct{ storage Storage }

// get returns nil, nil where there is no account.
func (s store) get(ctx context.Context, name string) (*Account, error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	b, err := s.storage.Get(ctx, StoragePrefix+name)
	if err != nil {
		return nil, storageError(name, "reading the account", err)
	}
	if b == nil {
		return nil, nil
	}
	a, err := decode(b)
	if err != nil {
		return nil, &Error{Kind: KindStorage, Account: name, Text: err.Error(), Unreadable: true}
	}
	return a, nil
}

// put writes the account within timeout. It returns ErrReadOnly bare.
func (s store) put(ctx context.Context, name string, a *Account, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := s.storage.Put(ctx, StoragePrefix+name, encode(a))
	if errors.Is(err, ErrReadOnly) {
		return ErrReadOnly
	}
	return err
}

func (s store) delete(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	err := s.storage.Delete(ctx, StoragePrefix+name)
	if errors.Is(err, ErrReadOnly) {
		return ErrReadOnly
	}
	return err
}

// autoPrefix is where the accounts that are refreshed in the background have a
// mark: so they are found quickly after the start, among many others. A mark of an
// account that is none of them does no harm.
const autoPrefix = "auto/"

// listAuto returns the names of the accounts with a mark.
func (s store) listAuto(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return s.storage.List(ctx, autoPrefix)
}

// mark sets an account's mark.
func (s store) mark(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return s.storage.Put(ctx, autoPrefix+name, []byte("{}"))
}

func (s store) unmark(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return s.storage.Delete(ctx, autoPrefix+name)
}

func (s store) list(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return s.storage.List(ctx, StoragePrefix)
}
