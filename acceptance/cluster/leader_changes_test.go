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

// recovery bounds how long a node may take to answer after another one was lost.
const recovery = 90 * time.Second

// TestLeaderChangesLoseNothing kills the active node and has it step down, in turn, while readers read from all nodes. The
// tokens expire so soon that there are always exchanges under way. Before each kill, accounts whose spare was used get a
// new one, and dead accounts without a spare are enrolled again.
func TestLeaderChangesLoseNothing(t *testing.T) {
	t.Parallel()
	const rounds, takes = 10, 500 * time.Millisecond
	config := sandbox.Config{Faults: true, AccessTokenLifetime: 4 * time.Second}
	f := crashfixture.New(fixture.NewIn(t, fixture.NewVault(t, 3), config), 12, 2*time.Second)
	random := crashfixture.NewRandom(t)
	for i, account := range f.Accounts { // an exchange takes a while, before or after the token is spent
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		_, err := f.Sandbox.SetFault(sandbox.Fault{User: account.Name, When: when, Delay: takes})
		fixture.Must(t, err)
	}
	readers := keepReading(f, 6, random)
	for round := range rounds {
		kills := round%2 == 0
		if kills {
			repairAccounts(f)
		}
		f.WaitForExchanges(2)
		<-time.After(random.UpTo(takes))
		if kills {
			killLeader(f)
		} else { // while the exchanges that the last kill interrupted are in doubt
			stepDown(f, func(active *harness.Node) { fixture.Must(t, active.StepDown(f.Ctx)) })
		}
		wantAllNodesAnswer(f)
	}
	repairAccounts(f)
	readers.stop()
	tally := f.Check()
	t.Logf("readers got %d tokens and %d errors", readers.tokens.Load(), readers.errors.Load())
	if tally.Kills != rounds || tally.Takeovers == 0 || readers.tokens.Load() == 0 {
		t.Errorf("too little happened: %s", tally)
	}
}

// killLeader kills the active node, waits until another one has taken over, and restarts the killed one. The plugin of the
// killed node must end by itself.
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

// repairAccounts waits until no account is in doubt. It gives a new spare to accounts that have used theirs, and enrols dead
// accounts without a spare again.
func repairAccounts(f *crashfixture.Fixture) {
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
				return nil // a defect that the ledger will show
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

// readersOfNodes are readers that read from every node of a cluster all the time.
type readersOfNodes struct {
	tokens, errors atomic.Int64
	stop           func()
}

// keepReading has perNode readers read tokens of random accounts from each node. Every other reader leaves if the answer
// does not come soon. Errors are expected while the cluster changes its leader. The ledger checks the tokens.
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
