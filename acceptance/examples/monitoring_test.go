package examples

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

// TestMonitoringExamplesPassPromtool checks the examples and the metrics with promtool.
func TestMonitoringExamplesPassPromtool(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	m := newMonitoring(f)
	makeHistory(f)
	m.promtool("", "check", "config", "prometheus.yml")
	m.promtool("", "check", "rules", "rules.yml")
	m.promtool("", "test", "rules", "rules.test.yml")
	m.promtool(f.Metrics(), "check", "metrics")

	// Check the dashboard's queries as rules. promtool has no other check for queries.
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for i, q := range readDashboard(t).queries() {
		rules += fmt.Sprintf("  - record: query:%d\n    expr: %q\n", i, q)
	}
	fixture.Must(t, os.WriteFile(filepath.Join(m.dir, "dashboard.yml"), []byte(rules), 0o600))
	m.promtool("", "check", "rules", "dashboard.yml")
}

// These find metrics and label matchers in expressions, and alerts in rules.
var (
	metricName   = regexp.MustCompile(`pagero_[a-z_]+`)
	labelMatcher = regexp.MustCompile(`\b(state|spare|source|purpose|result)!?="([a-z_]+)"`)
	alertName    = regexp.MustCompile(`(?m)^\s+(?:- )?alert(?:name)?: (\w+)$`)
)

// TestMonitoringExamplesNameWhatThereIs asserts that the metrics, labels and runbooks in the examples exist.
func TestMonitoringExamplesNameWhatThereIs(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	makeHistory(f)
	exposition := f.Metrics()
	rules := readExample(t, "monitoring/rules.yml")
	expressions := rules + strings.Join(readDashboard(t).queries(), "\n")

	names := metricName.FindAllString(expressions, -1)
	if len(names) < 20 {
		t.Fatalf("the examples name %q", names)
	}
	for _, name := range names {
		if !strings.Contains(exposition, "\n"+name+"{") && !strings.Contains(exposition, "\n"+name+" ") {
			t.Errorf("there is no metric %s", name)
		}
	}
	matchers := labelMatcher.FindAllStringSubmatch(expressions, -1)
	if len(matchers) < 10 {
		t.Fatalf("the examples have the matchers %q", matchers)
	}
	for _, matcher := range matchers {
		if !strings.Contains(exposition, fmt.Sprintf("%s=%q", matcher[1], matcher[2])) {
			t.Errorf("no metric has the label %s=%q", matcher[1], matcher[2])
		}
	}
	wantRunbooks(f, rules)

	alerts := alertName.FindAllStringSubmatch(rules, -1)
	if len(alerts) < 10 {
		t.Errorf("the rules have the alerts %q", alerts)
	}
	tests, readme := readExample(t, "monitoring/rules.test.yml"), readExample(t, "monitoring/README.md")
	for _, alert := range alerts {
		if !strings.Contains(tests, "alertname: "+alert[1]+"\n        exp_alerts:") || !strings.Contains(readme, "`"+alert[1]+"`") {
			t.Errorf("%s has no test, or is not in the README", alert[1])
		}
	}
}

// wantRunbooks asserts that each alert links to a heading of the operations guide.
func wantRunbooks(f *fixture.Fixture, rules string) {
	f.T.Helper()
	var anchors []string
	for line := range strings.Lines(document.Read(f.T, "docs/operations.md")) {
		if heading, found := strings.CutPrefix(line, "## "); found {
			heading = strings.ToLower(strings.TrimSpace(heading))
			anchors = append(anchors, strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(heading, ""), " ", "-"))
		}
	}
	runbooks := regexp.MustCompile(`runbook_url: \S+/docs/operations\.md#(\S+)`).FindAllStringSubmatch(rules, -1)
	if len(runbooks) != strings.Count(rules, "- alert:") {
		f.T.Errorf("%d alerts have %d runbooks", strings.Count(rules, "- alert:"), len(runbooks))
	}
	for _, runbook := range runbooks {
		if !slices.Contains(anchors, runbook[1]) {
			f.T.Errorf("docs/operations.md has no heading %s: %q", runbook[1], anchors)
		}
	}
}

// TestPrometheusScrapesTheMount runs a Prometheus with the example's configuration and rules. It scrapes the metrics, an
// alert fires, and each query of the dashboard returns something.
func TestPrometheusScrapesTheMount(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	m := newMonitoring(f)
	m.start()
	value := func(expression string) string {
		samples, err := m.query(expression)
		if err != nil || len(samples) != 1 {
			return fmt.Sprint(len(samples), " ", err)
		}
		return fmt.Sprint(samples[0].Value[1])
	}
	f.WaitFor("a scrape", func() bool { return value(`up{job="pagero", mount="pagero"}`) == "1" })

	makeHistory(f)
	f.WaitFor("Prometheus to see the history", func() bool {
		return value(`pagero_accounts{state="reauthorization_required"}`) == "1" &&
			value(`pagero_exchanges_total{purpose="refresh", result="succeeded"}`) == "2" &&
			value(`pagero_spares{spare="used"}`) == "1"
	})
	f.WaitFor("the alert", func() bool { return slices.Contains(m.firing(), "PageroAccountNeedsLogin") })
	if slices.Contains(m.firing(), "PageroMetricsMissing") {
		t.Error("PageroMetricsMissing fires")
	}
	for _, q := range readDashboard(t).queries() {
		f.WaitFor(q, func() bool {
			samples, err := m.query(q)
			if err != nil {
				t.Fatal(err)
			}
			if len(samples) == 0 && strings.Contains(q, "rate(") { // a rate needs a change between two scrapes
				f.Write("refresh/acme", nil)
			}
			return len(samples) > 0
		})
	}
}

// firing returns the names of the alerts that fire.
func (m *monitoring) firing() []string {
	m.f.T.Helper()
	var data struct {
		Alerts []struct {
			State  string            `json:"state"`
			Labels map[string]string `json:"labels"`
		} `json:"alerts"`
	}
	fixture.Must(m.f.T, m.get("alerts", &data))
	var names []string
	for _, alert := range data.Alerts {
		if alert.State == "firing" {
			names = append(names, alert.Labels["alertname"])
		}
	}
	return names
}

// dashboard is the part of the Grafana dashboard that is checked.
type dashboard struct {
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name, Type string
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Targets []struct {
		Datasource struct {
			UID string `json:"uid"`
		} `json:"datasource"`
		Expr  string `json:"expr"`
		RefID string `json:"refId"`
	} `json:"targets"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	fixture.Must(t, json.Unmarshal([]byte(readExample(t, "monitoring/dashboard.json")), &d))
	return d
}

// queries returns the expressions of all panels. It replaces Grafana's variables as Grafana does.
func (d dashboard) queries() []string {
	var queries []string
	replace := strings.NewReplacer("$__rate_interval", (5 * time.Minute).String(), "$mount", ".*")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries = append(queries, replace.Replace(target.Expr))
		}
	}
	return queries
}

// TestTheDashboardIsWellMade checks what Grafana accepts but a person would complain about.
func TestTheDashboardIsWellMade(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.Title == "" || d.SchemaVersion < 30 || len(d.Panels) < 10 || len(d.Templating.List) != 2 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("the dashboard is %+v", d)
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.GridPos.W*p.GridPos.H == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("the panel %q (%d) is not complete", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken {
					t.Errorf("%q lies over %q", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || !strings.Contains(target.Expr, `mount=~"$mount"`) || refs[target.RefID] {
				t.Errorf("a query of %q is %+v", p.Title, target)
			}
			refs[target.RefID] = true
		}
	}
}
