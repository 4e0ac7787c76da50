package backend

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/hashicorp/vault/sdk/helper/locksutil"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const (
	clientPrefix  = "client/"
	clientVersion = 1

	defaultTokenURL     = "https://sso.pageroonline.com/oauth/v2/oauth-token"
	defaultAuthorizeURL = "https://sso.pageroonline.com/oauth/v2/oauth-authorize"
	defaultRevokeURL    = "https://sso.pageroonline.com/oauth/v2/oauth-revoke"
)

var authMethods = []any{string(oauth.AuthBasic), string(oauth.AuthPost)}

// client is an OAuth client registered at Pagero. Who changes one and saves it holds
// its lock; see lockClient.
type client struct {
	ID             string
	Secret         oauth.Secret
	PreviousSecret oauth.Secret // until Secret has worked once
	AuthMethod     string
	TokenURL       string
	AuthorizeURL   string
	RevokeURL      string
	RedirectURIs   []string
	Scopes         []string // asked for where a login asks for no others
	CACert         string   // PEM; "": the system's
	Issuer         string   // RFC 8414; what iss must be (RFC 9207); "": not checked
	Revision       string   // changes with every write
}

// storedClient is the entry of a client. The names are for ever.
type storedClient struct {
	Version        int      `json:"version"`
	ID             string   `json:"client_id"`
	Secret         string   `json:"client_secret"`
	PreviousSecret string   `json:"previous_client_secret,omitempty"`
	AuthMethod     string   `json:"auth_method"`
	TokenURL       string   `json:"token_url"`
	AuthorizeURL   string   `json:"authorize_url"`
	RevokeURL      string   `json:"revoke_url"`
	RedirectURIs   []string `json:"redirect_uris,omitempty"`
	Scopes         []string `json:"scopes,omitempty"`
	CACert         string   `json:"ca_cert,omitempty"`
	Issuer         string   `json:"issuer,omitempty"`
	Revision       string   `json:"revision"`
}

// validate checks what a client's fields must be, whatever they were before.
func (c *client) validate(name string, allowedHosts []string) error {
	switch {
	case c.ID == "":
		return invalid("client %q: client_id is required", name)
	case !c.Secret.IsSet():
		return invalid("client %q: client_secret is required", name)
	case !slices.Contains(authMethods, any(c.AuthMethod)):
		return invalid("client %q: auth_method must be client_secret_basic or client_secret_post", name)
	}
	for _, endpoint := range c.endpoints() {
		u, err := parseEndpoint(endpoint.field, endpoint.url)
		if err != nil {
			return invalid("client %q: %v", name, err)
		}
		if !hostAllowed(u, allowedHosts) && !endpoint.unwritten() {
			return invalid("client %q: the host %q of %s is not one of the allowed_hosts; an administrator adds it with a write of allowed_hosts to config",
				name, u.Hostname(), endpoint.field)
		}
	}
	for _, uri := range c.RedirectURIs {
		if _, err := parseEndpoint(fieldRedirectURIs, uri); err != nil {
			return invalid("client %q: %v", name, err)
		}
	}
	if c.Issuer != "" {
		if u, err := parseEndpoint(fieldIssuer, c.Issuer); err != nil || u.RawQuery != "" {
			return invalid("client %q: issuer must be an https URL without a query or a fragment (RFC 8414)", name)
		}
	}
	if c.CACert != "" {
		if err := oauth.ValidateCACert([]byte(c.CACert)); err != nil {
			return invalid("client %q: %v", name, err)
		}
	}
	return nil
}

// endpoints are the URLs that Vault or a browser is sent to.
func (c *client) endpoints() []endpoint {
	return []endpoint{
		{fieldTokenURL, c.TokenURL}, {fieldAuthorizeURL, c.AuthorizeURL}, {fieldRevokeURL, c.RevokeURL},
	}
}

type endpoint struct{ field, url string }

// unwritten tells whether the endpoint is one of Pagero's that nobody has
// written and that refreshing does not use: allowed_hosts need not hold it.
func (e endpoint) unwritten() bool {
	return (e.field == fieldAuthorizeURL && e.url == defaultAuthorizeURL) || (e.field == fieldRevokeURL && e.url == defaultRevokeURL)
}

func (e endpoint) host() string {
	u, err := url.Parse(e.url)
	if err != nil {
		return ""
	}
	return u.Host
}

// replace checks what a change of the old client must not do, and keeps the secret
// that it replaces until the new one has worked. newSecret tells whether the write
// brought a client_secret.
func (c *client) replace(name string, old *client, newSecret bool) error {
	moved := c.ID != old.ID
	if moved && !newSecret {
		return invalid("client %q: a change of client_id must come with the client_secret", name)
	}
	for i, endpoint := range c.endpoints() {
		if endpoint.host() == old.endpoints()[i].host() {
			continue
		}
		moved = true
		if !newSecret {
			return invalid("client %q: a change of %s to another host must come with the client_secret", name, endpoint.field)
		}
	}
	if c.CACert != old.CACert {
		// Whoever it trusts can be the server.
		moved = true
		if !newSecret {
			return invalid("client %q: a change of ca_cert must come with the client_secret", name)
		}
	}
	switch {
	case moved:
		// The old secret belongs to another client, or to another server.
		c.PreviousSecret = oauth.Secret{}
	case c.Secret.Equal(old.PreviousSecret):
		// It is back; the one between has never worked.
		c.PreviousSecret = oauth.Secret{}
	case newSecret && !c.Secret.Equal(old.Secret) && !old.PreviousSecret.IsSet():
		// Where there is a previous secret already, the one that is replaced has
		// never worked, and the previous one has.
		c.PreviousSecret = old.Secret
	}
	return nil
}

// loadClient returns nil, nil where there is no such client.
func (b *backend) loadClient(ctx context.Context, name string) (*client, error) {
	var s storedClient
	found, err := getJSON(ctx, b.storage, clientPrefix+name, &s)
	if err != nil {
		return nil, fmt.Errorf("client %q: %w", name, err)
	}
	if !found {
		return nil, nil
	}
	if err := checkVersion(clientPrefix+name, s.Version, clientVersion); err != nil {
		return nil, fmt.Errorf("client %q: %w", name, err)
	}
	return &client{
		ID:             s.ID,
		Secret:         oauth.NewSecret(s.Secret),
		PreviousSecret: oauth.NewSecret(s.PreviousSecret),
		AuthMethod:     s.AuthMethod,
		TokenURL:       s.TokenURL,
		AuthorizeURL:   s.AuthorizeURL,
		RevokeURL:      s.RevokeURL,
		RedirectURIs:   s.RedirectURIs,
		Scopes:         s.Scopes,
		CACert:         s.CACert,
		Issuer:         s.Issuer,
		Revision:       s.Revision,
	}, nil
}

// saveClient writes a client; the caller holds its lock.
func (b *backend) saveClient(ctx context.Context, name string, c *client) error {
	return putJSON(ctx, b.storage, clientPrefix+name, storedClient{
		Version:        clientVersion,
		ID:             c.ID,
		Secret:         c.Secret.Reveal(),
		PreviousSecret: c.PreviousSecret.Reveal(),
		AuthMethod:     c.AuthMethod,
		TokenURL:       c.TokenURL,
		AuthorizeURL:   c.AuthorizeURL,
		RevokeURL:      c.RevokeURL,
		RedirectURIs:   c.RedirectURIs,
		Scopes:         c.Scopes,
		CACert:         c.CACert,
		Issuer:         c.Issuer,
		Revision:       c.Revision,
	})
}

// lockClient takes the lock of a client, which is held over the storage. Clients'
// locks come from a pool, so that two clients may have the same: they are never
// nested. An account's lock may be held already, and is never taken within.
func (b *backend) lockClient(name string) (unlock func()) {
	lock := locksutil.LockForKey(b.clientLocks, name)
	lock.Lock()
	return lock.Unlock
}

// revocationURL is where grants are revoked; "" where nothing may be sent. Pagero's
// own endpoint, which is there where none was written, gets no tokens of another
// server.
func (c *client) revocationURL(allowedHosts []string) string {
	u, err := parseEndpoint(fieldRevokeURL, c.RevokeURL)
	if err != nil || !hostAllowed(u, allowedHosts) {
		return ""
	}
	token := endpoint{fieldTokenURL, c.TokenURL}
	if c.RevokeURL == defaultRevokeURL && token.host() != u.Host {
		return ""
	}
	return c.RevokeURL
}

// Client implements account.Clients. The host is checked again: allowed_hosts
// may have changed since the client was written.
func (b *backend) Client(ctx context.Context, name string) (*account.Client, error) {
	c, err := b.loadClient(ctx, name)
	var unreadable *unreadableError
	if errors.As(err, &unreadable) {
		return nil, &account.Error{Kind: account.KindStorage, Text: unreadable.text}
	}
	if err != nil || c == nil {
		return nil, err
	}
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	u, err := parseEndpoint(fieldTokenURL, c.TokenURL)
	switch {
	case err != nil:
		return nil, &account.Error{Kind: account.KindClient, Text: fmt.Sprintf("the token_url of its client %q must be an https URL; correct clients/%s", name, name)}
	case !hostAllowed(u, cfg.AllowedHosts):
		return nil, &account.Error{Kind: account.KindClient, Text: fmt.Sprintf(
			"the host %q of its client %q is not one of the allowed_hosts any more; nothing was sent; correct config (allowed_hosts) or clients/%s", u.Hostname(), name, name)}
	}
	return &account.Client{
		Client: oauth.Client{
			ID:         c.ID,
			Secret:     c.Secret,
			AuthMethod: oauth.AuthMethod(c.AuthMethod),
			TokenURL:   c.TokenURL,
			RevokeURL:  c.revocationURL(cfg.AllowedHosts),
			CACert:     []byte(c.CACert),
		},
		PreviousSecret: c.PreviousSecret,
		Revision:       c.Revision,
	}, nil
}

// SecretWorked implements account.Clients: it forgets the previous secret.
func (b *backend) SecretWorked(ctx context.Context, name, revision string) error {
	defer b.lockClient(name)()
	c, err := b.loadClient(ctx, name)
	if err != nil || c == nil || c.Revision != revision || !c.PreviousSecret.IsSet() {
		return err
	}
	c.PreviousSecret = oauth.Secret{}
	return b.saveClient(ctx, name, c)
}
