package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// TestALeaderThatStepsDownSavesWhatIsUnderWay makes the active node of three step down in the middle
// of exchanges.
func TestALeaderThatStepsDownSavesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	cluster := newVault(t, 3)
	t.Run("while readers wait", func(t *testing.T) {
		f := newFleet(newStageIn(t, cluster, sandbox.Config{Faults: true}), 4, 30*time.Second)
		faults := f.holdAll()
		readers := f.readAll(f.somewhere)
		f.waitAll(faults)
		f.stepDown(func(active *harness.Node) {
			must(t, active.StepDown(f.ctx))
			<-time.After(newRandom(t).upTo(time.Second))
			f.sandbox.ClearFaults()
		})
		readers.wantAnswered(t)
		f.wantAllSavedOnce()
	})
	t.Run("while nobody waits", func(t *testing.T) {
		f := newFleet(newStageIn(t, cluster, sandbox.Config{Faults: true}), 4, 30*time.Second)
		faults := f.holdAll()
		readers := f.readAll(f.atLeader())
		f.waitAll(faults)
		readers.leave()
		f.stepDown(func(active *harness.Node) {
			before := mentions(t, active, "pre-seal teardown starting")
			must(t, active.StepDown(f.ctx))
			f.waitFor("the node to begin to give up the lead", func() bool {
				return mentions(t, active, "pre-seal teardown starting") > before
			})
			<-time.After(newRandom(t).upTo(time.Second))
			f.sandbox.ClearFaults()
		})
		f.wantAllSavedOnce()
	})
	t.Run("longer than it may take", func(t *testing.T) {
		f := newFleet(newStageIn(t, cluster, sandbox.Config{Faults: true}), 4, 2*time.Second)
		faults := f.hangAll()
		readers := f.readAll(f.atLeader())
		f.waitAll(faults)
		readers.leave()
		f.stepDown(func(active *harness.Node) { must(t, active.StepDown(f.ctx)) })
		// Two answers never came, though the tokens were spent. Only a spare helps there.
		if tally := f.check(); tally.inTheAir < 2 || tally.lostUnspared < 1 || tally.sparesUsed < 1 {
			t.Errorf("the tally is %s", tally)
		}
	})
}

// TestALeaderThatStandsStillDoesNotWriteLater freezes the active node of three in the middle of
// exchanges, as a partition would, until another one has taken over.
func TestALeaderThatStandsStillDoesNotWriteLater(t *testing.T) {
	t.Parallel()
	cluster := newVault(t, 3)
	for name, scene := range map[string]func(*fleet, *harness.Node){
		"and goes on before the other may try": func(f *fleet, old *harness.Node) {
			must(f.t, old.Thaw())
			f.agree()
			f.settle()
		},
		"and goes on after the other has tried": func(f *fleet, old *harness.Node) {
			f.settle()
			must(f.t, old.Thaw())
			f.agree()
		},
	} {
		t.Run(name, func(t *testing.T) {
			// Long enough for another node to take over on a busy machine while the exchanges are still in doubt.
			f := newFleet(newStageIn(t, cluster, sandbox.Config{Faults: true}), 4, 15*time.Second)
			old := f.agree()
			began := time.Now()
			faults := f.mixAll()
			readers := f.readAll(f.atLeader())
			f.waitAll(faults)
			t.Cleanup(func() { must(t, old.Thaw()) })
			must(t, f.ending(kill{what: "of a leader that stood still", began: began, frozen: old}, old.Freeze))
			f.releaseAll(faults)
			active, err := cluster.Active(f.ctx)
			must(t, err)
			f.takenOver()
			f.wantInDoubt(active, began)
			scene(f, old)
			readers.leave()
			// What counts is what the storage has, not what the new leader remembers.
			must(t, f.agree().Reload(f.ctx, f.mount+"/"))
			if tally := f.check(); tally.inTheAir < 3 || tally.lostUnspared < 1 || tally.sparesUsed < 2 || tally.takeovers < 4 {
				t.Errorf("the tally is %s", tally)
			}
		})
	}
}

// agree waits until all nodes agree on the active one, and returns it.
func (f *fleet) agree() *harness.Node {
	f.t.Helper()
	active, err := f.cluster.Agreed(f.ctx)
	must(f.t, err)
	return active
}

// stepDown has the active node step down by the function, which may do more around it, and waits
// until another one has taken over. An orderly end may lose nothing.
func (f *fleet) stepDown(do func(*harness.Node)) {
	f.t.Helper()
	old := f.agree()
	must(f.t, f.ending(kill{what: "step-down", orderly: true}, func() error { do(old); return nil }))
	f.waitFor("another node to take over", func() bool {
		active, err := f.cluster.Active(f.ctx)
		return err == nil && active != old
	})
	f.takenOver()
	f.agree()
}

// mentions counts a text in the node's log.
func mentions(t *testing.T, node *harness.Node, text string) int {
	t.Helper()
	content, err := os.ReadFile(node.LogFile())
	must(t, err)
	return strings.Count(string(content), text)
}

// crowdOfReaders reads the token of every member, each once.
type crowdOfReaders struct {
	group   sync.WaitGroup
	answers []answer
	errs    []error
	leave   context.CancelFunc
}

// atLeader returns where to send requests to the node that is active now. It alone hears that a client
// has gone; and a standby that has sent a request on cannot take over before that is answered.
func (f *fleet) atLeader() func() *stage {
	f.t.Helper()
	at := f.at(f.agree())
	return func() *stage { return at }
}

// at returns the stage for requests to a node.
func (f *fleet) at(node *harness.Node) *stage {
	at := *f.stage
	at.node = node
	return &at
}

// readAll begins to read the tokens of all members.
func (f *fleet) readAll(where func() *stage) *crowdOfReaders {
	ctx, leave := context.WithCancel(f.ctx)
	readers := &crowdOfReaders{answers: make([]answer, len(f.members)), errs: make([]error, len(f.members))}
	readers.leave = func() {
		leave()
		readers.group.Wait()
	}
	for i, m := range f.members {
		readers.group.Go(func() {
			at := *where()
			at.ctx = ctx
			readers.answers[i], readers.errs[i] = at.try(http.DefaultClient, http.MethodGet, "token/"+m.name, nil)
		})
	}
	return readers
}

// wantAnswered waits for the readers, and asserts that all got a token.
func (r *crowdOfReaders) wantAnswered(t *testing.T) {
	t.Helper()
	r.group.Wait()
	for i, a := range r.answers {
		must(t, r.errs[i])
		a.wantStatus(http.StatusOK)
	}
}

// faultAll orders a fault for each member, as many as it takes.
func (f *fleet) faultAll(faults ...sandbox.Fault) []*sandbox.FaultHandle {
	f.t.Helper()
	handles := make([]*sandbox.FaultHandle, len(f.members))
	for i, m := range f.members {
		fault := faults[i%len(faults)]
		fault.User, fault.Count = m.name, 1
		var err error
		handles[i], err = f.sandbox.SetFault(fault)
		must(f.t, err)
	}
	return handles
}

// holdAll has the server hold the next exchange of every member: those of the first two before the
// token is spent, those of the others after that. Every other member has a spare.
func (f *fleet) holdAll() []*sandbox.FaultHandle {
	f.t.Helper()
	before, after := sandbox.Fault{Action: sandbox.ActionHold}, sandbox.Fault{Action: sandbox.ActionHold, When: sandbox.FaultAfter}
	return f.faultAll(before, before, after, after)
}

// hangAll has the server never answer the next exchange of any member: the first two tokens are not
// spent, the others are.
func (f *fleet) hangAll() []*sandbox.FaultHandle {
	f.t.Helper()
	before, after := sandbox.Fault{Action: sandbox.ActionHang}, sandbox.Fault{Action: sandbox.ActionHang, When: sandbox.FaultAfter}
	return f.faultAll(before, before, after, after)
}

// mixAll has the server hold the next exchange of every member but the second, whose token it never
// sees.
func (f *fleet) mixAll() []*sandbox.FaultHandle {
	f.t.Helper()
	hold, after := sandbox.Fault{Action: sandbox.ActionHold}, sandbox.Fault{Action: sandbox.ActionHold, When: sandbox.FaultAfter}
	return f.faultAll(hold, sandbox.Fault{Action: sandbox.ActionHang}, after, after)
}

// waitAll waits until every fault has struck.
func (f *fleet) waitAll(faults []*sandbox.FaultHandle) {
	f.t.Helper()
	for _, fault := range faults {
		must(f.t, fault.Wait(f.ctx, 1))
	}
}

// releaseAll lets the server answer all but the second member's exchange, and waits until it has.
func (f *fleet) releaseAll(faults []*sandbox.FaultHandle) {
	f.t.Helper()
	for i, fault := range faults {
		if i != 1 {
			fault.Clear()
		}
	}
	f.waitFor("the server to answer", func() bool {
		answered := 0
		for _, r := range f.sandbox.Requests() {
			if r.Done && r.NextRefreshToken != "" {
				answered++
			}
		}
		return answered == len(faults)-1
	})
}

// wantAllSavedOnce asserts that every member has saved its one exchange: the node that took over
// serves the token without another.
func (f *fleet) wantAllSavedOnce() {
	f.t.Helper()
	issued := map[string]string{}
	for _, r := range f.sandbox.Requests() {
		issued[r.User] = r.AccessToken
	}
	for _, m := range f.members {
		if token := f.accessToken(m.name); token != issued[m.name] {
			f.t.Errorf("%s: the node that took over serves another token", m.name)
		}
	}
	f.wantExchanges(len(f.members))
	if tally := f.check(); tally.most != 1 || tally.inTheAir != 0 || tally.sparesUsed != 0 {
		f.t.Errorf("the tally is %s", tally)
	}
}

// wantInDoubt asserts that a node which has taken over leaves alone what the one before it had under
// way since the given time, and says until when.
func (f *fleet) wantInDoubt(active *harness.Node, began time.Time) {
	f.t.Helper()
	at := f.at(active)
	for _, m := range f.members {
		for _, ask := range []struct{ method, path string }{{http.MethodGet, "token/"}, {http.MethodPost, "refresh/"}} {
			a := at.do(ask.method, ask.path+m.name, nil)
			if time.Since(began) > announcement+f.timeout+grace {
				f.t.Log("the other node was so slow to take over that there was no need to wait any more")
				return
			}
			a.wantError(http.StatusServiceUnavailable,
				fmt.Sprintf("account %q: another process began an exchange at", m.name), "next attempt at")
		}
	}
}
