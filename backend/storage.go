package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/pendinglogin"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

// vaultStorage adapts Vault's storage to the interfaces of the other packages. Vault
// itself seal-wraps the entries, by their prefix.
type vaultStorage struct{ vault logical.Storage }

var (
	_ rotation.Storage     = vaultStorage{}
	_ pendinglogin.Storage = vaultStorage{}
)

// Get implements rotation.Storage.
func (s vaultStorage) Get(ctx context.Context, key string) ([]byte, error) {
	e, err := s.vault.Get(ctx, key)
	if err != nil || e == nil {
		return nil, err
	}
	return e.Value, nil
}

// Put implements rotation.Storage.
func (s vaultStorage) Put(ctx context.Context, key string, value []byte) error {
	return readOnly(s.vault.Put(ctx, &logical.StorageEntry{Key: key, Value: value}))
}

// Delete implements rotation.Storage.
func (s vaultStorage) Delete(ctx context.Context, key string) error {
	return readOnly(s.vault.Delete(ctx, key))
}

// List implements rotation.Storage.
func (s vaultStorage) List(ctx context.Context, prefix string) ([]string, error) {
	names, err := s.vault.List(ctx, prefix)
	slices.Sort(names)
	return names, err
}

// readOnly recognizes logical.ErrReadOnly by its text, because the error loses its
// identity between Vault and the plugin.
func readOnly(err error) error {
	if err != nil && strings.Contains(err.Error(), logical.ErrReadOnly.Error()) {
		return rotation.ErrReadOnly
	}
	return err
}

// readEntry reads an entry into form and reports whether there is one. The error
// wraps an *entry.UnreadableError if this plugin cannot read the entry.
func (s vaultStorage) readEntry(ctx context.Context, key string, newest int, form entry.Form) (found bool, err error) {
	value, err := s.Get(ctx, key)
	if err != nil {
		return false, &storageError{"reading " + key, err}
	}
	if value == nil {
		return false, nil
	}
	err = entry.Decode(value, newest, form)
	var unreadable *entry.UnreadableError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &unreadable) && unreadable.Newer():
		return false, fmt.Errorf("the entry %s %w; register the newer plugin again", key, err)
	default:
		return false, fmt.Errorf("the entry %s %w; restore it, or delete it and write it again", key, err)
	}
}

// writeEntry writes a form as an entry. It returns rotation.ErrReadOnly if this node
// must not write.
func (s vaultStorage) writeEntry(ctx context.Context, key string, version int, form entry.Form) error {
	value, err := entry.Encode(version, form)
	if err != nil {
		return err
	}
	return writeError("writing "+key, s.Put(ctx, key, value))
}

// deleteEntry deletes an entry if there is one. It returns rotation.ErrReadOnly if
// this node must not write.
func (s vaultStorage) deleteEntry(ctx context.Context, key string) error {
	return writeError("deleting "+key, s.Delete(ctx, key))
}

func writeError(doing string, err error) error {
	if err == nil || errors.Is(err, rotation.ErrReadOnly) {
		return err
	}
	return &storageError{doing, err}
}
