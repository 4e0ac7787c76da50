package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

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

// TestAPluginThatIsKilledLosesNothingButWhatIsInTheAir kills the plugin 50 times in the middle of
// the exchanges of four accounts, two of which have a spare. Every account meets it twice; it has
// settled in between, and a spare that was used has been replaced.
func TestAPluginThatIsKilledLosesNothingButWhatIsInTheAir(t *testing.T) {
	t.Parallel()
	const groups, rounds, size = 25, 2, 4
	f := newFleet(newStageIn(t, newVault(t, 1), sandbox.Config{Faults: true}), groups*size, 3*time.Second)
	random := newRandom(t)
	usual := f.usualDurationOf(size)
	t.Logf("%d exchanges at once took %s", size, usual)
	ways := moments(usual)
	mustLose := 0
	for round := range rounds {
		for i := range groups {
			way := ways[(round*groups+i)%len(ways)]
			struck := f.killDuring(f.alive(f.members[i*size:(i+1)*size]), way, random, f.plugin().Kill)
			if way.spends {
				mustLose += struck
			}
		}
		f.settle()
		f.replenish()
	}
	tally := f.check()
	if tally.kills != groups*rounds || tally.inTheAir < mustLose || tally.lostUnspared == 0 {
		t.Errorf("of %d answers in the air, %d were there for sure: %s", tally.inTheAir, mustLose, tally)
	}
}

// usualDurationOf returns how long the first exchanges of as many accounts take at once. The accounts
// are enrolled for that.
func (f *fleet) usualDurationOf(size int) time.Duration {
	f.t.Helper()
	others := &fleet{stage: f.stage, crowd: size, got: map[string]sighting{}, logins: map[string]time.Time{}}
	for i := range size {
		others.members = append(others.members, &member{name: fmt.Sprintf("usual%d", i)})
	}
	must(f.t, others.each(others.members, others.enlist))
	return others.usualDuration()
}

// alive returns those of the members that need no person.
func (f *fleet) alive(members []*member) []*member {
	var alive []*member
	for _, m := range members {
		if f.tells("accounts/" + m.name)["state"] != "reauthorization_required" {
			alive = append(alive, m)
		}
	}
	return alive
}

// killDuring has end kill a process in the moment of an exchange of each of the members, and returns
// for how many the moment came for sure.
func (f *fleet) killDuring(members []*member, way moment, random random, end func() error) int {
	f.t.Helper()
	ordered := way.fault.Action != sandbox.ActionNone || way.fault.Delay > 0
	var faults []*sandbox.FaultHandle
	for _, m := range members {
		if ordered {
			fault := way.fault
			fault.User, fault.Count = m.name, 1
			handle, err := f.sandbox.SetFault(fault)
			must(f.t, err)
			faults = append(faults, handle)
		}
	}
	var readers sync.WaitGroup
	k := kill{what: way.name, began: time.Now()}
	for _, m := range members {
		readers.Go(func() { f.exchange(m) })
	}
	for _, handle := range faults {
		must(f.t, handle.Wait(f.ctx, 1))
	}
	if way.after > 0 {
		<-time.After(random.upTo(way.after))
	}
	must(f.t, f.ending(k, end))
	for _, handle := range faults {
		handle.Clear()
	}
	readers.Wait()
	return len(faults)
}

// exchange asks for an exchange, and then for the token: whoever has got it will not lose it.
// Whatever the answers are, the books tell what became of it.
func (f *fleet) exchange(m *member) {
	if a, err := f.ask(http.MethodPost, "refresh/"+m.name); err == nil && a.status == http.StatusOK {
		_, _ = f.ask(http.MethodGet, "token/"+m.name)
	}
}

// plugin is pluginProcess, but Vault need not have started it yet.
func (s *stage) plugin() harness.Process {
	s.t.Helper()
	s.tells("config") // Vault starts it at its first use
	return s.pluginProcess()
}

// tells reads a path until it answers: a request that meets a process that has just been killed may
// fail once.
func (s *stage) tells(path string) map[string]any {
	s.t.Helper()
	var a answer
	must(s.t, harness.Until(s.ctx, path+" to answer", func(context.Context) (bool, error) {
		var err error
		if a, err = s.try(http.DefaultClient, http.MethodGet, path, nil); err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("status %d: %q", a.status, a.Errors)
		}
		return err == nil, err
	}))
	return a.Data
}
