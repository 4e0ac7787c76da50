package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// monitoring is the folder examples/monitoring on a machine with Prometheus, with a mount that has
// something to tell.
type monitoring struct {
	s       *stage
	dir     string // in the place of /etc/prometheus/pagero
	address string // of Prometheus, where it runs
}

// prometheusProgram returns the path of one of Prometheus' programs.
func prometheusProgram(t *testing.T, find func() (string, error)) string {
	t.Helper()
	return program(t, find, "REQUIRE_PROMTOOL", "the monitoring examples")
}

// newMonitoring installs the examples, with addresses and paths replaced, and gets the Vault token of
// Prometheus with the commands of the README.
func (s *stage) newMonitoring() *monitoring {
	s.t.Helper()
	m := &monitoring{s: s, dir: s.t.TempDir()}
	replace := strings.NewReplacer(
		"scheme: https", "scheme: http", // as the Vault of these tests speaks
		"vault.example.com:8200", strings.TrimPrefix(s.node.Address, "http://"),
		"/v1/pagero/metrics", "/v1/"+s.mount+"/metrics",
		`path "pagero/`, `path "`+s.mount+"/",
		"interval: 1m", "interval: 1s",
		"scrape_timeout: 10s", "scrape_timeout: 1s",
		"/etc/prometheus/pagero", m.dir)
	for _, name := range []string{"prometheus.yml", "rules.yml", "rules.test.yml", "policy.hcl"} {
		content := s.readExample("monitoring/" + name)
		if name != "rules.test.yml" { // its times are part of the tests
			content = replace.Replace(content)
		}
		must(s.t, os.WriteFile(filepath.Join(m.dir, name), []byte(content), 0o600))
	}
	must(s.t, os.WriteFile(filepath.Join(m.dir, "vault-ca.pem"), s.sandbox.CACertPEM(), 0o600))
	readme := s.readExample("monitoring/README.md")
	s.shell(m.dir, strings.ReplaceAll(commandsBelow(readme, "## The Vault token of Prometheus"), "pagero-metrics", "metrics-"+s.mount))
	s.shell(m.dir, commandsBelow(readme, "Let a timer do so once a week:\n"))
	return m
}

// readExample returns the content of a file of examples/.
func (s *stage) readExample(name string) string {
	s.t.Helper()
	return repoFile(s.t, "examples/"+name)
}

// makeHistory has things happen that the metrics tell: reads of each kind, exchanges that succeed and fail,
// a login, a revocation, a spare that has taken over, and a dead account.
func (s *stage) makeHistory() {
	s.t.Helper()
	s.accessToken("acme")
	s.accessToken("acme")
	first := s.login("bob")
	s.write("accounts/spared", fields{"refresh_token": first, "spare_refresh_token": s.login("bob")})
	must(s.t, s.sandbox.RevokeGrant(first))
	s.accessToken("spared")
	s.write("accounts/gone", fields{"username": "carol", "password": "carol-password"})
	s.do(http.MethodDelete, "accounts/gone", nil).wantStatus(http.StatusNoContent)
	dead := s.login("alice")
	s.write("accounts/dead", fields{"refresh_token": dead})
	must(s.t, s.sandbox.RevokeGrant(dead))
	s.do(http.MethodGet, "token/dead", nil).wantStatus(http.StatusBadRequest)
}

// promtool runs promtool, which must succeed. Its standard input is optional.
func (m *monitoring) promtool(input string, arguments ...string) {
	m.s.t.Helper()
	path := prometheusProgram(m.s.t, harness.PromtoolBinary)
	quoted := []string{"'" + path + "'"}
	for _, argument := range arguments {
		quoted = append(quoted, "'"+argument+"'")
	}
	file := filepath.Join(m.dir, "input")
	must(m.s.t, os.WriteFile(file, []byte(input), 0o600))
	m.s.shell(m.dir, strings.Join(quoted, " ")+" <input")
}

// start runs a Prometheus with the example's configuration on a loopback port until the test ends.
func (m *monitoring) start() {
	s := m.s
	s.t.Helper()
	path := prometheusProgram(s.t, harness.PrometheusBinary)
	address, err := harness.FreeAddress(s.ctx)
	must(s.t, err)
	m.address = address
	prometheus, err := s.node.StartProgram(filepath.Join(m.dir, "prometheus.log"), nil, path,
		"--config.file="+filepath.Join(m.dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(m.dir, "data"),
		"--web.listen-address="+address)
	must(s.t, err)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Minute)
		defer cancel()
		if err := prometheus.Stop(ctx); err != nil {
			s.t.Error(err)
		}
		if s.t.Failed() {
			s.t.Logf("Prometheus said:\n%s", prometheus.Log())
		}
	})
	s.waitFor("Prometheus to answer", func() bool {
		_, err := m.query("1")
		return err == nil || !prometheus.Running()
	})
	if !prometheus.Running() {
		s.t.Fatal("Prometheus has ended")
	}
}

// sample is one series of the answer to a query.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"` // the time and, as a string, the value
}

// query asks Prometheus for the value of an expression now.
func (m *monitoring) query(expression string) ([]sample, error) {
	var result struct {
		Result json.RawMessage `json:"result"`
	}
	if err := m.get("query?query="+url.QueryEscape(expression), &result); err != nil {
		return nil, err
	}
	var samples []sample
	_ = json.Unmarshal(result.Result, &samples) // a scalar has none
	return samples, nil
}

// get reads from Prometheus' API.
func (m *monitoring) get(path string, data any) error {
	request, err := http.NewRequestWithContext(m.s.ctx, http.MethodGet, "http://"+m.address+"/api/v1/"+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   any    `json:"data"`
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}
