// Package pendinglogin keeps the logins that have begun at the authorization
// server and whose callback has not come yet (RFC 6749, section 4.1). For each it
// remembers which account the code is for, and the PKCE verifier that redeems the
// code (RFC 7636).
//
// A login is found by its state. Only the browser has the state; the storage has
// its hash. Each login is an entry of its own, so that it survives a restart and a
// failover. It works once: [Store.Claim] deletes the entry before the code is sent.
// A state that was never issued costs one read and leaves nothing behind.
package pendinglogin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// StoragePrefix is the prefix of the logins' entries.
const StoragePrefix = "login/"

const storedVersion = 1

// ErrNotFound says that there is no such login: it never began, it has ended, or it
// has expired.
var ErrNotFound = errors.New("pendinglogin: unknown, used or expired")

// Storage is what a Store needs of Vault's storage. Get returns nil, nil if there is
// no entry; List returns the names directly below a prefix.
type Storage interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string) ([]string, error)
}

// Login is a login that has begun.
type Login struct {
	Account      string
	Client       string
	RedirectURI  string
	Scope        string // the scope that was asked for; "" if none was
	ResponseMode string // "query" or "form_post"
	Verifier     oauth.Secret
	Expires      time.Time
	AndSpare     bool // a second login, for a spare grant, follows in the same visit
	AsSpare      bool // this is that second login
}

// stored is the stored form of a login.
type stored struct {
	entry.Header
	StateHash    string    `json:"state_sha256"`
	Account      string    `json:"account"`
	Client       string    `json:"client"`
	RedirectURI  string    `json:"redirect_uri"`
	Scope        string    `json:"scope,omitempty"`
	ResponseMode string    `json:"response_mode"`
	Verifier     string    `json:"code_verifier"`
	Expires      time.Time `json:"expires"`
	AndSpare     bool      `json:"and_spare,omitempty"`
	AsSpare      bool      `json:"as_spare,omitempty"`
}

func (l Login) stored(hash string) *stored {
	return &stored{
		StateHash: hash, Account: l.Account, Client: l.Client, RedirectURI: l.RedirectURI, Scope: l.Scope, ResponseMode: l.ResponseMode,
		Verifier: l.Verifier.Reveal(), Expires: l.Expires, AndSpare: l.AndSpare, AsSpare: l.AsSpare,
	}
}

func (s *stored) login() *Login {
	return &Login{
		Account: s.Account, Client: s.Client, RedirectURI: s.RedirectURI, Scope: s.Scope, ResponseMode: s.ResponseMode,
		Verifier: oauth.NewSecret(s.Verifier), Expires: s.Expires, AndSpare: s.AndSpare, AsSpare: s.AsSpare,
	}
}

// Store keeps logins. It is safe for concurrent use, except that two calls of Claim
// with one state may both succeed: call Claim under the lock of the login's account.
type Store struct {
	Storage Storage
	Now     func() time.Time
}

// Begin stores a login under its state.
func (s Store) Begin(ctx context.Context, state oauth.Secret, l Login) error {
	key, hash := keyFor(state)
	value, err := entry.Encode(storedVersion, l.stored(hash))
	if err != nil {
		return err
	}
	return s.Storage.Put(ctx, key, value)
}

// Find returns the login of a state, or ErrNotFound.
func (s Store) Find(ctx context.Context, state oauth.Secret) (*Login, error) {
	key, hash := keyFor(state)
	found, err := s.get(ctx, key)
	if err != nil {
		return nil, err
	}
	// The key is the first half of the hash. The second half is compared in constant
	// time, because the time that a storage takes to find a key says nothing about it.
	if found == nil || subtle.ConstantTimeCompare([]byte(found.StateHash), []byte(hash)) != 1 || !s.Now().Before(found.Expires) {
		return nil, ErrNotFound
	}
	return found.login(), nil
}

// Claim marks a login as used. claimed is false if the state is unknown, used or
// expired.
func (s Store) Claim(ctx context.Context, state oauth.Secret) (claimed bool, err error) {
	_, err = s.Find(ctx, state)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	key, _ := keyFor(state)
	if err := s.Storage.Delete(ctx, key); err != nil {
		return false, err
	}
	return true, nil
}

// Cancel ends all logins of an account.
func (s Store) Cancel(ctx context.Context, account string) error {
	_, err := s.remove(ctx, func(l *stored) bool { return l.Account == account })
	return err
}

// RemoveExpired removes the logins that have expired, and returns their number.
func (s Store) RemoveExpired(ctx context.Context) (removed int, err error) {
	now := s.Now()
	return s.remove(ctx, func(l *stored) bool { return !now.Before(l.Expires) })
}

func (s Store) remove(ctx context.Context, which func(*stored) bool) (removed int, err error) {
	names, err := s.Storage.List(ctx, StoragePrefix)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		l, err := s.get(ctx, StoragePrefix+name)
		var unreadable *entry.UnreadableError
		if errors.As(err, &unreadable) {
			continue // a newer plugin may have written it
		}
		if err != nil {
			return removed, err
		}
		if l == nil || !which(l) {
			continue
		}
		if err := s.Storage.Delete(ctx, StoragePrefix+name); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// get returns nil, nil if there is no entry.
func (s Store) get(ctx context.Context, key string) (*stored, error) {
	value, err := s.Storage.Get(ctx, key)
	if err != nil || value == nil {
		return nil, err
	}
	var l stored
	err = entry.Decode(value, storedVersion, &l)
	var unreadable *entry.UnreadableError
	switch {
	case err == nil:
		return &l, nil
	case errors.As(err, &unreadable) && unreadable.Newer():
		return nil, fmt.Errorf("the entry %s %w; register the newer plugin again, or begin the login again", key, err)
	default:
		return nil, fmt.Errorf("the entry %s %w; begin the login again", key, err)
	}
}

// keyFor returns the key of a state's login, and the state's SHA-256 in hex.
func keyFor(state oauth.Secret) (key, hash string) {
	sum := sha256.Sum256([]byte(state.Reveal()))
	hash = hex.EncodeToString(sum[:])
	return StoragePrefix + hash[:len(hash)/2], hash
}
