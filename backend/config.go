package backend

import (
	"context"
	"slices"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

const (
	configKey     = "config"
	configVersion = 1

	minExchangeTimeout = time.Second
	minKeepalive       = time.Minute
	maxExchangeTimeout = 60 * time.Second // Vault gives up a request after 90 s
)

// config is the mount's settings. Values are immutable once loaded.
type config struct {
	AllowedHosts          []string
	MinTTL                time.Duration
	ExchangeTimeout       time.Duration
	KeepaliveInterval     time.Duration // 0: idle grants are left alone
	AuthorizationLifetime time.Duration // 0: not known

	// epoch is configEpoch as it was before these settings were read: they are out
	// of date where it has moved on. It is not stored.
	epoch uint64
}

// storedConfig is the entry of the settings. The names are for ever.
type storedConfig struct {
	Version               int      `json:"version"`
	AllowedHosts          []string `json:"allowed_hosts"`
	MinTTL                int64    `json:"min_ttl_seconds"`
	ExchangeTimeout       int64    `json:"exchange_timeout_seconds"`
	KeepaliveInterval     *int64   `json:"keepalive_interval_seconds,omitempty"` // nil: the default
	AuthorizationLifetime int64    `json:"authorization_lifetime_seconds"`
}

func defaultConfig() *config {
	return &config{
		AllowedHosts:          []string{"*.pageroonline.com"},
		MinTTL:                2 * time.Minute,
		ExchangeTimeout:       15 * time.Second,
		KeepaliveInterval:     720 * time.Hour,
		AuthorizationLifetime: 26280 * time.Hour, // three years
	}
}

func (c *config) validate() error {
	if c.ExchangeTimeout < minExchangeTimeout || c.ExchangeTimeout > maxExchangeTimeout {
		return invalid("exchange_timeout must be between %s and %s", minExchangeTimeout, maxExchangeTimeout)
	}
	if c.KeepaliveInterval != 0 && c.KeepaliveInterval < minKeepalive {
		return invalid("keepalive_interval must be 0 (off) or at least %s", minKeepalive)
	}
	if len(c.AllowedHosts) == 0 {
		return invalid("allowed_hosts must not be empty: no client could be used")
	}
	for i, host := range c.AllowedHosts {
		normal, err := normalizeHostPattern(host)
		if err != nil {
			return err
		}
		if i == 0 {
			c.AllowedHosts = slices.Clone(c.AllowedHosts)
		}
		c.AllowedHosts[i] = normal
	}
	return nil
}

// cachedConfig returns the settings that memory has; nil: ask the storage. It takes
// no lock: every read of a token comes here.
func (b *backend) cachedConfig() *config {
	if c := b.config.Load(); c != nil && c.epoch == b.configEpoch.Load() {
		return c
	}
	return nil
}

// loadConfig returns the settings from memory, or else from the storage.
func (b *backend) loadConfig(ctx context.Context) (*config, error) {
	if c := b.cachedConfig(); c != nil {
		return c, nil
	}
	epoch := b.configEpoch.Load()
	c := defaultConfig()
	var s storedConfig
	found, err := getJSON(ctx, b.storage, configKey, &s)
	if err != nil {
		return nil, err
	}
	if found {
		if err := checkVersion(configKey, s.Version, configVersion); err != nil {
			return nil, err
		}
		c = &config{
			AllowedHosts:          s.AllowedHosts,
			MinTTL:                time.Duration(s.MinTTL) * time.Second,
			ExchangeTimeout:       time.Duration(s.ExchangeTimeout) * time.Second,
			KeepaliveInterval:     defaultConfig().KeepaliveInterval,
			AuthorizationLifetime: time.Duration(s.AuthorizationLifetime) * time.Second,
		}
		if s.KeepaliveInterval != nil {
			c.KeepaliveInterval = time.Duration(*s.KeepaliveInterval) * time.Second
		}
	}
	c.epoch = epoch
	b.config.Store(c)
	return c, nil
}

func (b *backend) saveConfig(ctx context.Context, c *config) error {
	defer b.dropConfig()
	keepalive := seconds(c.KeepaliveInterval)
	return putJSON(ctx, b.storage, configKey, storedConfig{
		Version:               configVersion,
		AllowedHosts:          c.AllowedHosts,
		MinTTL:                seconds(c.MinTTL),
		ExchangeTimeout:       seconds(c.ExchangeTimeout),
		KeepaliveInterval:     &keepalive,
		AuthorizationLifetime: seconds(c.AuthorizationLifetime),
	})
}

func (b *backend) removeConfig(ctx context.Context) error {
	defer b.dropConfig()
	return deleteKey(ctx, b.storage, configKey)
}

// dropConfig makes the next reader ask the storage, also where one that began
// before is under way.
func (b *backend) dropConfig() { b.configEpoch.Add(1) }

// settings is the part of the config that accounts need.
func (b *backend) settings(ctx context.Context) (account.Settings, error) {
	c, err := b.loadConfig(ctx)
	if err != nil {
		return account.Settings{}, err
	}
	return c.settings(), nil
}

func (c *config) settings() account.Settings {
	return account.Settings{
		MinTTL: c.MinTTL, ExchangeTimeout: c.ExchangeTimeout,
		KeepaliveInterval: c.KeepaliveInterval, AuthorizationLifetime: c.AuthorizationLifetime,
	}
}
