package rotation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// script is an Exchanger that answers with the results given, in order, and
// records what was presented. Without a script it grants.
type script struct {
	mu        sync.Mutex
	steps     []func(ctx context.Context, presented string) oauth.Result
	presented []string // refresh tokens, in order
	secrets   []string // client secrets, in order
	revoked   []string // refresh tokens, in order
	lifetime  time.Duration
	bare      bool                                                     // grants come without a refresh token
	always    func(ctx context.Context, presented string) oauth.Result // instead of a grant
	probes    int
	probed    oauth.Result // the answer to a probe; by default an invalid_grant
	flying    int
	most      int // most exchanges at one time
}

func (s *script) Refresh(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result {
	return s.answer(ctx, client, refreshToken.Reveal())
}

func (s *script) RedeemCode(ctx context.Context, client oauth.Client, code oauth.Code) oauth.Result {
	return s.answer(ctx, client, code.Code.Reveal())
}

func (s *script) LogIn(ctx context.Context, client oauth.Client, c oauth.Credentials) oauth.Result {
	return s.answer(ctx, client, c.Username+":"+c.Password.Reveal())
}

func (s *script) Revoke(ctx context.Context, _ oauth.Client, refreshToken oauth.Secret) oauth.Result {
	s.mu.Lock()
	s.revoked = append(s.revoked, refreshToken.Reveal())
	step := answer(oauth.Result{Outcome: oauth.Succeeded})
	if len(s.steps) > 0 {
		step, s.steps = s.steps[0], s.steps[1:]
	}
	s.mu.Unlock()
	return step(ctx, refreshToken.Reveal())
}

func (s *script) Probe(context.Context, oauth.Client) oauth.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes++
	if s.probed.Reason == "" {
		return oauth.Result{Outcome: oauth.Rejected, Code: oauth.CodeInvalidGrant, Status: 400, Reason: "the server answered invalid_grant"}
	}
	return s.probed
}

// answer takes the next step for what is presented: a refresh token, a code, or
// a name and a password.
func (s *script) answer(ctx context.Context, client oauth.Client, presented string) oauth.Result {
	s.mu.Lock()
	s.presented = append(s.presented, presented)
	s.secrets = append(s.secrets, client.Secret.Reveal())
	step := grant
	if s.always != nil {
		step = s.always
	}
	if len(s.steps) > 0 {
		step, s.steps = s.steps[0], s.steps[1:]
	}
	n := len(s.presented)
	s.flying++
	s.most = max(s.most, s.flying)
	s.mu.Unlock()

	sent := clock()
	r := step(ctx, presented)
	r.SentAt, r.AnsweredAt = sent, clock()
	if r.Outcome == oauth.Succeeded && !r.Tokens.RefreshToken.IsSet() && !s.bare {
		r.Tokens.RefreshToken = oauth.NewSecret(fmt.Sprintf("rt-%d", n))
	}
	if r.Tokens.ExpiresIn == 0 {
		r.Tokens.ExpiresIn = s.lifetime
	}
	s.mu.Lock()
	s.flying--
	s.mu.Unlock()
	return r
}

func (s *script) next(steps ...func(context.Context, string) oauth.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, steps...)
}

func (s *script) posts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.presented)
}

func grant(_ context.Context, presented string) oauth.Result {
	return oauth.Result{Outcome: oauth.Succeeded, Tokens: oauth.Tokens{AccessToken: oauth.NewSecret("at-for-" + presented)}}
}

func grantAfter(d time.Duration) func(context.Context, string) oauth.Result {
	return func(ctx context.Context, presented string) oauth.Result {
		select {
		case <-time.After(d):
			return grant(ctx, presented)
		case <-ctx.Done():
			return oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer came"}
		}
	}
}

func answer(r oauth.Result) func(context.Context, string) oauth.Result {
	return func(context.Context, string) oauth.Result { return r }
}

var (
	noAnswer      = answer(oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer came"})
	unreachable   = answer(oauth.Result{Outcome: oauth.NotSent, Reason: "the endpoint cannot be reached"})
	invalidGrant  = rejected(oauth.CodeInvalidGrant)
	invalidClient = rejected(oauth.CodeInvalidClient)
)

func rejected(code oauth.ErrorCode) func(context.Context, string) oauth.Result {
	return answer(oauth.Result{Outcome: oauth.Rejected, Code: code, Status: 400, Reason: "the server answered " + string(code)})
}

// clients is a Clients with one client, "default".
type clients struct {
	mu     sync.Mutex
	client *Client
	err    error
	worked []string
}

func (c *clients) Client(_ context.Context, name string) (*Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || name != account.DefaultClient || c.client == nil {
		return nil, c.err
	}
	copied := *c.client
	return &copied, nil
}

func (c *clients) Exists(ctx context.Context, name string) (bool, error) {
	client, err := c.Client(ctx, name)
	return client != nil, err
}

func (c *clients) SecretWorked(_ context.Context, _, revision string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worked = append(c.worked, revision)
	return nil
}

func (c *clients) set(client *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client = client
}
