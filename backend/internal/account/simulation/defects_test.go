package simulation

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var selftest = flag.Bool("selftest", false, "look whether the simulation finds deliberate defects; takes minutes")

// defect breaks a rule of the account code in one file: each old text, which must
// stand in the file exactly once, becomes the new one behind it.
type defect struct {
	name, file string
	edits      []string // old, new, old, new, …
}

var defects = []defect{
	{"no intent is written before the POST", "post.go", []string{`err := m.store.put(m.ctx, name, &begun, announceTimeout)`, `var err error`}},
	{"another process's intent is not waited for", "policy.go", []string{`env.Now.Before(until)`, `false`}},
	{"another process's intent is overridden by force", "policy.go", []string{`env.Now.Before(until)`, `!force && env.Now.Before(until)`}},
	{"the account's lock is not taken", "slot.go", []string{"	select {\n	case s.lock <- struct{}{}:\n		return func() { <-s.lock }, nil\n	default:\n	}\n	select {", "	if len(s.lock) == 0 {\n		return func() {}, nil\n	}\n	select {"}},
	{"every reader has a flight of its own, without the second read", "flight.go", []string{
		`	switch Decide(a, env, ask).Action {
	case Exchange:
		return m.rotate(s, name, f, a, client, settings.ExchangeTimeout)
	case LogIn:
		return m.logInAgain(s, name, f, a, client, settings.ExchangeTimeout)
	}
	return nil
`, `	return m.rotate(s, name, f, a, client, settings.ExchangeTimeout)
`,
		`	if s.flight != nil {
		return s.flight, nil
	}
`, ``,
		`	if s.flight == f {
		s.flight = nil
		f.err = err
		close(f.done)
	}
`, `	select {
	case <-f.done:
	default:
		s.flight = nil
		f.err = err
		close(f.done)
	}
`,
		`go m.fly(s, name, s.flight, ask)
	return s.flight, nil`, `f := s.flight
	go m.fly(s, name, f, ask)
	return f, nil`,
	}},
	{"a failed Put of new tokens forgets them", "flight.go", []string{`		m.rescue(s, name, a, err, func() { s.land(f, nil) })
`, `		s.ahead = nil
		s.publish(before)
`}},
	{"an exchange starts before a rescue copy is saved", "rescue.go", []string{`	for count := 1; ; count++ {`, `	return
	for count := 1; ; count++ {`}},
	{"a refresh token without an access token is dropped", "transitions.go", []string{`	if o.Tokens.RefreshToken.IsSet() {
		a.Grant`, `	if o.Tokens.AccessToken.IsSet() {
		a.Grant`}},
	{"the refresh token is not replaced", "transitions.go", []string{`		a.Grant.RefreshToken = o.Tokens.RefreshToken
`, ``}},
	{"a dead grant is presented again", "policy.go", []string{`		if !ok || env.Now.Before(next) {
			return Block{Reason: BlockDead, Until: next}
		}
`, `		_, _ = next, ok
`, `a.Grant.Death != nil && !ask.Force:`, `false:`}},
	{"a doubt kills the grant", "transitions.go", []string{`		first := a.Grant.DoubtSince.IsZero()
`, `		if o.Status == 0 {
			return a.died(o)
		}
		first := a.Grant.DoubtSince.IsZero()
`}},
	{"a refused client kills the grant", "transitions.go", []string{`	case o.Code == oauth.CodeInvalidGrant:
		return a.died(o)`, `	case o.Code == oauth.CodeInvalidGrant || o.Code == oauth.CodeInvalidClient:
		return a.died(o)`}},
	{"the prompt retry does not wait", "flight.go", []string{`m.pause(time.Second+time.Duration(jitter*float64(time.Second)))`, `m.pause(time.Millisecond)`}},
	{"the prompt retry is repeated", "transitions.go", []string{`		if first && o.RetryAfter == 0 {`, `		if o.RetryAfter == 0 {`}},
	{"a failure is not waited for", "policy.go", []string{`f != nil && env.Now.Before(f.NextAttempt) && !f.corrected(env)`, `f != nil && false`}},
	{"the wait does not grow", "transitions.go", []string{`wait = backOff(max(count, 2), o.jitter)`, `wait = backOff(2, o.jitter)`}},
	{"Retry-After is ignored", "transitions.go", []string{`	wait = max(wait, min(o.RetryAfter, maxRetryAfter))
`, ``}},
	{"invalid_request is repeated in a loop", "transitions.go", []string{`	case FailedClient, FailedRequest:
		wait = humanBackOff
`, ``}},
	{"a spare is not used", "transitions.go", []string{`	if a.Spare == nil {
		if at`, `	if a.Spare != nil || a.Spare == nil {
		if at`}},
	{"a spare that was used stays a spare", "transitions.go", []string{`a.Grant, a.Spare, a.SpareUsed = *a.Spare, nil, true`, `a.Grant, a.SpareUsed = *a.Spare, true`}},
	{"a crash is not remembered as a doubt", "transitions.go", []string{`		a.Grant.DoubtSince = left.Started
`, `		_ = left
`}},
	{"a doubt is not told from a rejection", "transitions.go", []string{`LostSince: a.Grant.DoubtSince}`, `}`}},
	{"an old token that is written again replaces the newest", "enrol.go", []string{`		if old != nil && old.hasSeen(t) {
			warnings = append(warnings, "this refresh_token`, `		if false {
			warnings = append(warnings, "this refresh_token`}},
	{"the exchange ends with Close at once", "manager.go", []string{`	for waitFor(landed, m.end(began)) {`, `	for false {`}},
	{"a login's tokens are forgotten where the Put fails", "login.go", []string{`		m.rescue(s, name, a, err, served)
`, `		s.ahead = nil
		served()
`}},
	{"a code is presented twice", "post.go", []string{`	result = with(client.Secret)
`, `	result = with(client.Secret)
	if result.Outcome == oauth.InDoubt {
		result = with(client.Secret)
	}
`}},
	{"a spare of a dead account waits for ever", "enrol.go", []string{`	if a.Grant.Death != nil {
		return a.withGrant(refreshToken, now)
	}
`, ``}},
	{"the plugin refreshes without looking again whether it is due", "flight.go", []string{`c.task != ask.task || env.Now.Before(c.at)`, `false && c.task == noTask`}},
	{"the new refresh token of a spare is dropped", "spare.go", []string{`			spare.RefreshToken = o.Tokens.RefreshToken
`, `			_ = o
`}},
	{"a spare whose Put fails is forgotten", "spare.go", []string{`		m.rescue(s, name, &settled, err, func() { s.land(f, nil) })
`, `		s.ahead = nil
		s.publish(a)
`}},
	{"a spare that fails does not rest", "spare.go", []string{`	spare.Rest = o.AnsweredAt.Add(rest)
`, `	_ = rest
`}},
	{"a token's life is counted from the answer", "transitions.go", []string{`Expires:   o.SentAt.Add(o.Tokens.ExpiresIn)`, `Expires:   o.AnsweredAt.Add(o.Tokens.ExpiresIn)`}},
}

// TestDefectsAreFound builds the account code with each defect in turn and plays
// the default budget of seeds: the simulation has to fail.
func TestDefectsAreFound(t *testing.T) {
	if !*selftest {
		t.Skip("takes minutes; make simulate-selftest runs it")
	}
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			out := playWith(t, d)
			if !strings.Contains(out, "replay it with") {
				t.Fatalf("not found:\n%s", out)
			}
			for line := range strings.Lines(out) {
				if _, found, ok := strings.Cut(line, "seed "); ok {
					t.Logf("found by seed %s", strings.TrimSpace(found))
					break
				}
			}
		})
	}
}

// A defect whose text is gone finds nothing, and make simulate-selftest is not run
// every day.
func TestDefectsFitTheCode(t *testing.T) {
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) { d.source(t) })
	}
}

// source returns the path of the file and its text with the defect.
func (d defect) source(t *testing.T) (path, text string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", d.file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = string(source)
	for edit := range slices.Chunk(d.edits, 2) {
		if n := strings.Count(text, edit[0]); n != 1 {
			t.Fatalf("the text to change stands %d times in %s:\n%s", n, d.file, edit[0])
		}
		text = strings.Replace(text, edit[0], edit[1], 1)
	}
	return path, text
}

// playWith runs the simulation against the account code with one file changed.
// The change is laid over the tree by the go command; no file of it is touched.
func playWith(t *testing.T, d defect) string {
	t.Helper()
	path, text := d.source(t)
	dir := t.TempDir()
	changed := filepath.Join(dir, d.file)
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "test", "-vet=off", "-overlay", list, "-run", "^TestSimulation$", ".").CombinedOutput()
	if err == nil {
		return "the simulation passed\n" + string(out)
	}
	return string(out)
}
