package backend

import (
	"slices"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

const (
	minExchangeTimeout = time.Second
	maxExchangeTimeout = 60 * time.Second // Vault gives up a request after 90 s
	minKeepalive       = time.Minute
	maxMaxExchanges    = 10000 // more than one process has files and memory for
)

// config is the settings of the mount.
type config struct {
	AllowedHosts          []string
	MinTTL                time.Duration
	ExchangeTimeout       time.Duration
	KeepaliveInterval     time.Duration // 0: idle grants are left alone
	AuthorizationLifetime time.Duration // 0: unknown
	MaxExchanges          int           // in progress at one time
	BackgroundRate        int           // exchanges a second that the plugin begins by itself
}

func defaultConfig() *config {
	return &config{
		AllowedHosts:          []string{"*.pageroonline.com"},
		MinTTL:                2 * time.Minute,
		ExchangeTimeout:       15 * time.Second,
		KeepaliveInterval:     720 * time.Hour,
		AuthorizationLifetime: 26280 * time.Hour, // three years
		MaxExchanges:          128,
		BackgroundRate:        50,
	}
}

// validate checks the settings and puts allowed_hosts into its normal form.
func (c *config) validate() error {
	if c.ExchangeTimeout < minExchangeTimeout || c.ExchangeTimeout > maxExchangeTimeout {
		return invalid("exchange_timeout must be between %s and %s", minExchangeTimeout, maxExchangeTimeout)
	}
	if c.KeepaliveInterval != 0 && c.KeepaliveInterval < minKeepalive {
		return invalid("keepalive_interval must be 0 (off) or at least %s", minKeepalive)
	}
	if c.MaxExchanges < 1 || c.MaxExchanges > maxMaxExchanges {
		return invalid("max_exchanges must be between 1 and %d", maxMaxExchanges)
	}
	if c.BackgroundRate < 1 {
		return invalid("background_rate must be at least 1")
	}
	if len(c.AllowedHosts) == 0 {
		return invalid("allowed_hosts must not be empty, because no client could be used then")
	}
	hosts := slices.Clone(c.AllowedHosts) // the old config shares the slice
	for i, host := range hosts {
		normal, err := normalizeHostPattern(host)
		if err != nil {
			return err
		}
		hosts[i] = normal
	}
	c.AllowedHosts = hosts
	return nil
}

// settings returns the part that accounts need.
func (c *config) settings() rotation.Settings {
	return rotation.Settings{
		MinTTL: c.MinTTL, ExchangeTimeout: c.ExchangeTimeout,
		KeepaliveInterval: c.KeepaliveInterval, AuthorizationLifetime: c.AuthorizationLifetime,
		MaxExchanges: c.MaxExchanges, BackgroundRate: c.BackgroundRate,
	}
}
