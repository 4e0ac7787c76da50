package sandbox

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/ory/fosite"
)

// sessionCookie carries a browser's login from one authorization to the next.
const sessionCookie = "sandbox_session"

// Fields of the login page's form.
const (
	fieldUsername = "username"
	fieldPassword = "password"
	fieldButton   = "button"
	buttonLogIn   = "login"
	buttonCancel  = "cancel"
)

// sessionTable holds the browser sessions and their users. It is safe for
// concurrent use.
type sessionTable struct {
	mu    sync.Mutex
	users map[string]string // by the session's ID
}

// browserSession is a login in one browser.
type browserSession struct {
	id       string // the cookie's value
	username string
}

func newSessionTable() *sessionTable { return &sessionTable{users: map[string]string{}} }

// begin logs a user in and sets the cookie. If the browser has a session of this user,
// that session goes on; another user gets another session.
func (t *sessionTable) begin(w http.ResponseWriter, r *http.Request, username string) browserSession {
	if now := t.find(r); now.username == username {
		return now
	}
	begun := browserSession{id: rand.Text(), username: username}
	t.mu.Lock()
	t.users[begun.id] = username
	t.mu.Unlock()
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: begun.id, Path: "/oauth/v2/",
		HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode,
	})
	return begun
}

// find returns the session of the request's browser. It is empty if there is none.
func (t *sessionTable) find(r *http.Request) browserSession {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return browserSession{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	username, ok := t.users[cookie.Value]
	if !ok {
		return browserSession{}
	}
	return browserSession{id: cookie.Value, username: username}
}

// handleAuthorize is the authorization endpoint (RFC 6749 section 3.1): it asks
// for a login, unless the browser has one, and redirects with a code.
func (s *Server) handleAuthorize(a *answer, r *http.Request, c *call) {
	noStore(a.Header())
	request, err := s.readAuthorizeRequest(r)
	if err != nil {
		s.refuse(a, r, request, c, err)
		return
	}
	switch r.PostForm.Get(fieldButton) {
	case buttonCancel:
		s.refuse(a, r, request, c, fosite.ErrAccessDenied.WithHint("The user canceled the login."))
		return
	case buttonLogIn:
		username := r.PostForm.Get(fieldUsername)
		if _, err := s.storage.Authenticate(r.Context(), username, r.PostForm.Get(fieldPassword)); err != nil {
			c.result = "wrong_password"
			s.askForLogin(a, r, request, loginPageData{Failed: true, LoggedIn: s.sessions.find(r).username, Username: username})
			return
		}
		s.grantCode(a, r, request, c, s.sessions.begin(a, r, username))
		return
	}
	prompts := strings.Fields(r.Form.Get("prompt"))
	browser := s.sessions.find(r)
	loginAsked := slices.Contains(prompts, "login") || slices.Contains(prompts, "select_account")
	switch {
	case browser.username != "" && !loginAsked:
		s.grantCode(a, r, request, c, browser)
	case slices.Contains(prompts, "none"):
		s.refuse(a, r, request, c, fosite.ErrLoginRequired)
	default:
		c.result = "login_page"
		s.askForLogin(a, r, request, loginPageData{LoggedIn: browser.username, Username: r.Form.Get("login_hint")})
	}
}

// readAuthorizeRequest checks the parameters. The request is not nil even if
// there is an error: it may hold the redirect URI that the error goes to.
func (s *Server) readAuthorizeRequest(r *http.Request) (*fosite.AuthorizeRequest, error) {
	none := fosite.NewAuthorizeRequest()
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return none, fosite.ErrInvalidRequest.WithHintf("HTTP method is '%s', expected 'GET' or 'POST'.", r.Method)
	}
	if err := r.ParseForm(); err != nil {
		return none, fosite.ErrInvalidRequest.WithHint("The parameters cannot be parsed.")
	}
	for name, values := range r.Form {
		if len(values) > 1 { // RFC 6749 section 3.1
			return none, fosite.ErrInvalidRequest.WithHintf("Parameter '%s' is given more than once.", shorten(name))
		}
	}
	// fosite insists on a state; Pagero, as RFC 6749, does not.
	stateless := r.Form.Get("state") == ""
	if stateless {
		r.Form.Set("state", "none")
	}
	requester, err := s.provider.NewAuthorizeRequest(r.Context(), r)
	request, ok := requester.(*fosite.AuthorizeRequest)
	if !ok {
		return none, errors.Join(err, errors.New("fosite's authorization request has an unknown type"))
	}
	if stateless {
		request.State = ""
		request.Form.Del("state")
	}
	return request, err
}

// grantCode redirects with a code, the state and the issuer (RFC 9207).
func (s *Server) grantCode(a *answer, r *http.Request, request *fosite.AuthorizeRequest, c *call, browser browserSession) {
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
	sess := &session{subject: browser.username, browserID: browser.id, nonce: request.Form.Get("nonce")}
	response, err := s.provider.NewAuthorizeResponse(r.Context(), request, sess)
	if err != nil {
		s.refuse(a, r, request, c, err)
		return
	}
	c.result, c.username = resultOK, browser.username
	s.redirect(a, r, request, response)
}

// refuse redirects with an error, or shows it on a page if there is no valid
// redirect URI.
func (s *Server) refuse(a *answer, r *http.Request, request *fosite.AuthorizeRequest, c *call, err error) {
	c.result = errorCode(err)
	if !request.IsRedirectURIValid() {
		showPage(a, http.StatusBadRequest, errorPage, fosite.ErrorToRFC6749Error(err))
		return
	}
	response := fosite.NewAuthorizeResponse()
	for name, values := range fosite.ErrorToRFC6749Error(err).ToValues() {
		response.AddParameter(name, values[0])
	}
	response.AddParameter("state", request.GetState())
	s.redirect(a, r, request, response)
}

func (s *Server) redirect(a *answer, r *http.Request, request *fosite.AuthorizeRequest, response fosite.AuthorizeResponder) {
	if request.GetState() == "" {
		response.GetParameters().Del("state")
	}
	if !s.cfg.OmitIssuer {
		response.AddParameter("iss", s.tokens.issuer)
	}
	if request.GetResponseMode() == fosite.ResponseModeFormPost {
		a.Header().Set("Content-Security-Policy", formPostPolicy)
	}
	s.provider.WriteAuthorizeResponse(r.Context(), a, request, response)
}

// askForLogin shows the login page. Its form is posted to the same URL, with the
// parameters of the authorization request in the query.
func (s *Server) askForLogin(a *answer, r *http.Request, request *fosite.AuthorizeRequest, data loginPageData) {
	query := url.Values{}
	for name, values := range r.Form {
		switch name {
		case fieldUsername, fieldPassword, fieldButton:
		default:
			query[name] = values
		}
	}
	data.Action = PathAuthorize + "?" + query.Encode()
	data.ClientID = request.GetClient().GetID()
	data.RedirectHost = request.GetRedirectURI().Host
	status := http.StatusOK
	if data.Failed {
		status = http.StatusForbidden
	}
	showPage(a, status, loginPage, data)
}
