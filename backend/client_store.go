package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/sdk/helper/locksutil"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

const (
	clientPrefix  = "client/"
	clientVersion = 1
)

// storedClient is the stored form of a client.
type storedClient struct {
	entry.Header
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

func (c *client) stored() *storedClient {
	return &storedClient{
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
	}
}

func (s *storedClient) client() *client {
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
	}
}

// clientStore keeps the OAuth clients. It is safe for concurrent use.
type clientStore struct {
	storage vaultStorage
	config  *configStore // for allowed_hosts
	// locks is a pool. A client's lock is held across the storage operations of a
	// change. Never hold the locks of two clients: they may be the same.
	locks []*locksutil.LockEntry
}

var _ rotation.Clients = (*clientStore)(nil)

func newClientStore(storage vaultStorage, config *configStore) *clientStore {
	return &clientStore{storage: storage, config: config, locks: locksutil.CreateLocks()}
}

// load returns nil, nil if there is no such client.
func (s *clientStore) load(ctx context.Context, name string) (*client, error) {
	var form storedClient
	found, err := s.storage.readEntry(ctx, clientPrefix+name, clientVersion, &form)
	if err != nil {
		return nil, fmt.Errorf("client %q: %w", name, err)
	}
	if !found {
		return nil, nil
	}
	return form.client(), nil
}

// Exists reports whether there is such a client.
func (s *clientStore) Exists(ctx context.Context, name string) (bool, error) {
	c, err := s.load(ctx, name)
	return c != nil, err
}

// list returns the names of all clients, in order.
func (s *clientStore) list(ctx context.Context) ([]string, error) {
	names, err := s.storage.List(ctx, clientPrefix)
	if err != nil {
		return nil, &storageError{"listing clients", err}
	}
	return names, nil
}

// update changes a client under its lock. change gets the stored client, or nil if
// there is none, and returns the client to store, or nil to leave things as they
// are. It must not change the one that it gets.
func (s *clientStore) update(ctx context.Context, name string, change func(old *client) (*client, error)) error {
	defer s.lock(name)()
	old, err := s.load(ctx, name)
	if err != nil {
		return err
	}
	c, err := change(old)
	if err != nil || c == nil {
		return err
	}
	return s.storage.writeEntry(ctx, clientPrefix+name, clientVersion, c.stored())
}

// delete deletes a client if there is one, whether or not its entry is readable.
func (s *clientStore) delete(ctx context.Context, name string) error {
	defer s.lock(name)()
	return s.storage.deleteEntry(ctx, clientPrefix+name)
}

func (s *clientStore) lock(name string) (unlock func()) {
	lock := locksutil.LockForKey(s.locks, name)
	lock.Lock()
	return lock.Unlock
}

// Client implements rotation.Clients. It checks the host again, because
// allowed_hosts may have changed since the client was written.
func (s *clientStore) Client(ctx context.Context, name string) (*rotation.Client, error) {
	c, err := s.load(ctx, name)
	var unreadable *entry.UnreadableError
	if errors.As(err, &unreadable) {
		return nil, &account.Error{Kind: account.KindStorage, Text: err.Error()}
	}
	if err != nil || c == nil {
		return nil, err
	}
	cfg, err := s.config.load(ctx)
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
	return &rotation.Client{
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

// SecretWorked implements rotation.Clients: it forgets the previous secret.
func (s *clientStore) SecretWorked(ctx context.Context, name, revision string) error {
	return s.update(ctx, name, func(old *client) (*client, error) {
		if old == nil || old.Revision != revision || !old.PreviousSecret.IsSet() {
			return nil, nil
		}
		c := *old
		c.PreviousSecret = oauth.Secret{}
		return &c, nil
	})
}
