package sandbox

import (
	"context"

	"github.com/ory/fosite"
)

// CreateAuthorizeCodeSession keeps an issued code and forgets the expired ones.
func (s *storage) CreateAuthorizeCodeSession(_ context.Context, signature string, r fosite.Requester) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for h, code := range s.codes {
		if !now.Before(code.expires) {
			delete(s.codes, h)
		}
	}
	s.codes[fromSignature(signature)] = &authorizationCode{request: r, expires: now.Add(codeLifetime)}
	return nil
}

// GetAuthorizeCodeSession returns the authorization request of a code. If the code
// was used before, the error is ErrInvalidatedAuthorizeCode, and fosite revokes the
// grant (RFC 6749 section 4.1.2).
func (s *storage) GetAuthorizeCodeSession(_ context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	code, ok := s.codes[fromSignature(signature)]
	switch {
	case !ok, !s.now().Before(code.expires):
		return nil, fosite.ErrNotFound
	case code.used:
		return code.request, fosite.ErrInvalidatedAuthorizeCode
	}
	return code.request, nil
}

// InvalidateAuthorizeCodeSession marks the code as used.
func (s *storage) InvalidateAuthorizeCodeSession(_ context.Context, signature string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	code, ok := s.codes[fromSignature(signature)]
	if !ok {
		return fosite.ErrNotFound
	}
	code.used = true
	return nil
}

// CreatePKCERequestSession keeps a code's challenge (RFC 7636).
func (s *storage) CreatePKCERequestSession(_ context.Context, signature string, r fosite.Requester) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	code, ok := s.codes[fromSignature(signature)]
	if !ok {
		return fosite.ErrNotFound
	}
	code.challenge = r
	return nil
}

// GetPKCERequestSession returns a code's challenge.
func (s *storage) GetPKCERequestSession(_ context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	code, ok := s.codes[fromSignature(signature)]
	if !ok || code.challenge == nil {
		return nil, fosite.ErrNotFound
	}
	return code.challenge, nil
}

// DeletePKCERequestSession does nothing: the challenge lives as long as its code.
// fosite deletes the challenge before it compares the verifier. If it were gone, a
// second try without a verifier would pass.
func (s *storage) DeletePKCERequestSession(context.Context, string) error { return nil }
