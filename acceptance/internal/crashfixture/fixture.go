// Package crashfixture is for tests that end processes and destroy answers in the middle of exchanges. It enrols many
// accounts, half of them with a spare. At the end it compares the server's records with what the tests did and with what
// readers got: no account may have lost more than the answers that nobody could have saved.
package crashfixture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// Fixture is a mount with many accounts. The sandbox's journal records which refresh tokens the server has consumed and
// issued. The fixture records which tokens readers got and when processes ended. Check compares the two.
//
// Several goroutines may call the methods at once, except Check. Requests go to any node.
type Fixture struct {
	*fixture.Fixture
	Accounts    []*Account
	Concurrency int          // how many accounts Each handles at once
	nextNode    atomic.Int64 // the index of the node that gets the next request

	ExchangeTimeout time.Duration // of the mount
	createdAt       time.Time

	mu            sync.Mutex
	accessTokens  map[string]tokenRead // that readers got, by the token
	issuedByLogin map[string]time.Time // when each enrolled refresh token was issued
	ends          []ProcessEnd         // in the order in which they happened
}

// Account is an account of the fixture. Its user at the authorization server has the same name, so that a test can set a
// fault for one account.
type Account struct {
	Name           string
	HasSpare       bool     // it was enrolled with a spare, and gets a new one if that is used
	RefreshTokens  []string // that were enrolled, spares included
	NewestSpare    string   // the spare that was enrolled last
	SparesReplaced int      // how often it got a new spare
	Reenrolled     int      // how often it was enrolled again because its grant was dead
}

// tokenRead records the reads that returned one access token.
type tokenRead struct {
	account     string    // the account that was read
	requestedAt time.Time // the time of the last request
}

// New enrols accounts at the mount, every other one with a spare, and sets the mount's exchange_timeout. After a process
// is killed, an account whose exchange is in doubt waits for that timeout and 7 s more.
func New(mount *fixture.Fixture, accounts int, exchangeTimeout time.Duration) *Fixture {
	mount.T.Helper()
	f := &Fixture{
		Fixture: mount, Concurrency: 8, ExchangeTimeout: exchangeTimeout, createdAt: time.Now(),
		accessTokens: map[string]tokenRead{}, issuedByLogin: map[string]time.Time{},
	}
	f.Write("config", fixture.Fields{"exchange_timeout": exchangeTimeout.String()})
	f.Write("clients/default", f.Client())
	for i := range accounts {
		f.Accounts = append(f.Accounts, &Account{Name: fmt.Sprintf("m%03d", i), HasSpare: i%2 == 0})
	}
	fixture.Must(f.T, f.Each(f.Accounts, f.enrolAccount))
	return f
}

// WidenGate lets one exchange of every account through at one time. At first the plugin lets three of them through, and
// one more after each success: here of the logins of an account that it deletes again.
func (f *Fixture) WidenGate() {
	f.T.Helper()
	fixture.Must(f.T, f.Sandbox.AddUser(sandbox.User{Username: "widening", Password: "widening-password"}))
	for range len(f.Accounts) {
		f.Write("accounts/widening", fixture.Fields{"username": "widening", "password": "widening-password"})
	}
	f.Do(http.MethodDelete, "accounts/widening?revoke=false", nil)
}

// Beside enrols other accounts at the same mount, without spares. The result handles all of them at once and has its own
// records.
func (f *Fixture) Beside(accounts int) *Fixture {
	f.T.Helper()
	others := &Fixture{
		Fixture: f.Fixture, Concurrency: accounts, ExchangeTimeout: f.ExchangeTimeout, createdAt: time.Now(),
		accessTokens: map[string]tokenRead{}, issuedByLogin: map[string]time.Time{},
	}
	for i := range accounts {
		others.Accounts = append(others.Accounts, &Account{Name: fmt.Sprintf("beside%d", i)})
	}
	fixture.Must(f.T, others.Each(others.Accounts, others.enrolAccount))
	return others
}

// enrolAccount creates the account's user and enrols the account.
func (f *Fixture) enrolAccount(account *Account) error {
	if err := f.Sandbox.AddUser(sandbox.User{Username: account.Name, Password: account.Name + "-password"}); err != nil {
		return err
	}
	if err := f.GiveGrant(account); err != nil || !account.HasSpare {
		return err
	}
	return f.GiveSpare(account)
}

// newGrant logs the account's user in and returns the first refresh token.
func (f *Fixture) newGrant(account *Account) (string, error) {
	now := time.Now()
	token, err := f.Sandbox.Login(f.Ctx, sandbox.DefaultClientID, account.Name)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	account.RefreshTokens = append(account.RefreshTokens, token)
	f.issuedByLogin[token] = now
	return token, nil
}

// GiveGrant enrols the account with a new login of its user.
func (f *Fixture) GiveGrant(account *Account) error {
	token, err := f.newGrant(account)
	if err != nil {
		return err
	}
	return f.writeUntilAccepted("accounts/"+account.Name, fixture.Fields{"refresh_token": token})
}

// GiveSpare gives the account a spare from a new login of its user.
func (f *Fixture) GiveSpare(account *Account) error {
	token, err := f.newGrant(account)
	if err != nil {
		return err
	}
	account.NewestSpare = token
	return f.writeUntilAccepted("accounts/"+account.Name, fixture.Fields{"spare_refresh_token": token})
}

// Each calls do for all accounts of the list, Concurrency of them at a time, and returns their errors.
func (f *Fixture) Each(list []*Account, do func(*Account) error) error {
	errs := make([]error, len(list))
	var (
		group sync.WaitGroup
		next  atomic.Int64
	)
	for range min(f.Concurrency, len(list)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				if err := do(list[i]); err != nil {
					errs[i] = fmt.Errorf("%s: %w", list[i].Name, err)
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// AgreedNode waits until all nodes agree on which one is active, and returns it.
func (f *Fixture) AgreedNode() *harness.Node {
	f.T.Helper()
	active, err := f.Cluster.Agreed(f.Ctx)
	fixture.Must(f.T, err)
	return active
}

// orphanTimeout bounds how long a plugin may outlive its Vault. The plugin looks for Vault every second.
const orphanTimeout = 20 * time.Second

// WantPluginsEnd asserts that plugins end by themselves after their Vault was killed. They could save nothing, and
// nothing else would end them.
func (f *Fixture) WantPluginsEnd(orphans ...harness.Process) {
	f.T.Helper()
	ctx, cancel := context.WithTimeout(f.Ctx, orphanTimeout)
	defer cancel()
	if err := harness.Gone(ctx, orphans...); err != nil {
		f.T.Errorf("a plugin outlives its Vault: %v", err)
	}
}
