package rotation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

var unreadable200 = oauth.Result{Outcome: oauth.Unreadable, Status: 200, Reason: "the answer (HTTP status 200) is not JSON"}

// garbling is a server that spends what it gets and answers with something unreadable,
// after a while. Spent tokens are rejected once it is well.
type garbling struct {
	mu    sync.Mutex
	sick  bool
	spent map[string]bool
}

func (g *garbling) answer(ctx context.Context, presented string) oauth.Result {
	time.Sleep(100 * time.Millisecond)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.spent[presented]:
		if g.sick {
			return unreadable200
		}
		return invalidGrant(ctx, presented)
	case g.sick:
		g.spent[presented] = true
		return unreadable200
	}
	return grant(ctx, presented)
}

func (f *fixture) garble() *garbling {
	g := &garbling{sick: true, spent: map[string]bool{}}
	f.server.mu.Lock()
	defer f.server.mu.Unlock()
	f.server.always, f.server.probed = g.answer, unreadable200
	return g
}

func (f *fixture) heal(g *garbling) {
	g.mu.Lock()
	g.sick = false
	g.mu.Unlock()
	f.server.mu.Lock()
	defer f.server.mu.Unlock()
	f.server.probed = oauth.Result{}
}

func (f *fixture) enrolMany(n int, more ...func(*account.Change)) (names []string) {
	for i := range n {
		name := fmt.Sprintf("account-%03d", i)
		f.enrol(name, append([]func(*account.Change){func(c *account.Change) {
			c.RefreshToken, c.SpareRefreshToken = secret("rt-of-"+name), secret("spare-of-"+name)
		}}, more...)...)
		names = append(names, name)
	}
	return names
}

// A path that breaks costs what was in progress, no spare, and nothing after it.
func TestABrokenPathCostsNoMoreThanWasInProgress(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		names := f.enrolMany(12)
		g := f.garble()
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() { _, _ = f.Token(t.Context(), name, account.ReadRequest{}) })
		}
		wg.Wait()
		for range 60 {
			for _, name := range names {
				_, _ = f.Token(t.Context(), name, account.ReadRequest{})
			}
			time.Sleep(time.Second)
		}
		if n := len(g.spent); n > firstWindow {
			t.Errorf("%d tokens were spent while the path was broken: %v", n, g.spent)
		}
		if s := f.gates.status(); len(s) != 1 || !s[0].HeldBack || s[0].Reason != unreadable200.Reason || s[0].Clients[0] != "default" {
			t.Errorf("status %+v", s)
		}
		f.heal(g)
		for range 300 {
			for _, name := range names {
				_, _ = f.Token(t.Context(), name, account.ReadRequest{})
			}
			time.Sleep(time.Second)
		}
		spares := 0
		for _, name := range names {
			f.token(name)
			if f.account(name).SpareState() == account.SpareUsed {
				spares++
			}
		}
		if spares > firstWindow {
			t.Errorf("%d spares are used", spares)
		}
		if log := f.log.String(); strings.Count(log, "are held back") != 1 || strings.Count(log, "let through again") != 1 {
			t.Errorf("the log is\n%s", log)
		}
	})
}

// A path on which probes come through, and successes do not, costs one grant for each
// wait, and the waits double.
func TestRealAnswersThatStayUnreadableAreTriedLessAndLessOften(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		names := f.enrolMany(40)
		g := f.garble()
		f.server.probed = oauth.Result{}
		for range 1800 {
			for _, name := range names {
				_, _ = f.Token(t.Context(), name, account.ReadRequest{})
			}
			time.Sleep(time.Second)
		}
		if n := len(g.spent); n > firstWindow+13 {
			t.Errorf("%d tokens were spent in half an hour", n)
		}
		for presented := range g.spent {
			if strings.HasPrefix(presented, "spare") {
				t.Errorf("%s followed the first grant through the same hole", presented)
			}
		}
	})
}

func TestAnOperatorsRefreshPassesTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		names := f.enrolMany(4)
		f.garble()
		_, _ = f.Token(t.Context(), names[0], account.ReadRequest{})
		e := f.refused(names[1], account.KindUnavailable)
		if !strings.Contains(e.Error(), "held back") || !strings.Contains(e.Error(), "refresh/"+names[1]) {
			t.Errorf("message: %v", e)
		}
		f.server.mu.Lock()
		f.server.always = nil
		f.server.mu.Unlock()
		if _, err := f.Refresh(t.Context(), names[1]); err != nil {
			t.Fatal(err)
		}
		f.token(names[2]) // a success opens the gate
	})
}

func TestAHarmlessProbeOpensTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		names := f.enrolMany(2)
		g := f.garble()
		_, _ = f.Token(t.Context(), names[0], account.ReadRequest{})
		time.Sleep(10 * time.Second)
		f.server.mu.Lock()
		probes := f.server.probes
		f.server.mu.Unlock()
		if probes < 3 || probes > 4 { // after 1, 2, 4 s
			t.Errorf("%d probes in 10 s", probes)
		}
		posts := len(f.server.posts())
		f.heal(g)
		time.Sleep(10 * time.Second)
		if n := len(f.server.posts()); n != posts {
			t.Errorf("%d real exchanges, which nobody asked for", n-posts)
		}
		f.token(names[1])
	})
}

func TestASuccessEndsTheWaitsOfAccountsThatDidNotReachTheServer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrolMany(2, auto)
		f.server.always = unreachable
		f.ticked(5 * time.Minute)
		f.server.mu.Lock()
		f.server.always = nil
		f.server.mu.Unlock()
		for f.account("account-000").Access == nil && f.account("account-001").Access == nil {
			f.ticked(100 * time.Millisecond)
		}
		f.ticked(2 * time.Second)
		for _, name := range []string{"account-000", "account-001"} {
			if _, ok := f.Cached(name, f.settings, account.ReadRequest{}); !ok {
				t.Errorf("%s still waits", name)
			}
		}
	})
}

func TestExchangesInProgressAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.settings.MaxExchanges = 20
		names := f.enrolMany(1000)
		f.server.always = grantAfter(200 * time.Millisecond)
		start := time.Now()
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() { f.token(name) })
		}
		wg.Wait()
		if f.server.most > 20 {
			t.Errorf("%d exchanges at one time", f.server.most)
		}
		if d := time.Since(start); d > 15*time.Second { // 50 rounds of 200 ms, and the first few
			t.Errorf("it took %s", d)
		}
	})
}

// A login shows that the way is open, also if no exchange has passed the gate before it.
func TestLoginsLetMoreExchangesThrough(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for i := range 5 {
			f.logIn(fmt.Sprintf("account-%d", i), byCode())
		}
		if s := f.gates.status(); len(s) != 1 || s[0].Window != firstWindow+5 {
			t.Errorf("the gates are %+v", s)
		}
	})
}

func TestThreeDoubtsInARowHoldExchangesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		names := f.enrolMany(5)
		f.server.probed = oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer came"}
		f.server.next(noAnswer, noAnswer, noAnswer)
		f.refused(names[0], account.KindUnavailable) // two of them
		if s := f.gates.status(); s[0].HeldBack {
			t.Errorf("held back after two: %+v", s)
		}
		f.refused(names[1], account.KindUnavailable)
		synctest.Wait()
		if s := f.gates.status(); !s[0].HeldBack || s[0].Window != 1 {
			t.Errorf("%+v", s)
		}
		if n := len(f.server.posts()); n != 3 {
			t.Errorf("%d POSTs", n)
		}
	})
}

func TestHeldBackIsAWarningWhileTheTokenLives(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		names := f.enrolMany(2)
		f.token(names[1])
		time.Sleep(500 * time.Second)
		f.garble()
		_, _ = f.Token(t.Context(), names[0], account.ReadRequest{})
		a := f.token(names[1])
		if a.Source != FromStale || len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "held back") || a.TTL < 3*time.Second {
			t.Errorf("%+v", a)
		}
	})
}
