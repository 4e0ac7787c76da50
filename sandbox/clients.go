package sandbox

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/url"

	"github.com/ory/fosite"
)

// client is a registered client in fosite's form. It is never changed: a new
// secret makes a new one.
type client struct {
	*fosite.DefaultResponseModeClient
	authMethod string
}

func newClient(c Client) *client {
	grantTypes := c.GrantTypes
	if len(grantTypes) == 0 {
		grantTypes = []string{GrantRefreshToken, GrantAuthorizationCode, GrantPassword}
	}
	return &client{
		DefaultResponseModeClient: &fosite.DefaultResponseModeClient{
			DefaultClient: &fosite.DefaultClient{
				ID:            c.ID,
				Secret:        []byte(c.Secret),
				RedirectURIs:  c.RedirectURIs,
				GrantTypes:    grantTypes,
				ResponseTypes: []string{"code"},
				Scopes:        []string{"all", "openid"},
			},
			ResponseModes: []fosite.ResponseModeType{fosite.ResponseModeQuery, fosite.ResponseModeFormPost},
		},
		authMethod: c.AuthMethod,
	}
}

// withSecret returns a copy of the client that has another secret.
func (c *client) withSecret(secret string) *client {
	inner := *c.DefaultClient
	inner.Secret = []byte(secret)
	modes := *c.DefaultResponseModeClient
	modes.DefaultClient = &inner
	return &client{DefaultResponseModeClient: &modes, authMethod: c.authMethod}
}

// credentials are what a request says about its client.
type credentials struct {
	method     string // AuthBasic, AuthPost or "" for none
	id, secret string
}

// readCredentials finds the client's credentials in the header or in the form.
// It form-decodes those in the header (RFC 6749 section 2.3.1), and refuses a
// request that has a secret in both places (section 2.3).
func readCredentials(r *http.Request, form url.Values) (credentials, error) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		if r.Header.Get("Authorization") != "" {
			return credentials{}, fosite.ErrInvalidClient.WithHint("The Authorization header is not HTTP Basic.")
		}
		if form.Get("client_id") == "" || form.Get("client_secret") == "" {
			return credentials{id: form.Get("client_id")}, nil
		}
		return credentials{method: AuthPost, id: form.Get("client_id"), secret: form.Get("client_secret")}, nil
	}
	if form.Has("client_secret") {
		return credentials{}, fosite.ErrInvalidRequest.WithHint("The client authenticates both in the header and in the form.")
	}
	decodedID, err := url.QueryUnescape(id)
	if err != nil {
		return credentials{}, fosite.ErrInvalidClient.WithHint("The client id in the header is not form-encoded.")
	}
	decodedSecret, err := url.QueryUnescape(secret)
	if err != nil {
		return credentials{}, fosite.ErrInvalidClient.WithHint("The client secret in the header is not form-encoded.")
	}
	if other := form.Get("client_id"); other != "" && other != decodedID {
		return credentials{}, fosite.ErrInvalidRequest.WithHint("The header and the form name different clients.")
	}
	return credentials{method: AuthBasic, id: decodedID, secret: decodedSecret}, nil
}

// authenticateClient is fosite's client authentication strategy.
func (s *storage) authenticateClient(_ context.Context, r *http.Request, form url.Values) (fosite.Client, error) {
	cred, err := readCredentials(r, form)
	if err != nil {
		return nil, err
	}
	if cred.method == "" {
		return nil, fosite.ErrInvalidClient.WithHint("The request has no client authentication.")
	}
	s.mu.RLock()
	c, ok := s.clients[cred.id]
	s.mu.RUnlock()
	if !ok || subtle.ConstantTimeCompare(c.Secret, []byte(cred.secret)) != 1 {
		return nil, fosite.ErrInvalidClient.WithHint("The client is unknown or its secret is wrong.")
	}
	if c.authMethod != "" && c.authMethod != cred.method {
		return nil, fosite.ErrInvalidClient.WithHintf("The client must authenticate with %s.", c.authMethod)
	}
	return c, nil
}

// challengeBasic adds the header that RFC 6749 section 5.2 requires if the client
// was refused.
func challengeBasic(h http.Header, err error) {
	if errorCode(err) == fosite.ErrInvalidClient.ErrorField {
		h.Set("WWW-Authenticate", `Basic realm="sandbox"`)
	}
}

// errorCode returns the OAuth error code (RFC 6749 section 5.2) of a fosite error.
func errorCode(err error) string { return fosite.ErrorToRFC6749Error(err).ErrorField }
