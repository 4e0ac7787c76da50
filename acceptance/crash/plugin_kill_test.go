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

// moment is a part of an exchange in which a process is killed.
type moment struct {
	name  string
	fault sandbox.Fault // holds the exchange in this moment; empty if the moment needs no fault
	// after bounds the random time until the kill. It starts when the fault strikes or, without a fault, when the exchange
	// begins.
	after time.Duration
	// spends is true if the refresh tokens are certainly spent and their successors lost.
	spends bool
}

// moments returns the moments of the kills, in turn. usual is the duration of an exchange.
func moments(usual time.Duration) []moment {
	return []moment{
		{name: "at any time", after: usual * 3 / 2},
		{name: "while the answer is on its way", spends: true, fault: sandbox.Fault{When: sandbox.FaultAfter, Action: sandbox.ActionHold}},
		{name: "around the answer and the save", after: usual, fault: sandbox.Fault{When: sandbox.FaultAfter, Delay: usual / 2}},
		{name: "before the server has the token", fault: sandbox.Fault{Action: sandbox.ActionHang}},
		{name: "before the save", after: usual / 2, fault: sandbox.Fault{When: sandbox.FaultAfter, Delay: usual / 4}},
		{name: "while the server works, which goes on", spends: true, fault: sandbox.Fault{Action: sandbox.ActionHold}},
	}
}

// TestAKilledPluginLosesOnlyAnswersInTransit kills the plugin 50 times, each time in the middle of exchanges of four
// accounts, two of which have a spare. It happens twice to every account. In between, the account settles, and a used
// spare is replaced.
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
		t.Errorf("%d answers were lost, and at least %d must have been: %s", tally.LostAnswers, mustLose, tally)
	}
}

// usualDurationOf returns how long size concurrent first exchanges take. It enrols other accounts for that.
func usualDurationOf(f *crashfixture.Fixture, size int) time.Duration {
	f.T.Helper()
	return usualDuration(f.Beside(size))
}

// alive returns the accounts that need no reauthorization.
func alive(f *crashfixture.Fixture, accounts []*crashfixture.Account) []*crashfixture.Account {
	var alive []*crashfixture.Account
	for _, account := range accounts {
		if f.ReadPatiently("accounts/" + account.Name)["state"] != "reauthorization_required" {
			alive = append(alive, account)
		}
	}
	return alive
}

// killDuring starts an exchange of each account and calls kill, which kills a process, in the given moment. It returns how
// many exchanges were certainly in that moment.
func killDuring(f *crashfixture.Fixture, accounts []*crashfixture.Account, way moment, random crashfixture.Random, kill func() error) int {
	f.T.Helper()
	ordered := way.fault.Action != sandbox.ActionNone || way.fault.Delay > 0
	var faults []*sandbox.FaultHandle
	for _, account := range accounts {
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
	for _, account := range accounts {
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

// exchange starts an exchange and then reads the token. A token that a reader got must not be lost later. The answers do
// not matter here: the ledger shows the outcome.
func exchange(f *crashfixture.Fixture, account *crashfixture.Account) {
	if a, err := f.Ask(http.MethodPost, "refresh/"+account.Name); err == nil && a.Status == http.StatusOK {
		_, _ = f.Ask(http.MethodGet, "token/"+account.Name)
	}
}

// startedPlugin is PluginProcess, but has Vault start the process if necessary.
func startedPlugin(f *fixture.Fixture) harness.Process {
	f.T.Helper()
	f.ReadPatiently("config") // Vault starts the plugin at its first use
	return f.PluginProcess()
}

// replaceUsedSpares gives a new spare to each account whose spare was used, as an operator would.
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
