package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/pendinglogin"
)

// accountStorage is Vault's storage as packages account and pendinglogin see it.
type accountStorage struct{ vault logical.Storage }

var (
	_ account.Storage      = accountStorage{}
	_ pendinglogin.Storage = accountStorage{}
)

// Get implements account.Storage.
func (s accountStorage) Get(ctx context.Context, key string) ([]byte, error) {
	entry, err := s.vault.Get(ctx, key)
	if err != nil || entry == nil {
		return nil, err
	}
	return entry.Value, nil
}

// Put implements account.Storage.
func (s accountStorage) Put(ctx context.Context, key string, value []byte) error {
	return readOnly(s.vault.Put(ctx, &logical.StorageEntry{Key: key, Value: value}))
}

// Delete implements account.Storage.
func (s accountStorage) Delete(ctx context.Context, key string) error {
	return readOnly(s.vault.Delete(ctx, key))
}

// List implements account.Storage.
func (s accountStorage) List(ctx context.Context, prefix string) ([]string, error) {
	names, err := s.vault.List(ctx, prefix)
	slices.Sort(names)
	return names, err
}

// readOnly recognizes logical.ErrReadOnly by its text: the error loses its
// identity on the way from Vault to the plugin.
func readOnly(err error) error {
	if err != nil && strings.Contains(err.Error(), logical.ErrReadOnly.Error()) {
		return account.ErrReadOnly
	}
	return err
}

// getJSON reads an entry into v and tells whether there is one. One that cannot be
// read is an *unreadableError.
func getJSON(ctx context.Context, s logical.Storage, key string, v any) (bool, error) {
	entry, err := s.Get(ctx, key)
	if err != nil {
		return false, &storageError{"reading " + key, err}
	}
	if entry == nil {
		return false, nil
	}
	if err := json.Unmarshal(entry.Value, v); err != nil {
		return false, &unreadableError{fmt.Sprintf("the entry %s is not readable; it was left as it is; restore it, or delete it and write it again", key)}
	}
	return true, nil
}

// putJSON writes an entry, or returns account.ErrReadOnly where this node may not.
// What is below a seal-wrapped prefix Vault wraps by itself.
func putJSON(ctx context.Context, s logical.Storage, key string, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := s.Put(ctx, &logical.StorageEntry{Key: key, Value: value}); err != nil {
		return readOnly(&storageError{"writing " + key, err})
	}
	return nil
}

// deleteKey deletes an entry, or nothing where there is none.
func deleteKey(ctx context.Context, s logical.Storage, key string) error {
	if err := s.Delete(ctx, key); err != nil {
		return readOnly(&storageError{"deleting " + key, err})
	}
	return nil
}

// unreadableError is about an entry that is there, but that this version of the
// plugin cannot read.
type unreadableError struct{ text string }

func (e *unreadableError) Error() string { return e.text }

// checkVersion refuses entries of a newer plugin, and those that none has written.
func checkVersion(key string, version, known int) error {
	switch {
	case version > known:
		return &unreadableError{fmt.Sprintf("the entry %s has version %d; this plugin reads up to %d; it was left as it is; "+
			"register the newer plugin again", key, version, known)}
	case version < 1:
		return &unreadableError{fmt.Sprintf("the entry %s has no version; it was left as it is; restore it, or delete it and write it again", key)}
	}
	return nil
}
