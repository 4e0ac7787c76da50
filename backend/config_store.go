package backend

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

const (
	configKey     = "config"
	configVersion = 1
)

// storedConfig is the stored form of the settings. An absent field has its default.
type storedConfig struct {
	entry.Header
	AllowedHosts          []string `json:"allowed_hosts"`
	MinTTL                int64    `json:"min_ttl_seconds"`
	ExchangeTimeout       int64    `json:"exchange_timeout_seconds"`
	KeepaliveInterval     int64    `json:"keepalive_interval_seconds"`
	AuthorizationLifetime int64    `json:"authorization_lifetime_seconds"`
	MaxExchanges          int      `json:"max_exchanges"`
	BackgroundRate        int      `json:"background_rate"`
}

func (c *config) stored() *storedConfig {
	return &storedConfig{
		AllowedHosts:          c.AllowedHosts,
		MinTTL:                seconds(c.MinTTL),
		ExchangeTimeout:       seconds(c.ExchangeTimeout),
		KeepaliveInterval:     seconds(c.KeepaliveInterval),
		AuthorizationLifetime: seconds(c.AuthorizationLifetime),
		MaxExchanges:          c.MaxExchanges,
		BackgroundRate:        c.BackgroundRate,
	}
}

func (s *storedConfig) config() *config {
	return &config{
		AllowedHosts:          s.AllowedHosts,
		MinTTL:                time.Duration(s.MinTTL) * time.Second,
		ExchangeTimeout:       time.Duration(s.ExchangeTimeout) * time.Second,
		KeepaliveInterval:     time.Duration(s.KeepaliveInterval) * time.Second,
		AuthorizationLifetime: time.Duration(s.AuthorizationLifetime) * time.Second,
		MaxExchanges:          s.MaxExchanges,
		BackgroundRate:        s.BackgroundRate,
	}
}

// configStore keeps the settings of the mount, in the storage and in memory. It is
// safe for concurrent use. The configs that it returns must not be changed.
type configStore struct {
	storage vaultStorage
	writing sync.Mutex // held by a writer, across its storage operations

	latest atomic.Pointer[loadedConfig]
	// epoch counts the events that make a config in memory, or one that is being
	// read, out of date.
	epoch atomic.Uint64
}

// loadedConfig is a config, and the epoch in which its read began.
type loadedConfig struct {
	config *config
	epoch  uint64
}

// cached returns the settings that are in memory, or nil if the storage must be
// asked. It takes no lock, because every read of a token calls it.
func (s *configStore) cached() *config {
	if l := s.latest.Load(); l != nil && l.epoch == s.epoch.Load() {
		return l.config
	}
	return nil
}

// load returns the settings from memory, or else from the storage.
func (s *configStore) load(ctx context.Context) (*config, error) {
	if c := s.cached(); c != nil {
		return c, nil
	}
	epoch := s.epoch.Load()
	form := defaultConfig().stored()
	if _, err := s.storage.readEntry(ctx, configKey, configVersion, form); err != nil {
		return nil, err
	}
	c := form.config()
	s.latest.Store(&loadedConfig{c, epoch})
	return c, nil
}

// update applies a change to a copy of the settings and saves the copy. It changes
// nothing if change returns an error.
func (s *configStore) update(ctx context.Context, change func(*config) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	old, err := s.load(ctx)
	if err != nil {
		return err
	}
	c := *old
	if err := change(&c); err != nil {
		return err
	}
	defer s.invalidate()
	return s.storage.writeEntry(ctx, configKey, configVersion, c.stored())
}

// remove puts the settings back to their defaults.
func (s *configStore) remove(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	defer s.invalidate()
	return s.storage.deleteEntry(ctx, configKey)
}

// invalidate makes the next reader ask the storage. It also outdates the result of a
// read that is in progress.
func (s *configStore) invalidate() { s.epoch.Add(1) }

// settings returns the part of the settings that accounts need.
func (s *configStore) settings(ctx context.Context) (rotation.Settings, error) {
	c, err := s.load(ctx)
	if err != nil {
		return rotation.Settings{}, err
	}
	return c.settings(), nil
}
