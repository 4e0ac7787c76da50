package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// recovery bounds how long a node may take to answer again after another one was lost.
const recovery = 90 * time.Second

// TestAClusterWhoseLeaderComesAndGoesLosesNothing has readers ask all nodes all the time for tokens
// that live so shortly that exchanges are always under way, while the active node is killed and steps
// down in turn. An operator looks after the accounts: those whose spare was used get another before
// the next kill, and those that had none and are dead are enrolled again.
func TestAClusterWhoseLeaderComesAndGoesLosesNothing(t *testing.T) {
	t.Parallel()
	const rounds, takes = 10, 500 * time.Millisecond
	config := sandbox.Config{Faults: true, AccessTokenLifetime: 4 * time.Second}
	f := newFleet(newStageIn(t, newVault(t, 3), config), 12, 2*time.Second)
	random := newRandom(t)
	for i, m := range f.members { // an exchange takes a while, before the token is spent or after
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		_, err := f.sandbox.SetFault(sandbox.Fault{User: m.name, When: when, Delay: takes})
		must(t, err)
	}
	readers := f.keepReading(6, random)
	for round := range rounds {
		kills := round%2 == 0
		if kills {
			f.tend()
		}
		f.waitForExchanges(2)
		<-time.After(random.upTo(takes))
		if kills {
			f.killLeader()
		} else { // while what the last kill has hit is in doubt
			f.stepDown(func(active *harness.Node) { must(t, active.StepDown(f.ctx)) })
		}
		f.wantAllNodesAnswer()
	}
	f.tend()
	readers.stop()
	tally := f.check()
	t.Logf("readers got %d tokens and %d errors", readers.tokens.Load(), readers.errors.Load())
	if tally.kills != rounds || tally.takeovers == 0 || readers.tokens.Load() == 0 {
		t.Errorf("too little happened: %s", tally)
	}
}

// waitForExchanges waits until so many exchanges are under way.
func (f *fleet) waitForExchanges(count int) {
	f.t.Helper()
	f.waitFor("exchanges to be under way", func() bool {
		underWay := 0
		for _, r := range f.sandbox.Requests() {
			if r.Ended.IsZero() {
				underWay++
			}
		}
		return underWay >= count
	})
}

// killLeader kills the active node, waits until another one has taken over, and starts the killed one
// again. Its plugin has to end by itself.
func (f *fleet) killLeader() {
	f.t.Helper()
	leader := f.agree()
	orphans, err := leader.PluginProcesses(f.ctx, pluginName)
	must(f.t, err)
	if len(orphans) == 0 {
		f.t.Error("the active node has no plugin process")
	}
	must(f.t, f.killing("of the active node", func() error { return leader.Kill(f.ctx) }))
	_, err = f.cluster.Active(f.ctx)
	must(f.t, err)
	f.takenOver()
	must(f.t, leader.Start(f.ctx))
	must(f.t, leader.Unseal(f.ctx))
	f.wantGone(orphans...)
}

// wantAllNodesAnswer waits until every node answers.
func (f *fleet) wantAllNodesAnswer() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, recovery)
	defer cancel()
	for _, node := range f.cluster.Nodes {
		at := f.at(node)
		at.ctx = ctx
		at.tells("accounts/" + f.members[0].name)
	}
}

// tend waits until no account is in doubt, gives new spares to those that have used theirs, and
// enrols those again that had none and are dead.
func (f *fleet) tend() {
	f.t.Helper()
	must(f.t, harness.Until(f.ctx, "no account to be in doubt", func(context.Context) (bool, error) {
		err := f.each(f.members, func(m *member) error {
			about, err := f.ask(http.MethodGet, "accounts/"+m.name)
			if err != nil {
				return err
			}
			state := about.Data["state"]
			switch {
			case about.status != http.StatusOK:
				return fmt.Errorf("status %d: %q", about.status, about.Errors)
			case state == "reauthorization_required" && m.spared:
				return nil // a defect, which the books will tell
			case state == "reauthorization_required":
				m.revived++
				return f.giveGrant(m)
			case m.spared && about.Data["spare"] == "used":
				m.respared++
				return f.giveSpare(m)
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
func (f *fleet) keepReading(perNode int, random random) *readersOfNodes {
	readers := &readersOfNodes{}
	ctx, cancel := context.WithCancel(f.ctx)
	var group sync.WaitGroup
	readers.stop = func() {
		cancel()
		group.Wait()
	}
	for _, node := range f.cluster.Nodes {
		at := f.at(node)
		at.ctx = ctx
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
					m := f.members[random.upTo(time.Duration(len(f.members)))]
					a, err := f.askAt(at, client, http.MethodGet, "token/"+m.name)
					if err == nil && a.status == http.StatusOK {
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
