package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// verb is one of the things that can be done to a storage.
type verb string

const (
	get    verb = "Get"
	put    verb = "Put"
	remove verb = "Delete"
	list   verb = "List"
)

var (
	errStorage = errors.New("simulated storage failure")
	// errReadOnlyText is logical.ErrReadOnly as it arrives over gRPC: its text
	// and nothing else.
	errReadOnlyText = errors.New(logical.ErrReadOnly.Error())
)

// fault makes one verb fail.
type fault struct {
	verb  verb
	key   string // prefix of the keys that it hits; "": all
	err   error  // nil: errStorage
	after bool   // the operation takes effect, and then it fails
	skip  int    // so many operations go well before
}

func (f fault) String() string {
	when := "before"
	if f.after {
		when = "after"
	}
	return fmt.Sprintf("%s %s fails %s it takes effect", f.verb, f.key, when)
}

// faultyStorage is a storage in memory with switches that make one verb fail,
// and counters. Like Vault's, it refuses to work for a context that has ended.
type faultyStorage struct {
	logical.InmemStorage
	mu     sync.Mutex
	faults []fault
	counts map[verb]int
}

var _ logical.Storage = (*faultyStorage)(nil)

func (s *faultyStorage) fail(faults ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

func (s *faultyStorage) mend() { s.fail() }

// count returns how many operations there were.
func (s *faultyStorage) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for _, n := range s.counts {
		sum += n
	}
	return sum
}

func (s *faultyStorage) run(ctx context.Context, v verb, key string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	failure := s.begin(v, key)
	if failure != nil && !failure.after {
		return failure.err
	}
	if err := do(); err != nil {
		return err
	}
	if failure != nil {
		return failure.err
	}
	return nil
}

func (s *faultyStorage) begin(v verb, key string) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[verb]int{}
	}
	s.counts[v]++
	for i := range s.faults {
		f := &s.faults[i]
		if f.verb != v || !strings.HasPrefix(key, f.key) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		hit := *f
		if hit.err == nil {
			hit.err = errStorage
		}
		return &hit
	}
	return nil
}

func (s *faultyStorage) Get(ctx context.Context, key string) (entry *logical.StorageEntry, err error) {
	err = s.run(ctx, get, key, func() (err error) {
		entry, err = s.InmemStorage.Get(ctx, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return entry, nil
}

func (s *faultyStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return s.run(ctx, put, entry.Key, func() error { return s.InmemStorage.Put(ctx, entry) })
}

func (s *faultyStorage) Delete(ctx context.Context, key string) error {
	return s.run(ctx, remove, key, func() error { return s.InmemStorage.Delete(ctx, key) })
}

func (s *faultyStorage) List(ctx context.Context, prefix string) (names []string, err error) {
	err = s.run(ctx, list, prefix, func() (err error) {
		names, err = s.InmemStorage.List(ctx, prefix)
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// system is Vault as the plugin sees it. It counts what is asked, because each
// question is a round trip. What is not faked here must not be asked.
type system struct {
	logical.SystemView
	mu    sync.Mutex
	state consts.ReplicationState
	local bool
	asked int
	later int // it becomes a performance standby after so many questions; 0: never
}

func (s *system) become(state consts.ReplicationState, local bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.local = state, local
}

// stepDown makes it a performance standby when it is asked for its state the
// nth time.
func (s *system) stepDown(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.later = consts.ReplicationPerformancePrimary, n
}

func (s *system) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *system) ReplicationState() consts.ReplicationState {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.later--; s.later == 0 {
		s.state = consts.ReplicationPerformanceStandby
	}
	return s.state
}

func (s *system) LocalMount() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.local
}

func (s *system) PluginEnv(context.Context) (*logical.PluginEnvironment, error) {
	return &logical.PluginEnvironment{VaultVersion: "1.21.2"}, nil
}

// GetConsumptionBillingManager is asked once, at the set-up.
func (s *system) GetConsumptionBillingManager() logical.ConsumptionBillingManager { return nil }

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
	busy  map[string]bool // accounts with an exchange under way
	// behave answers an exchange; nil: it is granted.
	behave  func(post) oauth.Result
	delay   time.Duration
	serial  int
	revoked []string
	away    bool // for revocations
}

var _ account.Exchanger = (*pagero)(nil)

func (p *pagero) Refresh(ctx context.Context, client oauth.Client, refreshToken oauth.Secret) oauth.Result {
	return p.answer(ctx, post{client: client, token: refreshToken.Reveal()})
}

func (p *pagero) RedeemCode(ctx context.Context, client oauth.Client, code oauth.Code) oauth.Result {
	return p.answer(ctx, post{client: client, token: code.Code.Reveal(), code: code})
}

func (p *pagero) LogIn(ctx context.Context, client oauth.Client, c oauth.Credentials, _ string) oauth.Result {
	return p.answer(ctx, post{client: client, token: c.Password.Reveal(), username: c.Username})
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

// waited waits in the bubble's time; it returns false where ctx ended first.
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

// logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func entryOf(key, value string) *logical.StorageEntry {
	return &logical.StorageEntry{Key: key, Value: []byte(value)}
}
