package pendinglogin

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry/entrytest"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var errDisk = errors.New("disk on fire")

// memory is a Storage in memory; fails is the verb that does not work.
type memory struct {
	entries map[string][]byte
	fails   string
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	if m.fails == "get" {
		return nil, errDisk
	}
	return m.entries[key], nil
}

func (m *memory) Put(_ context.Context, key string, value []byte) error {
	if m.fails == "put" {
		return errDisk
	}
	m.entries[key] = value
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	if m.fails == "delete" {
		return errDisk
	}
	delete(m.entries, key)
	return nil
}

func (m *memory) List(_ context.Context, prefix string) ([]string, error) {
	if m.fails == "list" {
		return nil, errDisk
	}
	var names []string
	for _, key := range slices.Sorted(maps.Keys(m.entries)) {
		names = append(names, strings.TrimPrefix(key, prefix))
	}
	return names, nil
}

// fixture is a Store at noon, with the login of acme under state.
func fixture(t *testing.T) (s Store, m *memory, now *time.Time, state oauth.Secret) {
	t.Helper()
	clock := noon
	m = &memory{entries: map[string][]byte{}}
	s = Store{Storage: m, Now: func() time.Time { return clock }}
	state = oauth.NewRandom()
	if err := s.Begin(t.Context(), state, acme()); err != nil {
		t.Fatal(err)
	}
	return s, m, &clock, state
}

// acme is a login with every field set.
func acme() Login {
	return Login{
		Account: "acme", Client: "default", RedirectURI: "https://vault.example.com/v1/pagero/callback", Scope: "all", ResponseMode: "query",
		Verifier: oauth.NewSecret("verifier"), Expires: noon.Add(10 * time.Minute), AndSpare: true, AsSpare: true,
	}
}

func TestLoginIsFoundByItsState(t *testing.T) {
	s, m, _, state := fixture(t)
	got, err := s.Find(t.Context(), state)
	if err != nil || got.Verifier.Reveal() != "verifier" {
		t.Fatalf("%+v, %v", got, err)
	}
	want := acme()
	got.Verifier = want.Verifier
	if *got != want {
		t.Errorf("%+v, want %+v", *got, want)
	}
	for key, value := range m.entries {
		if strings.Contains(key+string(value), state.Reveal()) {
			t.Error("the state is stored")
		}
	}
}

func TestNoOtherStateFindsIt(t *testing.T) {
	s, m, _, state := fixture(t)
	for _, other := range []string{"", "x", state.Reveal()[1:], state.Reveal() + "x", strings.ToUpper(state.Reveal())} {
		if l, err := s.Find(t.Context(), oauth.NewSecret(other)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %+v, %v", other, l, err)
		}
	}
	// Not even one whose hash begins in the same way.
	key, _ := keyFor(state)
	other := oauth.NewRandom()
	otherKey, _ := keyFor(other)
	m.entries[otherKey] = m.entries[key]
	if l, err := s.Find(t.Context(), other); !errors.Is(err, ErrNotFound) {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestLoginIsClaimedOnce(t *testing.T) {
	s, m, _, state := fixture(t)
	if claimed, err := s.Claim(t.Context(), state); err != nil || !claimed {
		t.Fatalf("claimed %v, %v", claimed, err)
	}
	if claimed, err := s.Claim(t.Context(), state); err != nil || claimed || len(m.entries) > 0 {
		t.Errorf("claimed %v, %v, %d entries", claimed, err, len(m.entries))
	}
}

func TestExpiredLoginIsNotFoundAndRemoved(t *testing.T) {
	s, m, now, state := fixture(t)
	*now = noon.Add(10*time.Minute - 1)
	if n, err := s.RemoveExpired(t.Context()); n != 0 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	*now = noon.Add(10 * time.Minute)
	if claimed, err := s.Claim(t.Context(), state); claimed || err != nil {
		t.Errorf("claimed %v, %v", claimed, err)
	}
	if n, err := s.RemoveExpired(t.Context()); n != 1 || err != nil || len(m.entries) > 0 {
		t.Errorf("removed %d, %v", n, err)
	}
}

func TestCancelEndsTheLoginsOfOneAccount(t *testing.T) {
	s, m, _, state := fixture(t)
	other, l := oauth.NewRandom(), acme()
	l.Account = "other"
	if err := s.Begin(t.Context(), other, l); err != nil {
		t.Fatal(err)
	}
	m.entries[StoragePrefix+"newer"] = []byte(`{"version":99}`) // stays, and stops nothing
	if err := s.Cancel(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(t.Context(), state); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := s.Find(t.Context(), other); err != nil || len(m.entries) != 2 {
		t.Errorf("%v, %d entries", err, len(m.entries))
	}
}

func TestStorageErrorsAreNotTakenForAnUnknownLogin(t *testing.T) {
	for verb, do := range map[string]func(Store, context.Context, oauth.Secret) error{
		"get": func(s Store, ctx context.Context, state oauth.Secret) error { _, err := s.Find(ctx, state); return err },
		"delete": func(s Store, ctx context.Context, state oauth.Secret) error {
			_, err := s.Claim(ctx, state)
			return err
		},
		"put":  func(s Store, ctx context.Context, state oauth.Secret) error { return s.Begin(ctx, state, acme()) },
		"list": func(s Store, ctx context.Context, _ oauth.Secret) error { return s.Cancel(ctx, "acme") },
	} {
		s, m, _, state := fixture(t)
		m.fails = verb
		if err := do(s, t.Context(), state); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

func TestStoredFormIsAsInTheGoldenFile(t *testing.T) {
	entrytest.Golden(t, entrytest.Kind{
		Name: "login", Newest: storedVersion, Form: stored{},
		Recode: func(value []byte) ([]byte, error) {
			var l stored
			if err := entry.Decode(value, storedVersion, &l); err != nil {
				return nil, err
			}
			return entry.Encode(storedVersion, l.login().stored(l.StateHash))
		},
	})
}

func TestEntriesThatCannotBeReadAreRefused(t *testing.T) {
	s, m, _, state := fixture(t)
	key, _ := keyFor(state)
	for text, want := range map[string]string{
		`{"version":2}`: "has version 2, and this plugin reads up to 1; it was left as it is; register the newer plugin again", `{}`: "is not readable", `no JSON`: "is not readable",
	} {
		m.entries[key] = []byte(text)
		_, err := s.Find(t.Context(), state)
		if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "JSON") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
