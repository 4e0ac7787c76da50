package crash

import (
	"net/http"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestAKilledVaultLosesOnlyAnswersInTransit kills Vault itself 20 times in the middle of exchanges of four accounts, two of
// which have a spare, and once while nothing happens. It restarts Vault at once, as a service manager would. It happens
// twice to every account, which settles in between.
func TestAKilledVaultLosesOnlyAnswersInTransit(t *testing.T) {
	t.Parallel()
	const groups, rounds, size = 10, 2, 4
	f := crashfixture.New(fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{Faults: true}), groups*size, 2*time.Second)
	random := crashfixture.NewRandom(t)
	usual := usualDurationOf(f, size)
	t.Logf("%d exchanges at once took %s", size, usual)
	killVaultDuring(f, nil, moment{name: "while nothing happened"}, random)
	ways := moments(usual)
	mustLose := 0
	for round := range rounds {
		for i := range groups {
			way := ways[(round*groups+i)%len(ways)]
			struck := killVaultDuring(f, alive(f, f.Accounts[i*size:(i+1)*size]), way, random)
			if way.spends {
				mustLose += struck
			}
		}
		f.Settle()
		replaceUsedSpares(f)
	}
	tally := f.Check()
	if tally.Kills != groups*rounds+1 || tally.LostAnswers < mustLose || tally.LostWithoutSpare == 0 || tally.Takeovers == 0 {
		t.Errorf("%d answers were lost, and at least %d must have been: %s", tally.LostAnswers, mustLose, tally)
	}
}

// killVaultDuring starts an exchange of each account, kills Vault in the given moment and restarts it. Reads and forced
// refreshes right afterwards must not start an exchange. It returns how many exchanges were certainly in that moment.
func killVaultDuring(f *crashfixture.Fixture, accounts []*crashfixture.Account, way moment, random crashfixture.Random) int {
	f.T.Helper()
	orphan := startedPlugin(f.Fixture)
	struck := killDuring(f, accounts, way, random, func() error { return f.Node.Kill(f.Ctx) })
	fixture.Must(f.T, f.Node.Start(f.Ctx))
	fixture.Must(f.T, f.Node.Unseal(f.Ctx))
	f.RecordTakeover()
	for _, account := range accounts {
		for _, ask := range []struct{ method, path string }{{http.MethodGet, "token/"}, {http.MethodPost, "refresh/"}} {
			a, err := f.Ask(ask.method, ask.path+account.Name)
			fixture.Must(f.T, err)
			if struck > 0 && a.Status != http.StatusOK {
				a.WantError(http.StatusServiceUnavailable, account.Name, "another process began an exchange at", "next attempt at")
			}
		}
	}
	f.WantPluginsEnd(orphan)
	return struck
}
