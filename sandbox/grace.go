package sandbox

import (
	"maps"
	"net/http"
	"time"

	"github.com/ory/fosite"
)

// completedExchange is the latest refresh of a grant, which can be answered in the
// same way again during the grace period.
type completedExchange struct {
	presented tokenHash // the spent token
	next      tokenHash
	response  *fosite.AccessResponse
	at        time.Time
	expires   time.Time // of the access token
}

// completed returns the record of a refresh that has just succeeded.
func (s *Server) completed(sess *session, c *call, response fosite.AccessResponder) *completedExchange {
	now := s.cfg.Now()
	return &completedExchange{
		presented: c.presented,
		next:      hashToken(sess.refreshToken),
		response: &fosite.AccessResponse{
			AccessToken: response.GetAccessToken(),
			TokenType:   response.GetTokenType(),
			Extra:       maps.Clone(response.ToMap()),
		},
		at:      now,
		expires: now.Add(sess.lifetime),
	}
}

// repeatedAnswer returns the answer that the presented token had before, with what
// is left of expires_in. It returns nil if the grace period is over, if the next
// token has been used, or if the client is not authenticated: the exchange then
// takes its usual way. The caller holds g.exchange.
func (s *Server) repeatedAnswer(r *http.Request, g *grant, c *call) fosite.AccessResponder {
	last, now := g.lastExchange, s.cfg.Now()
	if last == nil || last.presented != c.presented || !s.grants.isNewest(g, last.next) ||
		!now.Before(last.at.Add(s.cfg.ReplayGrace)) {
		return nil
	}
	authenticated, err := s.storage.authenticateClient(r.Context(), r, r.PostForm)
	if err != nil || authenticated.GetID() != g.clientID {
		return nil
	}
	c.username, c.repeated = g.username, true
	response := *last.response
	response.Extra = maps.Clone(response.Extra)
	response.SetExpiresIn(max(0, last.expires.Sub(now)))
	return &response
}
