package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// interruptions is how many exchanges lose the client that asked for them.
const interruptions = 200

// TestClientsThatGoAwayStopNoExchange has clients go away at random moments of the exchanges that
// they asked for, each on a connection of its own.
func TestClientsThatGoAwayStopNoExchange(t *testing.T) {
	t.Parallel()
	f := newFleet(newStage(t), 16, 5*time.Second)
	random := newRandom(t)
	exchanges := map[*member]*sandbox.FaultHandle{} // count them
	for i, m := range f.members {
		// The exchange takes a while, so that its middle is hit, too: before the token is spent, or after.
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		var err error
		exchanges[m], err = f.sandbox.SetFault(sandbox.Fault{User: m.name, When: when, Delay: 30 * time.Millisecond})
		must(t, err)
	}
	usual := f.usualDuration()

	var interrupted, answered, unbegun atomic.Int64
	must(t, f.each(f.members, func(m *member) error {
		for interrupted.Load() < interruptions {
			before := exchanges[m].Hits()
			gone := f.askAndLeave(m, random.upTo(usual))
			if err := f.rest(m, exchanges[m]); err != nil {
				return err
			}
			begun := exchanges[m].Hits() - before
			switch {
			case !gone:
				answered.Add(1)
			case begun == 0:
				unbegun.Add(1)
			default:
				interrupted.Add(int64(begun))
			}
		}
		return nil
	}))

	f.forget()
	tally := f.check()
	t.Logf("%d exchanges were interrupted, %d were not; %d clients left before theirs had begun; an exchange took %s",
		interrupted.Load(), answered.Load(), unbegun.Load(), usual)
	if tally.exchanges < interruptions || tally.succeeded != tally.exchanges || tally.most != 1 || tally.inTheAir != 0 {
		t.Errorf("not every exchange succeeded, or a token came twice: %s", tally)
	}
	f.wantSaved(tally.succeeded)
}

// rest waits until the account has counted all exchanges that have come to the server. A write would
// wait, too, but save what an exchange had not.
func (f *fleet) rest(m *member, exchanges *sandbox.FaultHandle) error {
	return harness.Until(f.ctx, m.name+" to rest", func(context.Context) (bool, error) {
		about, err := f.ask(http.MethodGet, "accounts/"+m.name)
		count, _ := about.Data["refresh_count"].(json.Number)
		return count.String() == fmt.Sprint(exchanges.Hits()), err
	})
}

// usualDuration has every account run its first exchange, and returns how long the longest took.
func (f *fleet) usualDuration() time.Duration {
	f.t.Helper()
	var longest atomic.Int64
	must(f.t, f.each(f.members, func(m *member) error {
		began := time.Now()
		a, err := f.ask(http.MethodGet, "token/"+m.name)
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("status %d: %q", a.status, a.Errors)
		}
		for took := int64(time.Since(began)); ; {
			known := longest.Load()
			if took <= known || longest.CompareAndSwap(known, took) {
				return err
			}
		}
	}))
	return time.Duration(longest.Load())
}

// askAndLeave asks for an exchange and leaves after a while. It says whether it left without an
// answer.
func (f *fleet) askAndLeave(m *member, after time.Duration) bool {
	ctx, leave := context.WithTimeout(f.ctx, after)
	defer leave()
	return f.askUntil(ctx, http.MethodPost, "refresh/"+m.name) != nil
}

// askUntil asks on a connection of its own, which it closes when ctx ends.
func (f *fleet) askUntil(ctx context.Context, method, path string) error {
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	at := f.somewhere()
	at.ctx = ctx
	_, err := at.try(&http.Client{Transport: transport}, method, path, nil)
	return err
}

// wantSaved asserts that the accounts have counted as many exchanges as the server.
func (f *fleet) wantSaved(want int) {
	f.t.Helper()
	var saved int64
	for _, m := range f.members {
		saved += f.read("accounts/" + m.name).integer("refresh_count")
	}
	if saved != int64(want) {
		f.t.Errorf("the accounts have saved %d exchanges, want %d", saved, want)
	}
}

// random draws moments for a test. It is safe for concurrent use.
type random struct{ draws chan *rand.Rand }

// newRandom logs its seed.
func newRandom(t *testing.T) random {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("the moments are drawn with seed %d", seed)
	r := random{draws: make(chan *rand.Rand, 1)}
	r.draws <- rand.New(rand.NewPCG(seed, seed))
	return r
}

// upTo draws a duration below the limit.
func (r random) upTo(limit time.Duration) time.Duration {
	source := <-r.draws
	defer func() { r.draws <- source }()
	return time.Duration(source.Int64N(int64(limit)))
}
