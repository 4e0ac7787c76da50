package simulation

import (
	"context"
	"fmt"
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
	count  int
}

// grantOf is one chain of refresh tokens.
type grantOf struct {
	account string
	revoked bool
	// lost means that the newest token never reached anybody who could save it.
	lost bool
	// ended means that the server's owner revoked it.
	ended bool
	// freshOf is the process that was given an access token last, and freshUntil
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

	presented  int
	doubts     int       // answers in a row that did not come
	doubtAt    time.Time // the last of them
	doubtOf    *process
	rejectedOf *process  // who was told that it is dead
	buried     bool      // its death is in the storage
	restUntil  time.Time // asked for by a refusal or a Retry-After
	restOf     *process
	refusedAt  time.Time
}

type access struct {
	account string
	expires time.Time
}

func newServer(w *world) *server {
	return &server{world: w, secret: "secret-0", tokens: map[string]*token{}, access: map[string]access{}}
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
	reject := func(code oauth.ErrorCode) oauth.Result {
		return oauth.Result{Outcome: oauth.Rejected, Code: code, Status: 400, Reason: "the server answered " + string(code)}
	}
	switch {
	case secret != s.secret:
		return reject(oauth.CodeInvalidClient)
	case t == nil:
		w.violated("a token that was never issued was presented: %q", presented)
		return reject(oauth.CodeInvalidGrant)
	case t.used:
		if !t.grant.lost && !t.grant.revoked {
			w.violated("%s was presented after it was used, and its successor was not lost", presented)
		}
		t.grant.revoked = true
		return reject(oauth.CodeInvalidGrant)
	case t.grant.revoked:
		return reject(oauth.CodeInvalidGrant)
	}
	t.used = true
	t.successor = s.issue(t.grant)
	at := fmt.Sprintf("at-%d-%s", s.count, t.grant.account)
	s.access[at] = access{account: t.grant.account, expires: time.Now().Add(tokenLifetime)}
	return oauth.Result{Outcome: oauth.Succeeded, Tokens: oauth.Tokens{
		RefreshToken: oauth.NewSecret(t.successor.text), AccessToken: oauth.NewSecret(at), ExpiresIn: tokenLifetime,
	}}
}

// postFault is what becomes of one POST.
type postFault int

const (
	postGoesWell      postFault = iota
	postNotSent                 // no connection
	postLost                    // it never arrives
	postAnswerLost              // it arrives, its answer does not
	postAnswerOdd               // the answer holds no access token
	postRefusedBefore           // 503, nothing was done
	postRefusedAfter            // 502, it was done
	postThrottled               // 429
	postOddRefusal              // 400 invalid_request
	postHangs                   // no answer within the time-out, and it arrives
	postCrashBefore             // the process dies before it is sent
	postCrashBetween            // the process dies while it is on its way
	postCrashAfter              // the process dies when the answer is there
	postFaults
)

// wire is the network between a process and the server.
type wire struct{ *process }

// Refresh implements account.Exchanger.
func (n wire) Refresh(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result {
	w, text := n.world, refreshToken.Reveal()
	w.mu.Lock()
	if n.dead {
		w.mu.Unlock()
		w.end()
		return oauth.Result{}
	}
	t := w.server.tokens[text]
	name := t.grant.account
	w.presenting(n.process, t)
	stream := w.stream("network of " + n.id + " " + name)
	f := postGoesWell
	if !w.calm && stream.IntN(100) < 25 {
		f = postFault(stream.IntN(int(postFaults)))
	}
	there := time.Duration(stream.Int64N(int64(2 * time.Second)))
	back := time.Duration(stream.Int64N(int64(2 * time.Second)))
	if f == postCrashBefore {
		w.die(n.process, "before a POST")
	}
	w.log("%s presents %s (fault %d)", n.id, text, f)
	w.exchanges++
	w.inFlight[name] = posting{n.process, t.grant}
	w.mu.Unlock()

	r := oauth.Result{SentAt: time.Now().UTC().Round(0)}
	answer := n.carry(ctx, f, client.Secret.Reveal(), t, there, back)
	answer.SentAt, answer.AnsweredAt = r.SentAt, time.Now().UTC().Round(0)

	w.mu.Lock()
	if w.inFlight[name].by == n.process {
		delete(w.inFlight, name)
	}
	if n.dead {
		if answer.Outcome == oauth.Succeeded {
			t.grant.lost = true
		}
		w.mu.Unlock()
		w.end()
		return answer
	}
	w.answered(n.process, t, answer)
	w.mu.Unlock()
	return answer
}

// carry takes one POST to the server and its answer back.
func (n wire) carry(ctx context.Context, f postFault, secret string, t *token, there, back time.Duration) oauth.Result {
	inDoubt := oauth.Result{Reason: "no answer came"}
	sleep := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	w := n.world
	arrive := func() oauth.Result {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n.dead && w.stream("network of "+n.id+" "+t.grant.account).IntN(2) == 0 {
			return inDoubt // it died with its process
		}
		r := w.server.grant(secret, t.text)
		if r.Outcome == oauth.Succeeded && (n.dead || f == postAnswerLost || f == postRefusedAfter || f == postHangs || f == postCrashAfter || f == postCrashBetween) {
			t.grant.lost = true
		}
		return r
	}
	sent := sleep(there)
	switch f {
	case postCrashBefore:
		return inDoubt
	case postCrashBetween:
		w.mu.Lock()
		w.die(n.process, "while a POST is on its way")
		w.mu.Unlock()
	case postNotSent:
		return oauth.Result{Outcome: oauth.NotSent, Reason: "no connection"}
	case postLost:
		sleep(back)
		return inDoubt
	case postRefusedBefore:
		return oauth.Result{Reason: "the server answered HTTP status 503", Status: 503}
	case postThrottled:
		return oauth.Result{Outcome: oauth.Rejected, Status: 429, Reason: "too many requests", RetryAfter: there * 20}
	case postOddRefusal:
		return oauth.Result{Outcome: oauth.Rejected, Status: 400, Code: oauth.CodeInvalidRequest, Reason: "the server answered invalid_request"}
	}
	if !sent {
		return inDoubt // closed before it had all arrived
	}
	r := arrive()
	if f == postHangs {
		<-ctx.Done()
		return inDoubt
	}
	if !sleep(back) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if r.Outcome == oauth.Succeeded {
			t.grant.lost = true
		}
		return inDoubt
	}
	switch f {
	case postCrashAfter:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.die(n.process, "when an answer is there")
	case postAnswerLost, postRefusedAfter:
		return inDoubt
	case postAnswerOdd:
		r.Tokens.AccessToken = oauth.Secret{}
	}
	return r
}
