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
var packages = []string{"..", "../../account"}

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
	{"no intent is written before the POST", in("exchanging.writeIntent", replace("$_.put($$)", "error(nil)"))},
	{"another process's intent is not waited for", in("Account.Hold", remove("if $_; $_ { return Hold{Reason: HeldByIntent, $$} }"))},
	{"another process's intent is overridden by force", in("Account.Hold",
		insertBefore("if $_; $_ { return Hold{Reason: HeldByIntent, $$} }", "if force { return Hold{} }"))},
	{"the account's lock is not taken", together(
		in("Manager.tryLock", replace("select { case $lock <- $_: $$; default: }", "if len($lock) == 0 { return l, nil }")),
		in("lockedAccount.release", replace("<-$lock", "select { case <-$lock: default: }")),
	)},
	{"every reader has an exchange of its own, without the second load", together(
		in("Manager.joinOrStart", remove("if $_.run != nil { $$ }")),
		in("lockedAccount.exchange", replace(
			"switch account.Decide($$).Action { case account.Exchange: $$run; case account.LogInAgain: $$ }; return nil", "$$run")),
		in("entry.finish", replace("if $_.run == run { $$finish }", "select { case <-run.done: default: $$finish }")),
	)},
	{"a failed Put of new tokens forgets them", in("lockedAccount.commit",
		replace("$_.rescue($$)", "l.entry.unsaved = nil; l.m.cache.drop(l.name); c.served()"))},
	{"an exchange starts before a rescue copy is saved", in("lockedAccount.rescue", insertAfter("served()", "return"))},
	{"a refresh token without an access token is dropped", in("Grant.becomeReady",
		replace("$tokens.RefreshToken.IsSet()", "$tokens.AccessToken.IsSet()"))},
	{"the refresh token is not replaced", in("Grant.becomeReady", remove("$_.RefreshToken = $_"))},
	{"a dead grant is presented again", together(
		in("Account.Hold", remove("if $_.Death != nil { $$ }")),
		in("Decide", remove("case $_: $_.Action = LogInAgain")),
	)},
	{"a doubt kills the grant", in("Grant.settle", replace("default: $$doubt", "default: if o.Status == 0 { return g.becomeDead(o) }; $$doubt"))},
	{"a refused client kills the grant", in("Outcome.rejectsGrant",
		replace("$code == oauth.CodeInvalidGrant", "($code == oauth.CodeInvalidGrant || $code == oauth.CodeInvalidClient)"))},
	{"the prompt retry does not wait", in("exchanging.rotate", replace("$x.pause($_)", "$x.pause(time.Millisecond)"))},
	{"the prompt retry is repeated", in("Grant.retriesPromptly", replace("g.DoubtSince.IsZero()", "true"))},
	{"a failure is not waited for", in("Account.Hold", remove("if $_; $_ { return Hold{Reason: HeldByFailure, $$} }"))},
	{"the wait does not grow", in("Failure.after", replace("max($_, 2)", "2"))},
	{"Retry-After is ignored", in("Failure.after", replace("max(wait, $_)", "wait"))},
	{"invalid_request is repeated in a loop", in("FailureKind.refusal", replace("k == FailedRequest", "false"))},
	{"a spare is not used", in("Account.InUse", replace("a.firstLiving()", "0"))},
	{"a spare that was used stays a spare", in("Account.promote",
		insertAfter("grants := []Grant{front}", "if i > 0 { grants = append(grants, front) }"))},
	{"a crash is not remembered as a doubt", in("Account.WithIntent", remove("$_.DoubtSince = $_"))},
	{"a doubt is not told from a rejection", in("Grant.becomeDead", remove("LostSince: $_"))},
	{"an old token that is written again replaces the newest", in("Change.Apply",
		replace("if $_ { $$ } else { $_ = $_.withGrant($$) }", "a = a.withGrant(t, now)"))},
	{"the exchange ends with Close at once", in("Manager.Close", replace("waitFor($$)", "false"))},
	{"a login's tokens are forgotten if the Put fails", in("lockedAccount.saveGrant", replace("ifNot: retry", "ifNot: askAgain"))},
	{"a code is presented twice", in("Manager.send",
		insertAfter("$result = with($secret)", "if $result.Outcome == oauth.InDoubt { $result = with($secret) }"))},
	{"a spare of a dead account waits for ever", in("Account.withSpare", replace("if first < 0 { $$ }",
		"if first < 0 { g := newGrant(refreshToken, now); g.Death = a.Current().Death; a.Grants = append(slices.Clone(a.Grants), g); return a }"))},
	{"the plugin refreshes without looking again whether it is due", in("lockedAccount.exchange", remove("if run.task != account.NoTask { $$ }"))},
	{"the new refresh token of a spare is dropped", in("Account.Settle",
		insertAfter("$after := $before.settle(o)", "if waiting { $after.RefreshToken = $before.RefreshToken }"))},
	{"a spare whose Put fails is forgotten", in("exchanging.save",
		insertBefore("_ = x.commit(c)", "if r.waiting { c.ifNot = keepInMemory }"),
		insertAfter("_ = x.commit(c)", "if r.waiting { x.entry.unsaved = nil; x.m.cache.drop(x.name) }"))},
	{"a spare that fails does not rest", in("Account.Settle",
		insertAfter("$after := $before.settle(o)", "if waiting { $after.Failure = nil }"))},
	{"a token from the future is handed out", in("AccessToken.Remaining", replace("$_.Issued.After($_)", "false"))},
	{"another process's intent is measured on two wall clocks", in("Grant.foreignUntil",
		replace("return c.Now.Add($wait)", "_ = $wait; return in.Deadline.Add(takeoverGrace)"))},
	{"a stored wait counts however far ahead it is", in("Failure.waitsUntil", replace("f.NextAttempt.After($_)", "false"))},
	{"a refused grant never steps back", in("Account.InUse", replace("$_.refusedRepeatedly()", "false"))},
	{"a slip of the keyboard costs the grant that works", in("Account.withGrant", replace("$dead.Death != nil || $_", "$dead.Death != nil || waiting >= 0"))},
	{"a slip of the keyboard costs a written grant that was never tried", in("Account.withGrant", replace("waiting >= maxReplaced", "waiting >= 1"))},
	{"the former grant counts as gone before the new one has worked", in("Account.InUse", replace("a.firstLiving()", "0"))},
	{"a broken path is used again at once", in("gate.report", replace("g.lost(r.Reason, true)", "_ = r"))},
	{"doubts in a row hold nothing back", in("gate.report", replace("g.doubts >= doubtsUntilHeld", "false"))},
	{"a probe that fails opens the gate", in("gate.nextProbe", replace("r.Readable()", "true"))},
	{"the waits after refusals do not grow", in("Failure.after", replace("step(refusalWaits, $_)", "refusalWaits[0]"))},
	{"a reader can force exchanges by min_ttl", in("Account.minTTL", replace("min(want, most)", "want"))},
	{"the background refreshes before the ttl is over", in("Account.nextRefresh", replace("a.Access.Expires.Add(-$min)", "a.Access.Obtained.Add($min-$min)"))},
	{"a grant is kept alive again and again after a clock was wrong", in("Grant.issued", replace("return g.LastExchange", "return g.AuthorizedAt"))},
	{"a token's life is counted from the answer", in("Outcome.accessToken", replace("$o.SentAt.Add($life)", "$o.AnsweredAt.Add($life)"))},
}

// TestDefectsAreFound builds the product code with each defect in turn and plays
// a budget of 100,000 exchanges: the simulation has to fail.
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
	out, err := exec.Command("go", "test", "-vet=off", "-overlay", list, "-run", "^TestSimulation$", ".", "-exchanges", "100000").CombinedOutput()
	if err == nil {
		return "the simulation passed\n" + string(out)
	}
	return string(out)
}
