package backend

import (
	"net/url"
	"slices"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const (
	defaultTokenURL     = "https://sso.pageroonline.com/oauth/v2/oauth-token"
	defaultAuthorizeURL = "https://sso.pageroonline.com/oauth/v2/oauth-authorize"
	defaultRevokeURL    = "https://sso.pageroonline.com/oauth/v2/oauth-revoke"
)

var authMethods = []any{string(oauth.AuthBasic), string(oauth.AuthPost)}

// client is an OAuth client registered at Pagero.
type client struct {
	ID             string
	Secret         oauth.Secret
	PreviousSecret oauth.Secret // kept until Secret has worked once
	AuthMethod     string
	TokenURL       string
	AuthorizeURL   string
	RevokeURL      string
	RedirectURIs   []string
	Scopes         []string // the default of a login
	CACert         string   // in PEM; "" for the authorities of the system
	Issuer         string   // RFC 8414; iss must be equal (RFC 9207), unless this is ""
	Revision       string   // changes with every write
}

// newClient returns a client with the defaults of a new one.
func newClient() *client {
	return &client{
		AuthMethod: string(oauth.AuthBasic),
		TokenURL:   defaultTokenURL, AuthorizeURL: defaultAuthorizeURL, RevokeURL: defaultRevokeURL,
	}
}

// validate checks the fields of a client, whatever they were before.
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
			return invalid("client %q: the host of %s is not one of the allowed_hosts; an administrator adds it with a write of allowed_hosts to config",
				name, endpoint.field)
		}
	}
	for _, uri := range c.RedirectURIs {
		if _, err := parseEndpoint(fieldRedirectURIs, uri); err != nil {
			return invalid("client %q: %v", name, err)
		}
	}
	if c.Issuer != "" {
		u, err := parseEndpoint(fieldIssuer, c.Issuer)
		if err != nil {
			return invalid("client %q: %v", name, err)
		}
		if u.RawQuery != "" {
			return invalid("client %q: issuer must not have a query (RFC 8414)", name)
		}
	}
	if c.CACert != "" {
		if err := oauth.ValidateCACert([]byte(c.CACert)); err != nil {
			return invalid("client %q: %v", name, err)
		}
	}
	return nil
}

// endpoints returns the URLs that Vault or a browser is sent to.
func (c *client) endpoints() []endpoint {
	return []endpoint{
		{fieldTokenURL, c.TokenURL}, {fieldAuthorizeURL, c.AuthorizeURL}, {fieldRevokeURL, c.RevokeURL},
	}
}

type endpoint struct{ field, url string }

// unwritten reports whether the endpoint is a default that refreshing does not use.
// allowed_hosts need not contain its host.
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

// replace checks the change from the old client to this one. It keeps the secret that
// is replaced until the new one has worked. newSecret reports whether the write had a
// client_secret.
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
		// Anyone with a certificate of the new authority can pose as the server.
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
		// The previous secret is back; the one in between has never worked.
		c.PreviousSecret = oauth.Secret{}
	case newSecret && !c.Secret.Equal(old.Secret) && !old.PreviousSecret.IsSet():
		// If there is a previous secret already, it has worked, and the secret that is
		// replaced never has.
		c.PreviousSecret = old.Secret
	}
	return nil
}

// revocationURL returns the URL to revoke grants at, or "" if nothing may be sent
// there. Pagero's own endpoint is the default; it gets no tokens of another server.
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
