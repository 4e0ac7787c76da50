package backend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

// post is one exchange that reached the fake of Pagero.
type post struct {
	client   oauth.Client
	token    string // the refresh token, the code or the password
	code     oauth.Code
	username string
}

func (p post) secret() string { return p.client.Secret.Reveal() }

// pagero stands in for Pagero's token endpoint. It watches over the one rule
// that counts: no refresh token that was spent is presented again.
type pagero struct {
	t     *testing.T
	mu    sync.Mutex
	posts []post
	spent map[string]bool
	busy  map[string]bool // accounts with an exchange in progress
	// behave answers an exchange; if it is nil, the exchange is granted.
	behave  func(post) oauth.Result
	delay   time.Duration
	serial  int
	probes  int
	probed  func(post) oauth.Result
	revoked []string
	away    bool // for revocations
}

var _ rotation.Exchanger = (*pagero)(nil)

func (p *pagero) Refresh(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result {
	return p.answer(ctx, post{client: client, token: refreshToken.Reveal()})
}

func (p *pagero) RedeemCode(ctx context.Context, client oauth.Client, code oauth.Code) oauth.Result {
	return p.answer(ctx, post{client: client, token: code.Code.Reveal(), code: code})
}

func (p *pagero) LogIn(ctx context.Context, client oauth.Client, c oauth.Credentials) oauth.Result {
	return p.answer(ctx, post{client: client, token: c.Password.Reveal(), username: c.Username})
}

// Probe implements rotation.Exchanger: the way is open unless the test says otherwise.
func (p *pagero) Probe(context.Context, oauth.Client) oauth.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probes++
	switch {
	case p.away:
		return isUnreachable(post{})
	case p.probed != nil:
		return p.probed(post{})
	}
	return isDead(post{})
}

// probesAre sets the answer to probes; nil is that of a way that is open.
func (p *pagero) probesAre(probed func(post) oauth.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probed = probed
}

func (p *pagero) Revoke(_ context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked = append(p.revoked, refreshToken.Reveal())
	if client.RevokeURL == "" {
		p.t.Error("a revocation without a revocation endpoint")
	}
	if p.away {
		return isUnreachable(post{})
	}
	return oauth.Result{Outcome: oauth.Succeeded, Status: 200}
}

// answer is what Pagero does with a grant, whichever it is.
func (p *pagero) answer(ctx context.Context, sent post) oauth.Result {
	sentAt := now()
	account := accountOf(sent.token)

	p.mu.Lock()
	if p.spent[sent.token] {
		p.t.Errorf("the refresh token %s was presented though it is spent", sent.token)
	}
	if p.busy[account] {
		p.t.Errorf("two exchanges of %s are under way", account)
	}
	p.busy[account] = true
	p.posts = append(p.posts, sent)
	behave, delay := p.behave, p.delay
	p.mu.Unlock()

	result := oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer came within the exchange_timeout"}
	if waited(ctx, delay) {
		if behave == nil {
			behave = p.grant
		}
		result = behave(sent)
	}
	result.SentAt, result.AnsweredAt = sentAt, now()

	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy[account] = false
	if result.Outcome == oauth.Succeeded && result.Tokens.RefreshToken.IsSet() && sent.username == "" {
		p.spent[sent.token] = true
	}
	return result
}

// accountOf is the account that a token of these tests was issued for: the third
// part of "rt-<canary>-<account>-<more>#<serial>". Codes and passwords look alike.
func accountOf(token string) string {
	chain, _, _ := strings.Cut(token, "#")
	return strings.Split(chain, "-")[2]
}

// waited waits in the bubble's time; it returns false if ctx ended first.
func waited(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// grant is what Pagero answers when all is well: the next refresh token of the
// chain and an access token for ten minutes.
func (p *pagero) grant(sent post) oauth.Result { return p.grantFor(sent, 600*time.Second) }

func (p *pagero) grantFor(sent post, expiresIn time.Duration) oauth.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serial++
	chain, _, _ := strings.Cut(sent.token, "#")
	return oauth.Result{Outcome: oauth.Succeeded, Status: 200, Tokens: oauth.Tokens{
		RefreshToken: oauth.NewSecret(fmt.Sprintf("%s#%d", chain, p.serial)),
		AccessToken:  oauth.NewSecret(fmt.Sprintf("at-%s-%d", canary, p.serial)),
		ExpiresIn:    expiresIn,
	}}
}

func (p *pagero) set(behave func(post) oauth.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behave = behave
}

func (p *pagero) answersAfter(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// take returns the exchanges since the last call.
func (p *pagero) take() []post {
	p.mu.Lock()
	defer p.mu.Unlock()
	posts := p.posts
	p.posts = nil
	return posts
}

// Answers of a Pagero that is not well.

func rejects(code oauth.ErrorCode, status int) func(post) oauth.Result {
	return func(post) oauth.Result {
		return oauth.Result{
			Outcome: oauth.Rejected, Code: code, Status: status,
			Reason: fmt.Sprintf("the server answered %s (HTTP status %d)", code, status),
		}
	}
}

func isDead(post) oauth.Result { return rejects(oauth.CodeInvalidGrant, 400)(post{}) }

func isUnreachable(post) oauth.Result {
	return oauth.Result{Outcome: oauth.NotSent, Reason: "the server refused the connection or cannot be reached"}
}

func isSilent(post) oauth.Result {
	return oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer came within the exchange_timeout"}
}

func isGarbled(post) oauth.Result {
	return oauth.Result{Outcome: oauth.Unreadable, Status: 200, Reason: "the answer (HTTP status 200) is not JSON"}
}
