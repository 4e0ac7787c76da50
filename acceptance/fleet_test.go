package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// fleet is a stage with many accounts, for tests in which processes are killed and answers
// destroyed. It keeps the books: what the server has consumed and issued is in the sandbox's
// journal, what readers got and when processes were killed is noted here; check holds them against
// each other. Readers may ask any node. All methods but newFleet and check may be called by several
// goroutines at once.
type fleet struct {
	*stage
	members []*member
	crowd   int          // how many members are looked after at once
	turn    atomic.Int64 // the node that is asked next

	timeout time.Duration // the mount's exchange_timeout
	born    time.Time

	mu     sync.Mutex
	got    map[string]sighting  // access tokens that readers got
	logins map[string]time.Time // when the refresh tokens that were enrolled were issued
	kills  []kill               // in their order
}

// member is an account of a fleet. Its user at the authorization server has the same name, so that
// faults can be ordered for one member.
type member struct {
	name     string
	spared   bool     // it is to have a spare at any time
	tokens   []string // the refresh tokens that were enrolled, spares included
	current  string   // the newest of the spares
	respared int      // how often its spare was replaced
	revived  int      // how often it was enrolled again because it was dead
}

// sighting is what readers saw of an access token.
type sighting struct {
	account string    // whose token they asked for
	asked   time.Time // when the last of them asked
}

// kill is the moment, between two readings of the clock, in which a process ended that may have had an
// answer in the air.
type kill struct {
	what          string
	before, after time.Time
	began         time.Time // no exchange that was under way had begun before; zero: not known
	over          time.Time // when another process had taken over; zero: not known
	orderly       bool      // the process had the time to save what it got: it explains no loss
	frozen        *harness.Node
}

// newFleet enrols so many accounts at the stage, every other one with a spare. exchangeTimeout is the
// mount's: an account that was left in doubt by a killed process waits that long and 7 s more.
func newFleet(s *stage, accounts int, exchangeTimeout time.Duration) *fleet {
	s.t.Helper()
	f := &fleet{
		stage: s, crowd: 8, timeout: exchangeTimeout, born: time.Now(),
		got: map[string]sighting{}, logins: map[string]time.Time{},
	}
	f.write("config", fields{"exchange_timeout": exchangeTimeout.String()})
	f.write("clients/default", f.client())
	for i := range accounts {
		f.members = append(f.members, &member{name: fmt.Sprintf("m%03d", i), spared: i%2 == 0})
	}
	must(s.t, f.each(f.members, f.enlist))
	return f
}

// enlist makes the member's user and enrols its account.
func (f *fleet) enlist(m *member) error {
	if err := f.sandbox.AddUser(sandbox.User{Username: m.name, Password: m.name + "-password"}); err != nil {
		return err
	}
	if err := f.giveGrant(m); err != nil || !m.spared {
		return err
	}
	return f.giveSpare(m)
}

// logIn returns the first refresh token of a new login of the member's user.
func (f *fleet) logIn(m *member) (string, error) {
	now := time.Now()
	token, err := f.sandbox.Login(f.ctx, sandbox.DefaultClientID, m.name)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m.tokens = append(m.tokens, token)
	f.logins[token] = now
	return token, nil
}

// giveGrant enrols the member with a new login of its user.
func (f *fleet) giveGrant(m *member) error {
	token, err := f.logIn(m)
	if err != nil {
		return err
	}
	return f.tell("accounts/"+m.name, fields{"refresh_token": token})
}

// giveSpare enrols a spare from a new login of the member's user.
func (f *fleet) giveSpare(m *member) error {
	token, err := f.logIn(m)
	if err != nil {
		return err
	}
	m.current = token
	return f.tell("accounts/"+m.name, fields{"spare_refresh_token": token})
}

// replenish gives a new spare to the members whose spare has been used, as an operator would.
func (f *fleet) replenish() {
	f.t.Helper()
	must(f.t, f.each(f.members, func(m *member) error {
		about, err := f.ask(http.MethodGet, "accounts/"+m.name)
		if err != nil || !m.spared || about.Data["spare"] != "used" {
			return err
		}
		m.respared++
		return f.giveSpare(m)
	}))
}

// each does something for all members of the list, a few at a time.
func (f *fleet) each(list []*member, do func(*member) error) error {
	errs := make([]error, len(list))
	var (
		group sync.WaitGroup
		next  atomic.Int64
	)
	for range min(f.crowd, len(list)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				if err := do(list[i]); err != nil {
					errs[i] = fmt.Errorf("%s: %w", list[i].name, err)
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// somewhere is the stage for requests to a node that runs, another one each time. It need not be
// the active one.
func (f *fleet) somewhere() *stage {
	at := *f.stage
	for range f.cluster.Nodes {
		at.node = f.cluster.Nodes[int(f.turn.Add(1))%len(f.cluster.Nodes)]
		if at.node.Running() && !at.node.Frozen() {
			break
		}
	}
	return &at
}

// tell writes to a path of the mount until a node has taken it, which is harmless here: what is
// written is the same each time.
func (f *fleet) tell(path string, body fields) error {
	return harness.Until(f.ctx, "a write to "+path, func(context.Context) (bool, error) {
		a, err := f.somewhere().try(http.DefaultClient, http.MethodPost, path, body)
		if err == nil && a.status != http.StatusOK && a.status != http.StatusNoContent {
			err = fmt.Errorf("status %d: %q", a.status, a.Errors)
		}
		return err == nil, err
	})
}

// ask sends a request to a node that runs, once, and notes the access token that comes back.
func (f *fleet) ask(method, path string) (answer, error) {
	return f.askWith(http.DefaultClient, method, path)
}

// askWith is ask with another HTTP client.
func (f *fleet) askWith(client *http.Client, method, path string) (answer, error) {
	return f.askAt(f.somewhere(), client, method, path)
}

// askAt is askWith for a node of one's choice.
func (f *fleet) askAt(at *stage, client *http.Client, method, path string) (answer, error) {
	asked := time.Now()
	a, err := at.try(client, method, path, nil)
	if token, ok := a.Data["access_token"].(string); ok && err == nil {
		f.saw(token, sighting{account: strings.TrimPrefix(path, "token/"), asked: asked})
	}
	return a, err
}

// saw notes what a reader saw. No token may be shown to readers of two accounts.
func (f *fleet) saw(token string, s sighting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.got[token]
	if known.account != "" && known.account != s.account {
		f.t.Errorf("readers of %s and of %s got one token", known.account, s.account)
	}
	if known.asked.Before(s.asked) {
		f.got[token] = s
	}
}

// killing notes that a process is killed by the function: from then on an answer may be missing
// that was in the air. Whoever kills Vault or the plugin says so here, and what it was, for the tally.
func (f *fleet) killing(what string, end func() error) error {
	return f.ending(kill{what: what}, end)
}

// ending is killing for those who know more of the kill.
func (f *fleet) ending(k kill, end func() error) error {
	k.before = time.Now()
	err := end()
	k.after = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kills = append(f.kills, k)
	return err
}

// takenOver notes that another process has taken over from the one that ended last.
func (f *fleet) takenOver() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kills[len(f.kills)-1].over = time.Now()
}

// forget has the plugin start anew: what it knows afterwards is what it has saved.
func (f *fleet) forget() {
	f.t.Helper()
	active, err := f.cluster.Active(f.ctx)
	must(f.t, err)
	must(f.t, active.Reload(f.ctx, f.mount+"/"))
}

// settle waits until every account is ready, with an access token that the API accepts, or says that
// a person has to authorize it again.
func (f *fleet) settle() {
	f.t.Helper()
	left := f.members
	must(f.t, harness.Until(f.ctx, "the accounts to settle", func(context.Context) (bool, error) {
		var (
			mu      sync.Mutex
			pending []*member
		)
		err := f.each(left, func(m *member) error {
			ok, err := f.settled(m)
			if !ok {
				mu.Lock()
				defer mu.Unlock()
				pending = append(pending, m)
			}
			return err
		})
		left = pending
		return len(left) == 0, err
	}))
}

// settled reads the member's token, as any integration does, and says whether it has settled. Where
// the token still lives and so no read makes the account go on, an operator does.
func (f *fleet) settled(m *member) (bool, error) {
	read, err := f.ask(http.MethodGet, "token/"+m.name)
	if err != nil {
		return false, err
	}
	about, err := f.ask(http.MethodGet, "accounts/"+m.name)
	if err != nil {
		return false, err
	}
	switch state := about.Data["state"]; {
	case state == "reauthorization_required":
		return true, nil
	case state == "ready" && read.status == http.StatusOK:
		token, _ := read.Data["access_token"].(string)
		if err := f.apiAccepts(token); err != nil {
			f.t.Errorf("%s: %v", m.name, err)
		}
		return true, nil
	case read.status == http.StatusOK && about.status == http.StatusOK && !waits(about):
		_, err := f.ask(http.MethodPost, "refresh/"+m.name)
		return false, err
	default:
		return false, fmt.Errorf("it is %v; a read answers %d: %q", state, read.status, read.Errors)
	}
}

// waits says whether the account's next attempt is still to come.
func waits(about answer) bool {
	text, _ := about.Data["next_attempt_time"].(string)
	next, err := time.Parse(time.RFC3339, text)
	return err == nil && time.Now().Before(next.Add(time.Second)) // it was cut to the second
}

func TestAFleetThatNothingHappensToLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(newStage(t), 6, 5*time.Second)
	if tally := f.check(); tally.exchanges != 12 || tally.most != 1 || tally.inTheAir != 0 {
		t.Errorf("the tally is %s", tally)
	}
}
