package crash

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// replaceUsedSpares gives a new spare to the members whose spare has been used, as an operator would.
func replaceUsedSpares(f *crashfixture.Fixture) {
	f.T.Helper()
	fixture.Must(f.T, f.Each(f.Accounts, func(account *crashfixture.Account) error {
		about, err := f.Ask(http.MethodGet, "accounts/"+account.Name)
		if err != nil || !account.HasSpare || about.Data["spare"] != "used" {
			return err
		}
		account.SparesReplaced++
		return f.GiveSpare(account)
	}))
}

// moment is the part of an exchange in which the plugin is killed.
type moment struct {
	name  string
	fault sandbox.Fault // brings the exchange to the moment; no action and no delay: none
	// after is the longest time that passes before the kill, from the fault's strike or else from
	// the beginning. It is drawn at random.
	after time.Duration
	// spends says whether the refresh tokens are spent for sure, and their successors lost.
	spends bool
	// spares says that the refresh tokens are not spent for sure.
	spares bool
}

// moments are where the plugin is killed in turn. How long an exchange takes is given.
func moments(usual time.Duration) []moment {
	return []moment{
		{name: "at any time", after: usual * 3 / 2},
		{name: "while the answer is on its way", spends: true, fault: sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionHold}},
		{name: "around the answer and the save", after: usual, fault: sandbox.Fault{When: sandbox.FaultAfter, Delay: usual / 2}},
		{name: "before the server has the token", spares: true, fault: sandbox.Fault{Action: sandbox.ActionHang}},
		{name: "before the save", after: usual / 2, fault: sandbox.Fault{When: sandbox.FaultAfter, Delay: usual / 4}},
		{name: "while the server works, which goes on", spends: true, fault: sandbox.Fault{Action: sandbox.ActionHold}},
	}
}

// TestAKilledPluginLosesOnlyAnswersInTransit kills the plugin 50 times in the middle of
// the exchanges of four accounts, two of which have a spare. Every account meets it twice; it has
// settled in between, and a spare that was used has been replaced.
func TestAKilledPluginLosesOnlyAnswersInTransit(t *testing.T) {
	t.Parallel()
	const groups, rounds, size = 25, 2, 4
	f := crashfixture.New(fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{Faults: true}), groups*size, 3*time.Second)
	random := crashfixture.NewRandom(t)
	usual := usualDurationOf(f, size)
	t.Logf("%d exchanges at once took %s", size, usual)
	ways := moments(usual)
	mustLose := 0
	for round := range rounds {
		for i := range groups {
			way := ways[(round*groups+i)%len(ways)]
			struck := killDuring(f, alive(f, f.Accounts[i*size:(i+1)*size]), way, random, startedPlugin(f.Fixture).Kill)
			if way.spends {
				mustLose += struck
			}
		}
		f.Settle()
		replaceUsedSpares(f)
	}
	tally := f.Check()
	if tally.Kills != groups*rounds || tally.LostAnswers < mustLose || tally.LostWithoutSpare == 0 {
		t.Errorf("of %d answers in the air, %d were there for sure: %s", tally.LostAnswers, mustLose, tally)
	}
}

// usualDurationOf returns how long the first exchanges of as many accounts take at once. The accounts
// are enrolled for that.
func usualDurationOf(f *crashfixture.Fixture, size int) time.Duration {
	f.T.Helper()
	return usualDuration(f.Beside(size))
}

// alive returns those of the members that need no person.
func alive(f *crashfixture.Fixture, members []*crashfixture.Account) []*crashfixture.Account {
	var alive []*crashfixture.Account
	for _, account := range members {
		if f.ReadPatiently("accounts/" + account.Name)["state"] != "reauthorization_required" {
			alive = append(alive, account)
		}
	}
	return alive
}

// killDuring has end kill a process in the moment of an exchange of each of the members, and returns
// for how many the moment came for sure.
func killDuring(f *crashfixture.Fixture, members []*crashfixture.Account, way moment, random crashfixture.Random, kill func() error) int {
	f.T.Helper()
	ordered := way.fault.Action != sandbox.ActionNone || way.fault.Delay > 0
	var faults []*sandbox.FaultHandle
	for _, account := range members {
		if ordered {
			fault := way.fault
			fault.User, fault.Count = account.Name, 1
			handle, err := f.Sandbox.SetFault(fault)
			fixture.Must(f.T, err)
			faults = append(faults, handle)
		}
	}
	var readers sync.WaitGroup
	end := crashfixture.ProcessEnd{What: way.name, Began: time.Now()}
	for _, account := range members {
		readers.Go(func() { exchange(f, account) })
	}
	for _, handle := range faults {
		fixture.Must(f.T, handle.Wait(f.Ctx, 1))
	}
	if way.after > 0 {
		<-time.After(random.UpTo(way.after))
	}
	fixture.Must(f.T, f.RecordEnd(end, kill))
	for _, handle := range faults {
		handle.Clear()
	}
	readers.Wait()
	return len(faults)
}

// exchange asks for an exchange, and then for the token: whoever has got it will not lose it.
// Whatever the answers are, the books tell what became of it.
func exchange(f *crashfixture.Fixture, account *crashfixture.Account) {
	if a, err := f.Ask(http.MethodPost, "refresh/"+account.Name); err == nil && a.Status == http.StatusOK {
		_, _ = f.Ask(http.MethodGet, "token/"+account.Name)
	}
}

// startedPlugin is pluginProcess, but Vault need not have started it yet.
func startedPlugin(f *fixture.Fixture) harness.Process {
	f.T.Helper()
	f.ReadPatiently("config") // Vault starts it at its first use
	return f.PluginProcess()
}
