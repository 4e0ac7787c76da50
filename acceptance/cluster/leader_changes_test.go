package cluster

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// recovery bounds how long a node may take to answer again after another one was lost.
const recovery = 90 * time.Second

// TestLeaderChangesLoseNothing has readers ask all nodes all the time for tokens
// that live so shortly that exchanges are always under way, while the active node is killed and steps
// down in turn. An operator looks after the accounts: those whose spare was used get another before
// the next kill, and those that had none and are dead are enrolled again.
func TestLeaderChangesLoseNothing(t *testing.T) {
	t.Parallel()
	const rounds, takes = 10, 500 * time.Millisecond
	config := sandbox.Config{Faults: true, AccessTokenLifetime: 4 * time.Second}
	f := crashfixture.New(fixture.NewIn(t, fixture.NewVault(t, 3), config), 12, 2*time.Second)
	random := crashfixture.NewRandom(t)
	for i, account := range f.Accounts { // an exchange takes a while, before the token is spent or after
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		_, err := f.Sandbox.SetFault(sandbox.Fault{User: account.Name, When: when, Delay: takes})
		fixture.Must(t, err)
	}
	readers := keepReading(f, 6, random)
	for round := range rounds {
		kills := round%2 == 0
		if kills {
			tend(f)
		}
		f.WaitForExchanges(2)
		<-time.After(random.UpTo(takes))
		if kills {
			killLeader(f)
		} else { // while what the last kill has hit is in doubt
			stepDown(f, func(active *harness.Node) { fixture.Must(t, active.StepDown(f.Ctx)) })
		}
		wantAllNodesAnswer(f)
	}
	tend(f)
	readers.stop()
	tally := f.Check()
	t.Logf("readers got %d tokens and %d errors", readers.tokens.Load(), readers.errors.Load())
	if tally.Kills != rounds || tally.Takeovers == 0 || readers.tokens.Load() == 0 {
		t.Errorf("too little happened: %s", tally)
	}
}

// killLeader kills the active node, waits until another one has taken over, and starts the killed one
// again. Its plugin has to end by itself.
func killLeader(f *crashfixture.Fixture) {
	f.T.Helper()
	leader := f.AgreedNode()
	orphans, err := leader.PluginProcesses(f.Ctx, fixture.PluginName)
	fixture.Must(f.T, err)
	if len(orphans) == 0 {
		f.T.Error("the active node has no plugin process")
	}
	fixture.Must(f.T, f.RecordEnd(crashfixture.ProcessEnd{What: "of the active node"}, func() error { return leader.Kill(f.Ctx) }))
	_, err = f.Cluster.Active(f.Ctx)
	fixture.Must(f.T, err)
	f.RecordTakeover()
	fixture.Must(f.T, leader.Start(f.Ctx))
	fixture.Must(f.T, leader.Unseal(f.Ctx))
	f.WantPluginsEnd(orphans...)
}

// wantAllNodesAnswer waits until every node answers.
func wantAllNodesAnswer(f *crashfixture.Fixture) {
	f.T.Helper()
	ctx, cancel := context.WithTimeout(f.Ctx, recovery)
	defer cancel()
	for _, node := range f.Cluster.Nodes {
		at := at(f, node)
		at.Ctx = ctx
		at.ReadPatiently("accounts/" + f.Accounts[0].Name)
	}
}

// tend waits until no account is in doubt, gives new spares to those that have used theirs, and
// enrols those again that had none and are dead.
func tend(f *crashfixture.Fixture) {
	f.T.Helper()
	fixture.Must(f.T, harness.Until(f.Ctx, "no account to be in doubt", func(context.Context) (bool, error) {
		err := f.Each(f.Accounts, func(account *crashfixture.Account) error {
			about, err := f.Ask(http.MethodGet, "accounts/"+account.Name)
			if err != nil {
				return err
			}
			state := about.Data["state"]
			switch {
			case about.Status != http.StatusOK:
				return fmt.Errorf("status %d: %q", about.Status, about.Errors)
			case state == "reauthorization_required" && account.HasSpare:
				return nil // a defect, which the books will tell
			case state == "reauthorization_required":
				account.Reenrolled++
				return f.GiveGrant(account)
			case account.HasSpare && about.Data["spare"] == "used":
				account.SparesReplaced++
				return f.GiveSpare(account)
			case state == "in_doubt" || state == "failing":
				return fmt.Errorf("it is %s: %v", state, about.Data["last_error"])
			}
			return nil
		})
		return err == nil, err
	}))
}

// readersOfNodes are readers that ask every node of a cluster all the time.
type readersOfNodes struct {
	tokens, errors atomic.Int64
	stop           func()
}

// keepReading has so many readers ask each node for the tokens of random members; every other one goes
// away when no answer comes soon. Errors are nothing special while the cluster changes its leader;
// what is wrong with the tokens, the books tell.
func keepReading(f *crashfixture.Fixture, perNode int, random crashfixture.Random) *readersOfNodes {
	readers := &readersOfNodes{}
	ctx, cancel := context.WithCancel(f.Ctx)
	var group sync.WaitGroup
	readers.stop = func() {
		cancel()
		group.Wait()
	}
	for _, node := range f.Cluster.Nodes {
		at := at(f, node)
		at.Ctx = ctx
		for i := range perNode {
			client := &http.Client{Transport: &http.Transport{}}
			if i%2 == 1 {
				client.Timeout = 100 * time.Millisecond
			}
			group.Go(func() {
				defer client.CloseIdleConnections()
				ticker := time.NewTicker(100 * time.Millisecond)
				defer ticker.Stop()
				for range ticker.C {
					if ctx.Err() != nil {
						return
					}
					account := f.Accounts[random.UpTo(time.Duration(len(f.Accounts)))]
					a, err := f.AskAt(at, client, http.MethodGet, "token/"+account.Name)
					if err == nil && a.Status == http.StatusOK {
						readers.tokens.Add(1)
					} else {
						readers.errors.Add(1)
					}
				}
			})
		}
	}
	return readers
}
