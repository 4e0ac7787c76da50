package acceptance

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// orphanTimeout bounds how long a plugin may outlive its Vault. It looks every second.
const orphanTimeout = 20 * time.Second

// TestAVaultThatIsKilledLosesNothingButWhatIsInTheAir kills Vault itself 20 times in the middle of the
// exchanges of four accounts, two of which have a spare, and once at rest, and starts it again at
// once, as a service manager would. Every account meets it twice; it has settled in between.
func TestAVaultThatIsKilledLosesNothingButWhatIsInTheAir(t *testing.T) {
	t.Parallel()
	const groups, rounds, size = 10, 2, 4
	f := newFleet(newStageIn(t, newVault(t, 1), sandbox.Config{Faults: true}), groups*size, 2*time.Second)
	random := newRandom(t)
	usual := f.usualDurationOf(size)
	t.Logf("%d exchanges at once took %s", size, usual)
	f.killVaultDuring(nil, moment{name: "at rest"}, random)
	ways := moments(usual)
	mustLose := 0
	for round := range rounds {
		for i := range groups {
			way := ways[(round*groups+i)%len(ways)]
			struck := f.killVaultDuring(f.alive(f.members[i*size:(i+1)*size]), way, random)
			if way.spends {
				mustLose += struck
			}
		}
		f.settle()
		f.replenish()
	}
	tally := f.check()
	if tally.kills != groups*rounds+1 || tally.inTheAir < mustLose || tally.lostUnspared == 0 || tally.takeovers == 0 {
		t.Errorf("of %d answers in the air, %d were there for sure: %s", tally.inTheAir, mustLose, tally)
	}
}

// killVaultDuring kills Vault in the moment of an exchange of each of the members, starts it again,
// and has readers and operators ask for the members at once. It returns for how many the moment came
// for sure.
func (f *fleet) killVaultDuring(members []*member, way moment, random random) int {
	f.t.Helper()
	orphan := f.plugin()
	struck := f.killDuring(members, way, random, func() error { return f.node.Kill(f.ctx) })
	must(f.t, f.node.Start(f.ctx))
	must(f.t, f.node.Unseal(f.ctx))
	f.takenOver()
	for _, m := range members {
		for _, ask := range []struct{ method, path string }{{http.MethodGet, "token/"}, {http.MethodPost, "refresh/"}} {
			a, err := f.ask(ask.method, ask.path+m.name)
			must(f.t, err)
			if struck > 0 && a.status != http.StatusOK {
				a.wantError(http.StatusServiceUnavailable, m.name, "another process began an exchange at", "next attempt at")
			}
		}
	}
	f.wantGone(orphan)
	return struck
}

// wantGone asserts that a plugin whose Vault was killed ends by itself: without Vault it can save
// nothing, and nobody else would end it.
func (f *fleet) wantGone(orphans ...harness.Process) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, orphanTimeout)
	defer cancel()
	if err := harness.Gone(ctx, orphans...); err != nil {
		f.t.Errorf("a plugin outlives its Vault: %v", err)
	}
}
