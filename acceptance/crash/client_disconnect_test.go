package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// interruptions is how many exchanges lose the client that started them.
const interruptions = 200

// TestClientsThatGoAwayStopNoExchange has clients start exchanges, each on its own connection, and leave at random moments.
func TestClientsThatGoAwayStopNoExchange(t *testing.T) {
	t.Parallel()
	f := crashfixture.New(fixture.New(t), 16, 5*time.Second)
	random := crashfixture.NewRandom(t)
	exchanges := map[*crashfixture.Account]*sandbox.FaultHandle{} // count the exchanges
	for i, account := range f.Accounts {
		// The exchange takes a while, so that clients also leave in the middle of it: before the token is spent, or after.
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		var err error
		exchanges[account], err = f.Sandbox.SetFault(sandbox.Fault{User: account.Name, When: when, Delay: 30 * time.Millisecond})
		fixture.Must(t, err)
	}
	usual := usualDuration(f)

	var interrupted, answered, unbegun atomic.Int64
	fixture.Must(t, f.Each(f.Accounts, func(account *crashfixture.Account) error {
		for interrupted.Load() < interruptions {
			before := exchanges[account].Hits()
			gone := askAndLeave(f, account, random.UpTo(usual))
			if err := rest(f, account, exchanges[account]); err != nil {
				return err
			}
			begun := exchanges[account].Hits() - before
			switch {
			case !gone:
				answered.Add(1)
			case begun == 0:
				unbegun.Add(1)
			default:
				interrupted.Add(int64(begun))
			}
		}
		return nil
	}))

	f.ReloadPlugin()
	tally := f.Check()
	t.Logf("%d exchanges were interrupted, %d were not; %d clients left before theirs had begun; an exchange took %s",
		interrupted.Load(), answered.Load(), unbegun.Load(), usual)
	if tally.Exchanges < interruptions || tally.Succeeded != tally.Exchanges || tally.MostPresentations != 1 || tally.LostAnswers != 0 {
		t.Errorf("not every exchange succeeded, or a token came twice: %s", tally)
	}
	f.WantSaved(tally.Succeeded)
}

// rest waits until the account has counted all exchanges that reached the server. A write would wait, too, but it would save
// what an exchange failed to save.
func rest(f *crashfixture.Fixture, account *crashfixture.Account, exchanges *sandbox.FaultHandle) error {
	return harness.Until(f.Ctx, account.Name+" to count its exchanges", func(context.Context) (bool, error) {
		about, err := f.Ask(http.MethodGet, "accounts/"+account.Name)
		count, _ := about.Data["refresh_count"].(json.Number)
		return count.String() == fmt.Sprint(exchanges.Hits()), err
	})
}

// usualDuration has every account make its first exchange, and returns the longest duration.
func usualDuration(f *crashfixture.Fixture) time.Duration {
	f.T.Helper()
	var longest atomic.Int64
	fixture.Must(f.T, f.Each(f.Accounts, func(account *crashfixture.Account) error {
		began := time.Now()
		a, err := f.Ask(http.MethodGet, "token/"+account.Name)
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("status %d: %q", a.Status, a.Errors)
		}
		for took := int64(time.Since(began)); ; {
			known := longest.Load()
			if took <= known || longest.CompareAndSwap(known, took) {
				return err
			}
		}
	}))
	return time.Duration(longest.Load())
}

// askAndLeave starts an exchange and leaves after a while. It reports whether it left without an answer.
func askAndLeave(f *crashfixture.Fixture, account *crashfixture.Account, after time.Duration) bool {
	ctx, leave := context.WithTimeout(f.Ctx, after)
	defer leave()
	return f.AskUntil(ctx, http.MethodPost, "refresh/"+account.Name) != nil
}
