package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// measured returns possible results of both commands. Every ratio is 1.
func measured() (*Bench, *Scale) {
	one := exactly(1)
	same := Comparison{one, one, one}
	target := func(name string) Target {
		return Target{Name: name, Rate: one, P50: one, P99: one, CPU: one, RateRatio: one, P50Ratio: one, P99Ratio: one, CPURatio: one}
	}
	rung := func(accounts int) Rung {
		return Rung{
			Accounts: accounts, First: one, FirstRatio: one, Started: Memory{30, 7, 3}, Scanned: Memory{80, 60, 40}, ReadAll: Memory{300, 280, 250},
			Cold: Latency{one, one, one}, Warm: Latency{one, one, one},
		}
	}
	ladder := Ladder{Rungs: []Rung{rung(1), rung(1000), rung(100_000)}, Bare: Rung{First: one, Started: Memory{28, 6, 2}}}
	b := &Bench{
		Rounds:     5,
		Cached:     []Cached{{Connections: 1, Ceiling: one, Targets: []Target{target("pagero"), target("bare"), target("conventional"), target("kv")}}},
		Hang:       Hang{Connections: 16, SameP99: same, SameRate: same, OthersP99: same, OthersRate: same},
		Exchange:   Exchange{Read: one, Endpoint: one, Handling: one, Beyond: same, BeyondHandling: same, Post: same, BeyondPost: same},
		Expiry:     Expiry{Readers: 1000, Rounds: 5, Exchanges: 5, P99: same, P50: one, Floor: same, Ahead: same},
		Throughput: []Throughput{{Connections: 8, Limit: 80, Rate: one, Ratio: one, Busy: one, Own: one, Wanted: one}},
		Background: Background{Accounts: 1000, Limit: 50, Rate: 49, Ratio: 0.98},
		Cost:       Cost{CPU: same, Objects: same, Bytes: same, TopCPU: "flat\n1", TopObjects: "flat\n2"},
		Ladder:     ladder,
	}
	s := &Scale{
		Accounts: 100_000, Ladder: ladder, Idle: []Idle{{State: "alone", Vault: 240}},
		Unseal: Unseal{Active: one, Token: one, Bare: one, TokenAfter: one, BareAfter: one},
		Fresh:  Fresh{Accounts: 10_000, Lifetime: 600, Minutes: 15, Reads: 90_000, LeastRemaining: 120, Simulated: "PASS"},
	}
	return b, s
}

// keep writes results into a docs directory.
func keep(t *testing.T, docs, file string, measured any) {
	t.Helper()
	text, err := json.Marshal(measured)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(docs, plotDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(docs, plotDir, file), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// read returns the page.
func read(t *testing.T, docs string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, pageFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEachCommandWritesThePageWithWhatTheOtherLeft(t *testing.T) {
	b, s := measured()
	docs := t.TempDir()
	keep(t, docs, benchFile, b)
	if err := Page(docs); err != nil {
		t.Fatal(err)
	}
	page := read(t, docs)
	if !strings.Contains(page, "Not measured yet: `make bench-scale`") || strings.Contains(page, "Not measured yet: `make bench`") {
		t.Errorf("the page without the scale:\n%s", page)
	}
	keep(t, docs, scaleFile, s)
	if err := Page(docs); err != nil {
		t.Fatal(err)
	}
	if page = read(t, docs); strings.Contains(page, "Not measured yet") || strings.Contains(page, "<no value>") {
		t.Errorf("the page:\n%s", page)
	}
	if err := Page(docs); err != nil || read(t, docs) != page {
		t.Errorf("the page is not the same a second time (%v)", err)
	}
}

func TestThePageShowsEachPlotOnce(t *testing.T) {
	b, s := measured()
	docs := t.TempDir()
	keep(t, docs, benchFile, b)
	keep(t, docs, scaleFile, s)
	if err := Page(docs); err != nil {
		t.Fatal(err)
	}
	drawn, err := filepath.Glob(filepath.Join(docs, plotDir, "*.svg"))
	if err != nil || len(drawn) == 0 {
		t.Fatalf("%d plots, %v", len(drawn), err)
	}
	page := read(t, docs)
	for _, file := range drawn {
		if n := strings.Count(page, "]("+plotDir+"/"+filepath.Base(file)+")"); n != 1 {
			t.Errorf("%s is shown %d times", filepath.Base(file), n)
		}
	}
	if n := strings.Count(page, ".svg)"); n != len(drawn) {
		t.Errorf("the page shows %d plots of %d", n, len(drawn))
	}
}

func TestVerdictsComeFromTheMedian(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{atLeast(0.95, Summary{0.95, 0.5, 2}), "met"},
		{atLeast(0.95, Summary{0.94, 0.5, 0.96}), "missed, met in some rounds"},
		{atLeast(0.95, Summary{0.9, 0.5, 0.94}), "missed"},
		{atMost(1.2, Summary{1.2, 1, 3}), "met"},
		{atMost(1.2, Summary{1.3, 1.1, 3}), "missed, met in some rounds"},
		{atMost(1.2, Summary{1.3, 1.25, 3}), "missed"},
		{within(150, 149), "met"},
		{within(0, sum(0, 1, 0)), "missed"},
	} {
		if c.got != c.want {
			t.Errorf("%q, not %q", c.got, c.want)
		}
	}
	b, s := measured()
	b.Expiry.P99.Ratio, b.Expiry.Exchanges, s.Fresh.Waited = exactly(2.5), 6, 1
	var page strings.Builder
	if err := Text(&page, b, s); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| ≤ 2 | **2.50** (2.50–2.50) | missed |", "| 1 each | 6 in all | missed |"} {
		if !strings.Contains(page.String(), row) {
			t.Errorf("the page lacks %q", row)
		}
	}
	for line := range strings.Lines(page.String()) {
		if strings.Contains(line, "1 waited") && !strings.Contains(line, "missed") {
			t.Errorf("%q", line)
		}
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for x, want := range map[float64]string{0: "0.000", 0.1234: "0.123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234.5: "1234", -2.5: "-2.50"} {
		if got := number(x); got != want {
			t.Errorf("number(%v) is %q, not %q", x, got, want)
		}
	}
}
