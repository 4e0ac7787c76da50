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

// storage is fosite's view of the clients, users, codes and grants. It keeps no
// access tokens; see tokenMaker. It is safe for concurrent use.
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

// authorizationCode is an issued code with its authorization request.
type authorizationCode struct {
	request   fosite.Requester
	challenge fosite.Requester // has the PKCE parameters; nil if there are none
	used      bool
	expires   time.Time
}

func newStorage(cfg Config) *storage {
	s := &storage{
		grants:  newGrantTable(cfg.TieSessions),
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

// GetClient returns the client. Later changes do not affect the returned value.
func (s *storage) GetClient(_ context.Context, id string) (fosite.Client, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.clients[id]
	if !ok {
		return nil, fosite.ErrNotFound
	}
	return c, nil
}

// ClientAssertionJWTValid refuses everything: the sandbox has no client assertions.
func (s *storage) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrNotFound }

// SetClientAssertionJWT refuses everything as well.
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

// hasUser reports whether there is a user of that name.
func (s *storage) hasUser(name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.users[name]
	return ok
}

// CreateRefreshTokenSession makes the refresh token that tokenMaker set in the
// session the one that works. It begins the grant if this is its first token.
func (s *storage) CreateRefreshTokenSession(_ context.Context, _, _ string, r fosite.Requester) error {
	sess, err := sessionOf(r)
	if err != nil {
		return err
	}
	g := s.grants.find(r.GetID())
	if g == nil {
		g = &grant{
			id:        r.GetID(),
			clientID:  r.GetClient().GetID(),
			username:  sess.subject,
			browserID: sess.browserID,
			scopes:    slices.Clone(r.GetGrantedScopes()),
		}
		s.grants.add(g)
	}
	s.grants.issue(g, sess.refreshToken, sess.accessTokenID)
	return nil
}

// GetRefreshTokenSession finds the grant of a refresh token. If the error is
// ErrInactiveToken, fosite revokes the grant. A replay that is only refused must
// therefore look like an unknown token.
func (s *storage) GetRefreshTokenSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	g, status := s.grants.look(fromSignature(signature))
	switch {
	case status == tokenStale:
		s.grants.endStale(g)
		return nil, fosite.ErrNotFound
	case status == tokenUnknown, status == tokenRevoked,
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

// DeleteRefreshTokenSession does nothing: used tokens stay known, so that replays are recognized.
func (s *storage) DeleteRefreshTokenSession(context.Context, string) error { return nil }

// RotateRefreshToken spends the presented token.
func (s *storage) RotateRefreshToken(_ context.Context, grantID, signature string) error {
	g := s.grants.find(grantID)
	if g == nil || !s.grants.spend(g, fromSignature(signature)) {
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

// RevokeAccessToken does nothing: an access token works until it expires or, with
// Config.EndAccessTokens, until its grant ends.
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
