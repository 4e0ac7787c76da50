package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (b *backend) pathConfig() []*framework.Path {
	return []*framework.Path{{
		Pattern: "config",
		Fields:  configFields(),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation{
				handler: b.readConfig, verb: "read", suffix: "configuration",
				summary:     "Read the mount's settings.",
				description: "Returns the settings in force. A setting that was never written has its default.",
				responses:   ok("The settings in force.", configFields()),
			}.build(),
			logical.UpdateOperation: operation{
				handler: b.writeConfig, verb: "configure", suffix: "",
				summary:     "Change the mount's settings.",
				description: "Changes the given fields only.",
				responses:   noContent("The settings are stored."),
			}.build(),
			logical.DeleteOperation: operation{
				handler: b.deleteConfig, verb: "reset", suffix: "configuration",
				summary:     "Put the mount's settings back to their defaults.",
				description: "Clients and accounts stay as they are.",
				responses:   noContent("The defaults are in force."),
			}.build(),
		},
		HelpSynopsis: "Settings of the whole mount.",
		HelpDescription: `
All settings have defaults that fit Pagero Online, so you need not write any to
begin. allowed_hosts limits the hosts that clients may name, so that a user who
can write a client cannot send secrets elsewhere.`,
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix},
	}}
}

func configFields() map[string]*framework.FieldSchema {
	d := defaultConfig()
	return map[string]*framework.FieldSchema{
		fieldAllowedHosts: {
			Type: framework.TypeCommaStringSlice, Default: d.AllowedHosts,
			Description:  "Hosts that the endpoints of clients may name: host names, IP addresses, or *.domain for all names below a domain. No ports.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Allowed hosts"},
		},
		fieldMinTTL: {
			Type: framework.TypeDurationSecond, Default: seconds(d.MinTTL),
			Description:  "Remaining life below which a read replaces an access token; counts for at most half of the token's lifetime.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Minimal TTL"},
		},
		fieldExchangeTimeout: {
			Type: framework.TypeDurationSecond, Default: seconds(d.ExchangeTimeout),
			Description:  "How long one exchange with the token endpoint may take, between 1s and 60s.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Exchange time-out"},
		},
		fieldKeepaliveInterval: {
			Type: framework.TypeDurationSecond, Default: seconds(d.KeepaliveInterval),
			Description:  "How long a grant may stay unused. It is refreshed before then, because an idle refresh token may expire sooner than the authorization. 0 is off.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Keep-alive interval"},
		},
		fieldAuthorizationLifetime: {
			Type: framework.TypeDurationSecond, Default: seconds(d.AuthorizationLifetime),
			Description:  "How long an authorization lasts from its login; 0 is unknown. It is used for warnings only.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Authorization lifetime"},
		},
		fieldMaxExchanges: {
			Type: framework.TypeInt, Default: d.MaxExchanges,
			Description:  "How many exchanges with one token endpoint may be in progress at one time, between 1 and 10000: those of readers and those in the background together.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Maximal exchanges"},
		},
		fieldBackgroundRate: {
			Type: framework.TypeInt, Default: d.BackgroundRate,
			Description:  "How many exchanges a second the plugin begins by itself, at least 1.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Background rate"},
		},
	}
}

func (b *backend) readConfig(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	c, err := b.config.load(ctx)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		fieldAllowedHosts:          c.AllowedHosts,
		fieldMinTTL:                seconds(c.MinTTL),
		fieldExchangeTimeout:       seconds(c.ExchangeTimeout),
		fieldKeepaliveInterval:     seconds(c.KeepaliveInterval),
		fieldAuthorizationLifetime: seconds(c.AuthorizationLifetime),
		fieldMaxExchanges:          c.MaxExchanges,
		fieldBackgroundRate:        c.BackgroundRate,
	}}, nil
}

func (b *backend) writeConfig(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	err := b.config.update(ctx, func(c *config) error {
		given(data, fieldAllowedHosts, &c.AllowedHosts)
		given(data, fieldMinTTL, &c.MinTTL)
		given(data, fieldExchangeTimeout, &c.ExchangeTimeout)
		given(data, fieldKeepaliveInterval, &c.KeepaliveInterval)
		given(data, fieldAuthorizationLifetime, &c.AuthorizationLifetime)
		given(data, fieldMaxExchanges, &c.MaxExchanges)
		given(data, fieldBackgroundRate, &c.BackgroundRate)
		return c.validate()
	})
	if err != nil {
		return nil, err
	}
	b.accounts.ConfigWritten() // allowed_hosts may allow a client again
	return nil, nil
}

func (b *backend) deleteConfig(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	if err := b.config.remove(ctx); err != nil {
		return nil, err
	}
	b.accounts.ConfigWritten()
	return nil, nil
}
