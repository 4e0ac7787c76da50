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

// newClient returns a client with the defaults of a new one.
func newClient() *client {
	return &client{
		AuthMethod: string(oauth.AuthBasic),
		TokenURL:   defaultTokenURL, AuthorizeURL: defaultAuthorizeURL, RevokeURL: defaultRevokeURL,
	}
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
