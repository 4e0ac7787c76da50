package sandbox

import (
	"net/http"

	"github.com/ory/fosite"
)

// issuedClaims is the member "claims" of token answers. As at Pagero it is a string and
// names a claim of the access token.
const issuedClaims = "publicid"

// handleToken is the token endpoint (RFC 6749 section 3.2).
func (s *Server) handleToken(a *answer, r *http.Request, c *call) {
	request, response, err := s.exchange(r, c)
	if err != nil {
		c.result = errorCode(err)
		challengeBasic(a.Header(), err)
		s.provider.WriteAccessError(r.Context(), a, request, err)
		return
	}
	c.result = resultOK
	c.accessToken = response.GetAccessToken()
	c.refreshToken, _ = response.GetExtra("refresh_token").(string)
	s.provider.WriteAccessResponse(r.Context(), a, request, response)
}

// exchange processes one token request. Concurrent exchanges of one grant, and
// those of codes, wait for each other.
func (s *Server) exchange(r *http.Request, c *call) (fosite.AccessRequester, fosite.AccessResponder, error) {
	if err := checkForm(r); err != nil {
		return nil, nil, err
	}
	var presented *grant // of the refresh token
	switch r.PostForm.Get("grant_type") {
	case GrantRefreshToken:
		if presented = s.grants.findByToken(c.presented); presented != nil {
			presented.exchange.Lock()
			defer presented.exchange.Unlock()
			if response := s.repeatedAnswer(r, presented, c); response != nil {
				return nil, response, nil
			}
		}
	case GrantAuthorizationCode:
		s.codes.Lock()
		defer s.codes.Unlock()
	}

	sess := &session{}
	request, err := s.provider.NewAccessRequest(r.Context(), r, sess)
	if err != nil {
		return request, nil, err
	}
	if r.PostForm.Get("grant_type") == GrantPassword {
		for _, scope := range request.GetRequestedScopes() {
			request.GrantScope(scope)
		}
	}
	response, err := s.provider.NewAccessResponse(r.Context(), request)
	if err != nil {
		return request, nil, err
	}
	if err := s.complete(request, response); err != nil {
		return request, nil, fosite.ErrServerError.WithWrap(err)
	}
	if sess, err := sessionOf(request); err == nil {
		c.username = sess.subject
		if presented != nil && s.cfg.Replay == ReplayGrace {
			presented.lastExchange = s.completed(sess, c, response)
		}
	}
	return request, response, nil
}

// checkForm refuses requests that fosite accepts, or refuses with another code.
func checkForm(r *http.Request) error {
	if r.Method != http.MethodPost {
		return fosite.ErrInvalidRequest.WithHintf("HTTP method is '%s', expected 'POST'.", r.Method)
	}
	if err := r.ParseForm(); err != nil {
		return fosite.ErrInvalidRequest.WithHint("The form cannot be parsed.")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 { // RFC 6749 section 3.2
			return fosite.ErrInvalidRequest.WithHintf("Parameter '%s' is given more than once.", shorten(name))
		}
	}
	var required []string
	switch grantType := r.PostForm.Get("grant_type"); grantType {
	case "":
		required = []string{"grant_type"}
	case GrantRefreshToken:
		required = []string{"refresh_token"}
	case GrantAuthorizationCode:
		required = []string{"code"}
	case GrantPassword:
		required = []string{"username", "password"}
	default:
		return fosite.ErrUnsupportedGrantType
	}
	for _, name := range required {
		if r.PostForm.Get(name) == "" {
			return fosite.ErrInvalidRequest.WithHintf("Parameter '%s' is missing.", name)
		}
	}
	return nil
}

// complete brings fosite's answer into the form of Pagero's.
func (s *Server) complete(request fosite.AccessRequester, response fosite.AccessResponder) error {
	sess, err := sessionOf(request)
	if err != nil {
		return err
	}
	response.SetExpiresIn(sess.lifetime)
	if !s.cfg.OmitClaims {
		response.SetExtra("claims", issuedClaims)
	}
	if request.GetGrantedScopes().Has("openid") {
		token, err := s.tokens.idToken(sess, request.GetClient().GetID())
		if err != nil {
			return err
		}
		response.SetExtra("id_token", token)
	}
	return nil
}
