package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/crashfixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestALeaderThatStepsDownSavesWhatIsUnderWay has the active node of three step down in the middle of exchanges.
func TestALeaderThatStepsDownSavesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	cluster := fixture.NewVault(t, 3)
	t.Run("while readers wait", func(t *testing.T) {
		f := crashfixture.New(fixture.NewIn(t, cluster, sandbox.Config{Faults: true}), 4, 30*time.Second)
		f.WidenGate()
		faults := holdAll(f)
		readers := readAll(f, f.AnyNode)
		waitAll(f, faults)
		stepDown(f, func(active *harness.Node) {
			fixture.Must(t, active.StepDown(f.Ctx))
			<-time.After(crashfixture.NewRandom(t).UpTo(time.Second))
			f.Sandbox.ClearFaults()
		})
		readers.wantAnswered(t)
		wantAllSavedOnce(f)
	})
	t.Run("while nobody waits", func(t *testing.T) {
		f := crashfixture.New(fixture.NewIn(t, cluster, sandbox.Config{Faults: true}), 4, 30*time.Second)
		f.WidenGate()
		faults := holdAll(f)
		readers := readAll(f, atLeader(f))
		waitAll(f, faults)
		readers.leave()
		stepDown(f, func(active *harness.Node) {
			before := mentions(t, active, "pre-seal teardown starting")
			fixture.Must(t, active.StepDown(f.Ctx))
			f.WaitFor("the node to begin to step down", func() bool {
				return mentions(t, active, "pre-seal teardown starting") > before
			})
			<-time.After(crashfixture.NewRandom(t).UpTo(time.Second))
			f.Sandbox.ClearFaults()
		})
		wantAllSavedOnce(f)
	})
	t.Run("while the server never answers", func(t *testing.T) {
		f := crashfixture.New(fixture.NewIn(t, cluster, sandbox.Config{Faults: true}), 4, 2*time.Second)
		f.WidenGate()
		faults := hangAll(f)
		readers := readAll(f, atLeader(f))
		waitAll(f, faults)
		readers.leave()
		stepDown(f, func(active *harness.Node) { fixture.Must(t, active.StepDown(f.Ctx)) })
		// Two tokens were spent and their answers never came. Only a spare helps then.
		if tally := f.Check(); tally.LostAnswers < 2 || tally.LostWithoutSpare < 1 || tally.SparesUsed < 1 {
			t.Errorf("the tally is %s", tally)
		}
	})
}

// TestAFrozenLeaderDoesNotWriteLater freezes the active node of three in the middle of exchanges, as a partition would, until
// another node has taken over.
func TestAFrozenLeaderDoesNotWriteLater(t *testing.T) {
	t.Parallel()
	cluster := fixture.NewVault(t, 3)
	for name, scene := range map[string]func(*crashfixture.Fixture, *harness.Node){
		"and resumes before the other node may try": func(f *crashfixture.Fixture, old *harness.Node) {
			fixture.Must(f.T, old.Thaw())
			f.AgreedNode()
			f.Settle()
		},
		"and resumes after the other node has tried": func(f *crashfixture.Fixture, old *harness.Node) {
			f.Settle()
			fixture.Must(f.T, old.Thaw())
			f.AgreedNode()
		},
	} {
		t.Run(name, func(t *testing.T) {
			// Long enough for another node to take over on a busy machine while the exchanges are still in doubt.
			f := crashfixture.New(fixture.NewIn(t, cluster, sandbox.Config{Faults: true}), 4, 15*time.Second)
			f.WidenGate()
			old := f.AgreedNode()
			began := time.Now()
			faults := mixAll(f)
			readers := readAll(f, atLeader(f))
			waitAll(f, faults)
			t.Cleanup(func() { fixture.Must(t, old.Thaw()) })
			fixture.Must(t, f.RecordEnd(crashfixture.ProcessEnd{What: "of a frozen leader", Began: began, Frozen: old}, old.Freeze))
			releaseAll(f, faults)
			active, err := cluster.Active(f.Ctx)
			fixture.Must(t, err)
			f.RecordTakeover()
			wantInDoubt(f, active, began)
			scene(f, old)
			readers.leave()
			// The storage must be right, not only the memory of the new leader.
			fixture.Must(t, f.AgreedNode().Reload(f.Ctx, f.Mount+"/"))
			if tally := f.Check(); tally.LostAnswers < 3 || tally.LostWithoutSpare < 1 || tally.SparesUsed < 2 || tally.Takeovers < 4 {
				t.Errorf("the tally is %s", tally)
			}
		})
	}
}

// stepDown calls do with the active node, which do has to make step down. It waits until another node has taken over. An
// orderly end may lose nothing.
func stepDown(f *crashfixture.Fixture, do func(*harness.Node)) {
	f.T.Helper()
	old := f.AgreedNode()
	fixture.Must(f.T, f.RecordEnd(crashfixture.ProcessEnd{What: "step-down", Orderly: true}, func() error { do(old); return nil }))
	f.WaitFor("another node to take over", func() bool {
		active, err := f.Cluster.Active(f.Ctx)
		return err == nil && active != old
	})
	f.RecordTakeover()
	f.AgreedNode()
}

// mentions returns how often a text is in the node's log.
func mentions(t *testing.T, node *harness.Node, text string) int {
	t.Helper()
	content, err := os.ReadFile(node.LogFile())
	fixture.Must(t, err)
	return strings.Count(string(content), text)
}

// tokenReads are reads of the tokens of all accounts, one read for each.
type tokenReads struct {
	group   sync.WaitGroup
	answers []fixture.Answer
	errs    []error
	leave   context.CancelFunc
}

// atLeader returns a function that returns the mount for requests to the node that is active now. Only the active node
// notices that a client has left. A standby that has forwarded a request cannot take over before the answer.
func atLeader(f *crashfixture.Fixture) func() *fixture.Fixture {
	f.T.Helper()
	at := at(f, f.AgreedNode())
	return func() *fixture.Fixture { return at }
}

// at returns the mount for requests to a node.
func at(f *crashfixture.Fixture, node *harness.Node) *fixture.Fixture {
	at := *f.Fixture
	at.Node = node
	return &at
}

// readAll starts reads of the tokens of all accounts.
func readAll(f *crashfixture.Fixture, where func() *fixture.Fixture) *tokenReads {
	ctx, leave := context.WithCancel(f.Ctx)
	readers := &tokenReads{answers: make([]fixture.Answer, len(f.Accounts)), errs: make([]error, len(f.Accounts))}
	readers.leave = func() {
		leave()
		readers.group.Wait()
	}
	for i, account := range f.Accounts {
		readers.group.Go(func() {
			at := *where()
			at.Ctx = ctx
			readers.answers[i], readers.errs[i] = at.Try(http.DefaultClient, http.MethodGet, "token/"+account.Name, nil)
		})
	}
	return readers
}

// wantAnswered waits for the reads, and asserts that all got a token.
func (r *tokenReads) wantAnswered(t *testing.T) {
	t.Helper()
	r.group.Wait()
	for i, a := range r.answers {
		fixture.Must(t, r.errs[i])
		a.WantStatus(http.StatusOK)
	}
}

// faultAll sets one fault for each account. It repeats the given faults.
func faultAll(f *crashfixture.Fixture, faults ...sandbox.Fault) []*sandbox.FaultHandle {
	f.T.Helper()
	handles := make([]*sandbox.FaultHandle, len(f.Accounts))
	for i, account := range f.Accounts {
		fault := faults[i%len(faults)]
		fault.User, fault.Count = account.Name, 1
		var err error
		handles[i], err = f.Sandbox.SetFault(fault)
		fixture.Must(f.T, err)
	}
	return handles
}

// holdAll has the server hold the next exchange of each of the four accounts: two before the token is spent, and two
// after that. Every other account has a spare.
func holdAll(f *crashfixture.Fixture) []*sandbox.FaultHandle {
	f.T.Helper()
	before, after := sandbox.Fault{Action: sandbox.ActionHold}, sandbox.Fault{Action: sandbox.ActionHold, When: sandbox.FaultAfter}
	return faultAll(f, before, before, after, after)
}

// hangAll has the server never answer the next exchange of each of the four accounts. The first two tokens are not spent,
// the others are.
func hangAll(f *crashfixture.Fixture) []*sandbox.FaultHandle {
	f.T.Helper()
	before, after := sandbox.Fault{Action: sandbox.ActionHang}, sandbox.Fault{Action: sandbox.ActionHang, When: sandbox.FaultAfter}
	return faultAll(f, before, before, after, after)
}

// mixAll has the server hold the next exchange of all accounts except the second one. It never processes the second
// account's token.
func mixAll(f *crashfixture.Fixture) []*sandbox.FaultHandle {
	f.T.Helper()
	hold, after := sandbox.Fault{Action: sandbox.ActionHold}, sandbox.Fault{Action: sandbox.ActionHold, When: sandbox.FaultAfter}
	return faultAll(f, hold, sandbox.Fault{Action: sandbox.ActionHang}, after, after)
}

// waitAll waits until every fault has struck.
func waitAll(f *crashfixture.Fixture, faults []*sandbox.FaultHandle) {
	f.T.Helper()
	for _, fault := range faults {
		fixture.Must(f.T, fault.Wait(f.Ctx, 1))
	}
}

// releaseAll lets the server answer all exchanges except that of the second account, and waits for the answers.
func releaseAll(f *crashfixture.Fixture, faults []*sandbox.FaultHandle) {
	f.T.Helper()
	for i, fault := range faults {
		if i != 1 {
			fault.Clear()
		}
	}
	f.WaitFor("the server to answer", func() bool {
		answered := 0
		for _, r := range f.Sandbox.Requests() {
			if r.Done && r.RefreshToken != "" && r.NextRefreshToken != "" {
				answered++
			}
		}
		return answered == len(faults)-1
	})
}

// wantAllSavedOnce asserts that every account has saved its only exchange. The node that took over must serve the token
// without another one.
func wantAllSavedOnce(f *crashfixture.Fixture) {
	f.T.Helper()
	issued := map[string]string{}
	for _, r := range f.Sandbox.Requests() {
		issued[r.User] = r.AccessToken
	}
	for _, account := range f.Accounts {
		if token := f.AccessToken(account.Name); token != issued[account.Name] {
			f.T.Errorf("%s: the node that took over serves another token", account.Name)
		}
	}
	f.WantExchanges(len(f.Accounts))
	if tally := f.Check(); tally.MostPresentations != 1 || tally.LostAnswers != 0 || tally.SparesUsed != 0 {
		f.T.Errorf("the tally is %s", tally)
	}
}

// wantInDoubt asserts that a node that took over does not touch accounts whose exchanges began on the previous node. Its
// error must name the time of the next attempt.
func wantInDoubt(f *crashfixture.Fixture, active *harness.Node, began time.Time) {
	f.T.Helper()
	at := at(f, active)
	for _, account := range f.Accounts {
		for _, ask := range []struct{ method, path string }{{http.MethodGet, "token/"}, {http.MethodPost, "refresh/"}} {
			a := at.Do(ask.method, ask.path+account.Name, nil)
			if time.Since(began) > crashfixture.Announcement+f.ExchangeTimeout+crashfixture.Grace {
				f.T.Log("the other node took over so late that the wait was already over")
				return
			}
			a.WantError(http.StatusServiceUnavailable,
				fmt.Sprintf("account %q: another process began an exchange at", account.Name), "next attempt at")
		}
	}
}
