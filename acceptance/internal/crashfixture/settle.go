package crashfixture

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// ReloadPlugin restarts the plugin. It then knows only what it has saved.
func (f *Fixture) ReloadPlugin() {
	f.T.Helper()
	active, err := f.Cluster.Active(f.Ctx)
	fixture.Must(f.T, err)
	fixture.Must(f.T, active.Reload(f.Ctx, f.Mount+"/"))
}

// Settle waits until every account either is ready, with an access token that the API accepts, or needs
// reauthorization.
func (f *Fixture) Settle() {
	f.T.Helper()
	left := f.Accounts
	fixture.Must(f.T, harness.Until(f.Ctx, "the accounts to settle", func(context.Context) (bool, error) {
		var (
			mu      sync.Mutex
			pending []*Account
		)
		err := f.Each(left, func(account *Account) error {
			ok, err := f.settled(account)
			if !ok {
				mu.Lock()
				defer mu.Unlock()
				pending = append(pending, account)
			}
			return err
		})
		left = pending
		return len(left) == 0, err
	}))
}

// settled reads the account's token, as an integration does, and reports whether the account has settled. While the
// token is valid, a read starts no exchange: then settled forces one, as an operator would. The plugin itself settles
// a doubt.
func (f *Fixture) settled(account *Account) (bool, error) {
	read, err := f.Ask(http.MethodGet, "token/"+account.Name)
	if err != nil {
		return false, err
	}
	about, err := f.Ask(http.MethodGet, "accounts/"+account.Name)
	if err != nil {
		return false, err
	}
	switch state := about.Data["state"]; {
	case state == "reauthorization_required":
		return true, nil
	case state == "ready" && read.Status == http.StatusOK:
		token, _ := read.Data["access_token"].(string)
		if err := f.APIAccepts(token); err != nil {
			f.T.Errorf("%s: %v", account.Name, err)
		}
		return true, nil
	case state != "in_doubt" && read.Status == http.StatusOK && about.Status == http.StatusOK && !awaitsNextAttempt(about):
		_, err := f.Ask(http.MethodPost, "refresh/"+account.Name)
		return false, err
	default:
		return false, fmt.Errorf("it is %v; a read answers %d: %q", state, read.Status, read.Errors)
	}
}

// awaitsNextAttempt reports whether the account's next attempt is still to come.
func awaitsNextAttempt(about fixture.Answer) bool {
	text, _ := about.Data["next_attempt_time"].(string)
	next, err := time.Parse(time.RFC3339, text)
	return err == nil && time.Now().Before(next.Add(time.Second)) // the API cuts times to the second
}
