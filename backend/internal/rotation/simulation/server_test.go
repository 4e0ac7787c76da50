package simulation

import (
	"fmt"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const tokenLifetime = 600 * time.Second

// server is an authorization server whose refresh tokens work once, and that
// revokes the whole family when a used one is presented.
type server struct {
	world  *world
	secret string
	tokens map[string]*token
	access map[string]access
	codes  map[string]string // accounts, by the codes that were not used yet
	count  int
	// refuses means that it calls a dead token invalid_request.
	refuses bool
}

// grantOf is one chain of refresh tokens.
type grantOf struct {
	account string
	revoked bool
	// lost means that the newest token never reached anybody who could save it.
	lost bool
	// ended means that the server's owner revoked it.
	ended bool
	// freshOf is, while the grant is the account's and no spare, the process that was given an access token last, and freshUntil
	// when half of that token's life is over: nobody needs another before.
	freshOf    *process
	freshUntil time.Time
}

// token is a refresh token.
type token struct {
	text      string
	grant     *grantOf
	used      bool
	successor *token
	durable   bool       // it is, or was, in the storage
	holders   []*process // the processes that were given it

	doubts     int       // answers in a row that did not come
	doubted    bool      // an answer did not come
	doubtAt    time.Time // the last of them
	doubtOf    *process
	rejectedOf *process  // who was told that it is dead
	buried     bool      // its death is in the storage
	restUntil  time.Time // asked for by a refusal or a Retry-After
	restOf     *process
	refusedAt  time.Time
	refusals   int
	refusedOf  *process
}

type access struct {
	// offset is that of the process that got it: its times are on that clock.
	offset  time.Duration
	issued  time.Time
	account string
	expires time.Time
}

func newServer(w *world) *server {
	return &server{world: w, secret: "secret-0", refuses: w.seed%4 == 0, tokens: map[string]*token{}, access: map[string]access{}, codes: map[string]string{}}
}

// authorize logs a user in and returns a code.
func (s *server) authorize(name string) string {
	s.count++
	code := fmt.Sprintf("code-%d-%s", s.count, name)
	s.codes[code] = name
	return code
}

// redeem answers a code grant.
func (s *server) redeem(secret, code string) oauth.Result {
	name, known := s.codes[code]
	if secret != s.secret {
		return reject(oauth.CodeInvalidClient)
	}
	delete(s.codes, code)
	if !known {
		s.world.violated("%s was presented after it was used", code)
		return reject(oauth.CodeInvalidGrant)
	}
	return s.grants(s.issue(&grantOf{account: name}))
}

// dead is the answer to a refresh token that does not work any more.
func (s *server) dead() oauth.Result {
	if s.refuses {
		return reject(oauth.CodeInvalidRequest)
	}
	return reject(oauth.CodeInvalidGrant)
}

func reject(code oauth.ErrorCode) oauth.Result {
	return oauth.Result{Outcome: oauth.Rejected, Code: code, Status: 400, Reason: "the server answered " + string(code)}
}

// grants is the answer that holds a refresh token and a new access token.
func (s *server) grants(t *token) oauth.Result {
	at := fmt.Sprintf("at-%d-%s", s.count, t.grant.account)
	s.access[at] = access{account: t.grant.account, issued: time.Now(), expires: time.Now().Add(tokenLifetime)}
	return oauth.Result{Outcome: oauth.Succeeded, Tokens: oauth.Tokens{
		RefreshToken: oauth.NewSecret(t.text), AccessToken: oauth.NewSecret(at), ExpiresIn: tokenLifetime,
	}}
}

// login begins a grant and returns its first refresh token.
func (s *server) login(name string) string {
	return s.issue(&grantOf{account: name}).text
}

func (s *server) issue(g *grantOf) *token {
	s.count++
	t := &token{text: fmt.Sprintf("rt-%d-%s", s.count, g.account), grant: g}
	s.tokens[t.text] = t
	return t
}

// grant answers a refresh grant.
func (s *server) grant(secret, presented string) oauth.Result {
	w := s.world
	t := s.tokens[presented]
	switch {
	case secret != s.secret:
		return reject(oauth.CodeInvalidClient)
	case strings.HasPrefix(presented, "typo"):
		return s.dead()
	case t == nil:
		w.violated("a token that was never issued was presented: %q", presented)
		return reject(oauth.CodeInvalidGrant)
	case t.used:
		if !t.grant.lost && !t.grant.revoked {
			w.violated("%s was presented after it was used, and its successor was not lost", presented)
		}
		t.grant.revoked = true
		return s.dead()
	case t.grant.revoked:
		return s.dead()
	}
	t.used = true
	t.successor = s.issue(t.grant)
	return s.grants(t.successor)
}
