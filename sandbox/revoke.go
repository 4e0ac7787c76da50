package sandbox

import (
	"net/http"

	"github.com/ory/fosite"
)

// handleRevoke is the revocation endpoint (RFC 7009). Any refresh token of a
// grant ends the whole grant, even one that was used before. For a token that the
// sandbox does not know the answer is a success, as the RFC requires. So it is for
// an access token, which stays valid until it expires.
func (s *Server) handleRevoke(a *answer, r *http.Request, c *call) {
	if err := s.revoke(r, c); err != nil {
		c.result = errorCode(err)
		challengeBasic(a.Header(), err)
		s.provider.WriteAccessError(r.Context(), a, nil, err)
		return
	}
	c.result = resultOK
	noStore(a.Header())
}

func (s *Server) revoke(r *http.Request, c *call) error {
	if r.Method != http.MethodPost {
		return fosite.ErrInvalidRequest.WithHintf("HTTP method is '%s', expected 'POST'.", r.Method)
	}
	if err := r.ParseForm(); err != nil {
		return fosite.ErrInvalidRequest.WithHint("The form cannot be parsed.")
	}
	authenticated, err := s.storage.authenticateClient(r.Context(), r, r.PostForm)
	if err != nil {
		return err
	}
	if r.PostForm.Get("token") == "" {
		return fosite.ErrInvalidRequest.WithHint("Parameter 'token' is missing.")
	}
	g := s.grants.findByToken(c.presented)
	if g == nil {
		return nil
	}
	if g.clientID != authenticated.GetID() { // RFC 7009 section 2.1
		return fosite.ErrInvalidGrant.WithHint("The token was issued to another client.")
	}
	s.endGrant(g)
	return nil
}

func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}
