package simulation

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/mutate"
)

var selftest = flag.Bool("selftest", false, "look whether the simulation finds deliberate defects; takes minutes")

// packages are the directories of the product code in which the defects' functions are.
var packages = []string{".."}

// The words in which the defects are written. The package mutate explains them and the
// patterns.
var (
	in, together              = mutate.In, mutate.Together
	replace, remove           = mutate.Replace, mutate.Remove
	insertBefore, insertAfter = mutate.InsertBefore, mutate.InsertAfter
)

// defect breaks a rule of the product code.
type defect struct {
	name     string
	mutation mutate.Mutation
}

var defects = []defect{
	{"no intent is written before the POST", in("Manager.announce", replace("$_.put($$)", "error(nil)"))},
	{"another process's intent is not waited for", in("Account.block", remove("if $_; $_ { return Block{Reason: BlockIntent, $$} }"))},
	{"another process's intent is overridden by force", in("Account.block",
		insertBefore("if $_; $_ { return Block{Reason: BlockIntent, $$} }", "if force { return Block{} }"))},
	{"the account's lock is not taken", in("slot.acquire",
		replace("select { case $lock <- $_: $$; default: }", "if len($lock) == 0 { return func() {}, nil }"))},
	{"every reader has a flight of its own, without the second read", together(
		in("Manager.join", remove("if s.flight != nil { $$ }")),
		in("Manager.exchange", replace("switch Decide($$).Action { case Exchange: $$run; case LogIn: $$ }; return nil", "$$run")),
		in("slot.land", replace("if s.flight == f { $$land }", "select { case <-f.done: default: $$land }")),
	)},
	{"a failed Put of new tokens forgets them", in("Manager.save", replace("$_.rescue($$)", "s.ahead = nil; s.publish(before)"))},
	{"an exchange starts before a rescue copy is saved", in("Manager.rescue", insertAfter("served()", "return"))},
	{"a refresh token without an access token is dropped", in("Account.rotated",
		replace("$tokens.RefreshToken.IsSet()", "$tokens.AccessToken.IsSet()"))},
	{"the refresh token is not replaced", in("Account.rotated", remove("$_.RefreshToken = $_"))},
	{"a dead grant is presented again", together(
		in("Account.block", remove("if $_.Death != nil { $$ }")),
		in("Decide", remove("case $_: $_.Action = LogIn")),
	)},
	{"a doubt kills the grant", in("Account.settle", replace("default: $$doubt", "default: if o.Status == 0 { return a.died(o) }; $$doubt"))},
	{"a refused client kills the grant", in("Account.rejected",
		replace("$code == oauth.CodeInvalidGrant", "$code == oauth.CodeInvalidGrant || $code == oauth.CodeInvalidClient"))},
	{"the prompt retry does not wait", in("Manager.rotate", replace("$m.pause($_)", "$m.pause(time.Millisecond)"))},
	{"the prompt retry is repeated", in("Account.settle", replace("$_ && o.RetryAfter == 0", "o.RetryAfter == 0"))},
	{"a failure is not waited for", in("Account.block", remove("if $_; $_ { return Block{Reason: BlockFailed, $$} }"))},
	{"the wait does not grow", in("Account.failed", replace("max($_, 2)", "2"))},
	{"Retry-After is ignored", in("Account.failed", remove("$wait = max($wait, min($_, maxRetryAfter))"))},
	{"invalid_request is repeated in a loop", in("Account.failed", remove("case FailedClient, FailedRequest: $$"))},
	{"a spare is not used", in("Account.died", replace("a.Spare == nil", "true"))},
	{"a spare that was used stays a spare", in("Account.died",
		replace("a.Grant, a.Spare, a.SpareUsed = $spare, nil, true", "a.Grant, a.SpareUsed = $spare, true"))},
	{"a crash is not remembered as a doubt", in("Account.begin", remove("$_.DoubtSince = $_"))},
	{"a doubt is not told from a rejection", in("Account.died", remove("LostSince: $_"))},
	{"an old token that is written again replaces the newest", in("Change.Apply",
		replace("if $_ { $$ } else { $_ = $_.withGrant($$) }", "a = a.withGrant(t, now)"))},
	{"the exchange ends with Close at once", in("Manager.Close", replace("waitFor($$)", "false"))},
	{"a login's tokens are forgotten where the Put fails", in("Manager.keep", replace("$_.rescue($$)", "s.ahead = nil; served()"))},
	{"a code is presented twice", in("Manager.present",
		insertAfter("$result = with($secret)", "if $result.Outcome == oauth.InDoubt { $result = with($secret) }"))},
	{"a spare of a dead account waits for ever", in("Account.withSpare", remove("if $_.Death != nil { $$ }"))},
	{"the plugin refreshes without looking again whether it is due", in("Manager.exchange", remove("if ask.task != noTask { $$ }"))},
	{"the new refresh token of a spare is dropped", in("Account.settleSpare", remove("$_.RefreshToken = $_"))},
	{"a spare whose Put fails is forgotten", in("Manager.refreshSpare", replace("$_.rescue($$)", "s.ahead = nil; s.publish(a)"))},
	{"a spare that fails does not rest", in("Account.settleSpare", replace("$_.Rest = $_.Add($rest)", "_ = $rest"))},
	{"a token's life is counted from the answer", in("outcome.accessToken", replace("$o.SentAt.Add($life)", "$o.AnsweredAt.Add($life)"))},
}

// TestDefectsAreFound builds the product code with each defect in turn and plays
// the default budget of seeds: the simulation has to fail.
func TestDefectsAreFound(t *testing.T) {
	if !*selftest {
		t.Skip("takes minutes; make simulate-selftest runs it")
	}
	code, err := mutate.Read(t.Context(), packages...)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			changed, err := code.Mutate(d.mutation)
			if err != nil {
				t.Fatal(err)
			}
			out := playWith(t, changed)
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

// TestDefectsFitTheCode finds defects whose place is gone or that do not compile. They
// would fail make simulate-selftest, too, but that is not run every day.
func TestDefectsFitTheCode(t *testing.T) {
	code, err := mutate.Read(t.Context(), packages...)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			changed, err := code.Mutate(d.mutation)
			if err != nil {
				t.Fatal(err)
			}
			if err := code.Check(changed); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// playWith runs the simulation against the product code with some files changed. The go
// command lays the changes over the tree; no file of it is touched.
func playWith(t *testing.T, changed map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for path, text := range changed {
		// Files of two packages may have the same name.
		overlay.Replace[path] = filepath.Join(dir, strconv.Itoa(len(overlay.Replace))+"_"+filepath.Base(path))
		if err := os.WriteFile(overlay.Replace[path], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	content, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "test", "-vet=off", "-overlay", list, "-run", "^TestSimulation$", ".").CombinedOutput()
	if err == nil {
		return "the simulation passed\n" + string(out)
	}
	return string(out)
}
