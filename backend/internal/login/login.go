// Package login keeps what Vault has to remember between the beginning of a
// login at the authorization server and its callback (RFC 6749, section 4.1): to
// whom the code belongs, and the PKCE verifier that redeems it (RFC 7636).
//
// A login is found by its state, which only the browser has: the storage holds
// the state's hash. It is an entry of its own, so that it survives a restart and
// a failover, and works once: [Store.Claim] deletes it before its code is sent.
// A state that nobody was given costs one read and leaves nothing behind.
package login

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// StoragePrefix is where the logins' entries are.
const StoragePrefix = "login/"

const storedVersion = 1

// ErrNotFound says that there is no such login: it never began, has ended or is
// too old.
var ErrNotFound = errors.New("login: unknown, used or expired")

// Storage is what a Store needs of Vault's storage; see account.Storage.
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
	Scope        string // as asked for; "": none
	ResponseMode string // "query" or "form_post"
	Verifier     oauth.Secret
	Expires      time.Time
	// AndSpare wants one more login in the same visit, for a spare grant; AsSpare
	// is that one.
	AndSpare, AsSpare bool
}

// stored is a login's entry. The names are for ever.
type stored struct {
	Version      int       `json:"version"`
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

// Store keeps logins. It is safe for concurrent use; Claim is called under the
// account's lock, so that of two with one state one wins.
type Store struct {
	Storage Storage
	Now     func() time.Time
}

// Begin stores a login under its state.
func (s Store) Begin(ctx context.Context, state oauth.Secret, l Login) error {
	key, hash := place(state)
	value, err := json.Marshal(stored{
		Version: storedVersion, StateHash: hash,
		Account: l.Account, Client: l.Client, RedirectURI: l.RedirectURI, Scope: l.Scope, ResponseMode: l.ResponseMode,
		Verifier: l.Verifier.Reveal(), Expires: l.Expires, AndSpare: l.AndSpare, AsSpare: l.AsSpare,
	})
	if err != nil {
		return err
	}
	return s.Storage.Put(ctx, key, value)
}

// Find returns the login of a state, or ErrNotFound.
func (s Store) Find(ctx context.Context, state oauth.Secret) (*Login, error) {
	key, hash := place(state)
	e, err := s.get(ctx, key)
	if err != nil {
		return nil, err
	}
	// The key is half of the hash. The other half is compared in constant time:
	// how long a storage takes to find a key tells nothing of it.
	if e == nil || subtle.ConstantTimeCompare([]byte(e.StateHash), []byte(hash)) != 1 || !s.Now().Before(e.Expires) {
		return nil, ErrNotFound
	}
	return &Login{
		Account: e.Account, Client: e.Client, RedirectURI: e.RedirectURI, Scope: e.Scope, ResponseMode: e.ResponseMode,
		Verifier: oauth.NewSecret(e.Verifier), Expires: e.Expires, AndSpare: e.AndSpare, AsSpare: e.AsSpare,
	}, nil
}

// Claim makes a login used, or returns ErrNotFound where it is no more.
func (s Store) Claim(ctx context.Context, state oauth.Secret) error {
	if _, err := s.Find(ctx, state); err != nil {
		return err
	}
	key, _ := place(state)
	return s.Storage.Delete(ctx, key)
}

// Cancel ends all logins of an account.
func (s Store) Cancel(ctx context.Context, account string) error {
	_, err := s.remove(ctx, func(e *stored) bool { return e.Account == account })
	return err
}

// Tidy removes the logins that are too old, and returns how many.
func (s Store) Tidy(ctx context.Context) (removed int, err error) {
	now := s.Now()
	return s.remove(ctx, func(e *stored) bool { return !now.Before(e.Expires) })
}

func (s Store) remove(ctx context.Context, which func(*stored) bool) (removed int, err error) {
	names, err := s.Storage.List(ctx, StoragePrefix)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		e, err := s.get(ctx, StoragePrefix+name)
		var unreadable *unreadableError
		if errors.As(err, &unreadable) {
			continue // it stays: it may be a newer plugin's
		}
		if err != nil {
			return removed, err
		}
		if e == nil || !which(e) {
			continue
		}
		if err := s.Storage.Delete(ctx, StoragePrefix+name); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// get returns nil, nil where there is no entry.
func (s Store) get(ctx context.Context, key string) (*stored, error) {
	value, err := s.Storage.Get(ctx, key)
	if err != nil || value == nil {
		return nil, err
	}
	var e stored
	switch err := json.Unmarshal(value, &e); {
	case err != nil || e.Version < 1:
		return nil, &unreadableError{fmt.Sprintf("the entry %s is not readable; begin the login again", key)}
	case e.Version > storedVersion:
		return nil, &unreadableError{fmt.Sprintf("the entry %s has version %d; this plugin reads up to %d; "+
			"register the newer plugin again, or begin the login again", key, e.Version, storedVersion)}
	}
	return &e, nil
}

// unreadableError is about an entry that is there, but that this version of the
// plugin cannot read.
type unreadableError struct{ text string }

func (e *unreadableError) Error() string { return e.text }

// place is where the login of a state is, and the state's SHA-256 in hex.
func place(state oauth.Secret) (key, hash string) {
	sum := sha256.Sum256([]byte(state.Reveal()))
	hash = hex.EncodeToString(sum[:])
	return StoragePrefix + hash[:len(hash)/2], hash
}
