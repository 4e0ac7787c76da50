package crash

import (
	"net/http"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestAKilledVaultLosesOnlyAnswersInTransit kills Vault itself 20 times in the middle of the
// exchanges of four accounts, two of which have a spare, and once at rest, and starts it again at
// once, as a service manager would. Every account meets it twice; it has settled in between.
func TestAKilledVaultLosesOnlyAnswersInTransit(t *testing.T) {
	t.Parallel()
	const groups, rounds, size = 10, 2, 4
	f := crashfixture.New(fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{Faults: true}), groups*size, 2*time.Second)
	random := crashfixture.NewRandom(t)
	usual := usualDurationOf(f, size)
	t.Logf("%d exchanges at once took %s", size, usual)
	killVaultDuring(f, nil, moment{name: "at rest"}, random)
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
		t.Errorf("of %d answers in the air, %d were there for sure: %s", tally.LostAnswers, mustLose, tally)
	}
}

// killVaultDuring kills Vault in the moment of an exchange of each of the members, starts it again,
// and has readers and operators ask for the members at once. It returns for how many the moment came
// for sure.
func killVaultDuring(f *crashfixture.Fixture, members []*crashfixture.Account, way moment, random crashfixture.Random) int {
	f.T.Helper()
	orphan := startedPlugin(f.Fixture)
	struck := killDuring(f, members, way, random, func() error { return f.Node.Kill(f.Ctx) })
	fixture.Must(f.T, f.Node.Start(f.Ctx))
	fixture.Must(f.T, f.Node.Unseal(f.Ctx))
	f.RecordTakeover()
	for _, account := range members {
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
