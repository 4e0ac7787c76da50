package sandbox

import (
	"context"
	"crypto/subtle"
	"slices"
	"sync"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"
)

// codeLifetime is how long an authorization code may wait for its exchange.
const codeLifetime = 60 * time.Second

// storage answers fosite's questions from the grant table. It keeps no access
// tokens: a JWT speaks for itself. It is safe for concurrent use.
type storage struct {
	grants *grantTable
	replay ReplayMode
	now    func() time.Time

	mu      sync.RWMutex
	clients map[string]*client
	users   map[string]string // password by name
	codes   map[tokenHash]*authorizationCode
}

var (
	_ fosite.Storage                                      = (*storage)(nil)
	_ oauth2.CoreStorage                                  = (*storage)(nil)
	_ oauth2.TokenRevocationStorage                       = (*storage)(nil)
	_ oauth2.ResourceOwnerPasswordCredentialsGrantStorage = (*storage)(nil)
	_ pkce.PKCERequestStorage                             = (*storage)(nil)
)

// authorizationCode is an issued code and the request that it answered.
type authorizationCode struct {
	request   fosite.Requester
	challenge fosite.Requester // the request's PKCE parameters; nil: none
	used      bool
	expires   time.Time
}

func newStorage(cfg Config) *storage {
	s := &storage{
		grants:  newGrantTable(),
		replay:  cfg.Replay,
		now:     cfg.Now,
		clients: map[string]*client{},
		users:   map[string]string{},
		codes:   map[tokenHash]*authorizationCode{},
	}
	for _, c := range cfg.Clients {
		s.clients[c.ID] = newClient(c)
	}
	for _, u := range cfg.Users {
		s.users[u.Username] = u.Password
	}
	return s
}

// GetClient returns the client as it is now; later changes do not alter it.
func (s *storage) GetClient(_ context.Context, id string) (fosite.Client, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.clients[id]
	if !ok {
		return nil, fosite.ErrNotFound
	}
	return c, nil
}

// ClientAssertionJWTValid refuses all: the sandbox knows no client assertions.
func (s *storage) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrNotFound }

// SetClientAssertionJWT refuses all, likewise.
func (s *storage) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrNotFound
}

// Authenticate checks a user's password (RFC 6749 section 4.3.2).
func (s *storage) Authenticate(_ context.Context, name, password string) (string, error) {
	s.mu.RLock()
	want, ok := s.users[name]
	s.mu.RUnlock()
	if !ok || subtle.ConstantTimeCompare([]byte(want), []byte(password)) != 1 {
		return "", fosite.ErrNotFound
	}
	return name, nil
}

// hasUser says whether there is a user of that name.
func (s *storage) hasUser(name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.users[name]
	return ok
}

// CreateRefreshTokenSession puts the refresh token that tokenMaker left in the
// session into service, and begins the grant if this is its first.
func (s *storage) CreateRefreshTokenSession(_ context.Context, _, _ string, r fosite.Requester) error {
	sess, err := sessionOf(r)
	if err != nil {
		return err
	}
	g := s.grants.find(r.GetID())
	if g == nil {
		g = &grant{
			id:       r.GetID(),
			clientID: r.GetClient().GetID(),
			username: sess.subject,
			scopes:   slices.Clone(r.GetGrantedScopes()),
		}
		s.grants.add(g)
	}
	s.grants.issue(g, sess.refreshToken)
	return nil
}

// GetRefreshTokenSession finds the grant of a refresh token. fosite revokes the
// grant when the answer is ErrInactiveToken; where a replay is only to be
// refused, the token is therefore not found.
func (s *storage) GetRefreshTokenSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	g, status := s.grants.examine(fromSignature(signature))
	switch {
	case status == tokenUnknown, status == tokenDead,
		status == tokenUsed && s.replay == ReplayRefuse:
		return nil, fosite.ErrNotFound
	}
	c, err := s.GetClient(ctx, g.clientID)
	if err != nil {
		return nil, err
	}
	r := &fosite.Request{
		ID:             g.id,
		Client:         c,
		RequestedScope: slices.Clone(g.scopes),
		GrantedScope:   slices.Clone(g.scopes),
		Session:        &session{subject: g.username},
	}
	if status == tokenUsed {
		return r, fosite.ErrInactiveToken
	}
	return r, nil
}

// DeleteRefreshTokenSession does nothing: used tokens stay known, so that a replay is recognized.
func (s *storage) DeleteRefreshTokenSession(context.Context, string) error { return nil }

// RotateRefreshToken takes the presented token out of service.
func (s *storage) RotateRefreshToken(_ context.Context, grantID, signature string) error {
	g := s.grants.find(grantID)
	if g == nil || !s.grants.use(g, fromSignature(signature)) {
		return fosite.ErrInactiveToken
	}
	return nil
}

// RevokeRefreshToken ends the grant.
func (s *storage) RevokeRefreshToken(_ context.Context, grantID string) error {
	g := s.grants.find(grantID)
	if g == nil {
		return fosite.ErrNotFound
	}
	s.grants.revoke(g)
	return nil
}

// RevokeAccessToken does nothing: an access token that is out works until it expires.
func (s *storage) RevokeAccessToken(context.Context, string) error { return nil }

// CreateAccessTokenSession does nothing.
func (s *storage) CreateAccessTokenSession(context.Context, string, fosite.Requester) error {
	return nil
}

// GetAccessTokenSession finds nothing.
func (s *storage) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}

// DeleteAccessTokenSession does nothing.
func (s *storage) DeleteAccessTokenSession(context.Context, string) error { return nil }
