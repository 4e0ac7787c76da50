package sandbox

import (
	"fmt"
	"strings"
	"time"

	"github.com/ory/fosite"
)

// session is the sandbox's part of the state that fosite keeps during one exchange.
type session struct {
	subject   string
	nonce     string // OpenID Connect, from the authorization request
	browserID string // of the browser session, "" if there was none

	// Set by tokenMaker; read by storage and by the token endpoint.
	refreshToken  string
	accessTokenID string
	lifetime      time.Duration
}

var _ fosite.Session = (*session)(nil)

// SetExpiresAt ignores fosite's expiry times: tokenMaker and storage have their own.
func (s *session) SetExpiresAt(fosite.TokenType, time.Time) {}

// GetExpiresAt returns the zero time, which to fosite means the default lifetime.
func (s *session) GetExpiresAt(fosite.TokenType) time.Time { return time.Time{} }

// GetUsername returns the user's name.
func (s *session) GetUsername() string { return s.subject }

// GetSubject returns the user's name as well.
func (s *session) GetSubject() string { return s.subject }

// SetSubject is called by fosite's password grant with the user's name.
func (s *session) SetSubject(subject string) { s.subject = subject }

// Clone returns a copy.
func (s *session) Clone() fosite.Session {
	clone := *s
	return &clone
}

func sessionOf(r fosite.Requester) (*session, error) {
	s, ok := r.GetSession().(*session)
	if !ok {
		return nil, fmt.Errorf("session is a %T, not the sandbox's", r.GetSession())
	}
	return s, nil
}

func joinScopes(scopes fosite.Arguments) string { return strings.Join(scopes, " ") }
