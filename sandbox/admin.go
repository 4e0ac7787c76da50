package sandbox

import (
	"errors"
	"fmt"
	"time"
)

// AddUser adds a user, or gives an existing one another password.
func (s *Server) AddUser(u User) error {
	if u.Username == "" || u.Password == "" {
		return errors.New("a user needs a name and a password")
	}
	s.storage.mu.Lock()
	defer s.storage.mu.Unlock()
	s.storage.users[u.Username] = u.Password
	return nil
}

// SetClientSecret gives a client another secret; the old one is refused at once.
func (s *Server) SetClientSecret(clientID, secret string) error {
	s.storage.mu.Lock()
	defer s.storage.mu.Unlock()
	c, ok := s.storage.clients[clientID]
	if !ok {
		return fmt.Errorf("client %q is not known", clientID)
	}
	s.storage.clients[clientID] = c.withSecret(secret)
	return nil
}

// SetAccessTokenLifetime sets the lifetime, in whole seconds, of the access
// tokens issued from now on.
func (s *Server) SetAccessTokenLifetime(d time.Duration) error {
	if err := checkLifetime(d); err != nil {
		return err
	}
	s.tokens.lifetime.Store(int64(d))
	return nil
}

// CurrentRefreshToken returns the newest refresh token of the same grant as the
// given token, which may have been used. It waits for an exchange in flight. The
// error is ErrUnknownToken or ErrRevoked.
func (s *Server) CurrentRefreshToken(refreshToken string) (string, error) {
	g := s.grants.findByToken(hashToken(refreshToken))
	if g == nil {
		return "", ErrUnknownToken
	}
	return s.grants.newest(g)
}

// UserRefreshToken returns the newest refresh token of the user's newest grant.
func (s *Server) UserRefreshToken(username string) (string, error) {
	grants := s.grants.ofUser(username)
	if len(grants) == 0 {
		return "", fmt.Errorf("user %q has no grant", username)
	}
	return s.grants.newest(grants[len(grants)-1])
}

// RevokeGrant ends the grant of a refresh token, which may have been used. It
// waits for an exchange in flight. The error is ErrUnknownToken.
func (s *Server) RevokeGrant(refreshToken string) error {
	g := s.grants.findByToken(hashToken(refreshToken))
	if g == nil {
		return ErrUnknownToken
	}
	s.endGrant(g)
	return nil
}

// RevokeUser ends all grants of a user and returns how many it ended.
func (s *Server) RevokeUser(username string) int {
	grants := s.grants.ofUser(username)
	for _, g := range grants {
		s.endGrant(g)
	}
	return len(grants)
}

// endGrant revokes between exchanges, never in the middle of one.
func (s *Server) endGrant(g *grant) {
	g.exchange.Lock()
	defer g.exchange.Unlock()
	s.grants.revoke(g)
}
