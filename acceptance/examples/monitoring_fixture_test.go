package examples

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

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// monitoring is a machine with Prometheus and the files of examples/monitoring.
type monitoring struct {
	f       *fixture.Fixture
	dir     string // replaces /etc/prometheus/pagero
	address string // of Prometheus, if it runs
}

// prometheusProgram returns the path of a program of Prometheus, or skips the test.
func prometheusProgram(t *testing.T, find func() (string, error)) string {
	t.Helper()
	return fixture.OptionalProgram(t, find, "REQUIRE_PROMTOOL", "the monitoring examples")
}

// newMonitoring installs the examples, with other addresses and paths. It gets the Vault token of Prometheus with the
// commands of the README.
func newMonitoring(f *fixture.Fixture) *monitoring {
	f.T.Helper()
	m := &monitoring{f: f, dir: f.T.TempDir()}
	replace := strings.NewReplacer(
		"scheme: https", "scheme: http", // the Vault of these tests speaks HTTP
		"vault.example.com:8200", strings.TrimPrefix(f.Node.Address, "http://"),
		"/v1/pagero/metrics", "/v1/"+f.Mount+"/metrics",
		`path "pagero/`, `path "`+f.Mount+"/",
		"interval: 1m", "interval: 1s",
		"scrape_timeout: 10s", "scrape_timeout: 1s",
		"/etc/prometheus/pagero", m.dir)
	for _, name := range []string{"prometheus.yml", "rules.yml", "rules.test.yml", "policy.hcl"} {
		content := readExample(f.T, "monitoring/"+name)
		if name != "rules.test.yml" { // its times are part of its tests
			content = replace.Replace(content)
		}
		fixture.Must(f.T, os.WriteFile(filepath.Join(m.dir, name), []byte(content), 0o600))
	}
	fixture.Must(f.T, os.WriteFile(filepath.Join(m.dir, "vault-ca.pem"), f.Sandbox.CACertPEM(), 0o600))
	readme := readExample(f.T, "monitoring/README.md")
	shell(f, m.dir, strings.ReplaceAll(document.CommandsBelow(readme, "## The Vault token of Prometheus"), "pagero-metrics", "metrics-"+f.Mount))
	shell(f, m.dir, document.CommandsBelow(readme, "Let a timer do so once a week:\n"))
	return m
}

// readExample returns the content of a file of examples/.
func readExample(t *testing.T, name string) string {
	t.Helper()
	return document.Read(t, "examples/"+name)
}

// makeHistory causes what the metrics count: reads of each kind, exchanges that succeed and fail, a login, a revocation, a
// spare that takes over, and a dead account.
func makeHistory(f *fixture.Fixture) {
	f.T.Helper()
	f.AccessToken("acme")
	f.AccessToken("acme")
	first := f.Login("bob")
	f.Write("accounts/spared", fixture.Fields{"refresh_token": first, "spare_refresh_token": f.Login("bob")})
	fixture.Must(f.T, f.Sandbox.RevokeGrant(first))
	f.AccessToken("spared")
	f.Write("accounts/gone", fixture.Fields{"username": "carol", "password": "carol-password"})
	f.Do(http.MethodDelete, "accounts/gone", nil).WantStatus(http.StatusNoContent)
	dead := f.Login("alice")
	f.Write("accounts/dead", fixture.Fields{"refresh_token": dead})
	fixture.Must(f.T, f.Sandbox.RevokeGrant(dead))
	f.Do(http.MethodGet, "token/dead", nil).WantStatus(http.StatusBadRequest)
}

// promtool runs promtool with a standard input, which may be empty. It must succeed.
func (m *monitoring) promtool(input string, arguments ...string) {
	m.f.T.Helper()
	path := prometheusProgram(m.f.T, harness.PromtoolBinary)
	quoted := []string{"'" + path + "'"}
	for _, argument := range arguments {
		quoted = append(quoted, "'"+argument+"'")
	}
	file := filepath.Join(m.dir, "input")
	fixture.Must(m.f.T, os.WriteFile(file, []byte(input), 0o600))
	shell(m.f, m.dir, strings.Join(quoted, " ")+" <input")
}

// start runs a Prometheus with the example's configuration on a loopback port until the test ends.
func (m *monitoring) start() {
	f := m.f
	f.T.Helper()
	path := prometheusProgram(f.T, harness.PrometheusBinary)
	address, err := harness.FreeAddress(f.Ctx)
	fixture.Must(f.T, err)
	m.address = address
	prometheus, err := f.Node.StartProgram(filepath.Join(m.dir, "prometheus.log"), nil, path,
		"--config.file="+filepath.Join(m.dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(m.dir, "data"),
		"--web.listen-address="+address)
	fixture.Must(f.T, err)
	f.T.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(f.Ctx), time.Minute)
		defer cancel()
		if err := prometheus.Stop(ctx); err != nil {
			f.T.Error(err)
		}
		if f.T.Failed() {
			f.T.Logf("Prometheus said:\n%s", prometheus.Log())
		}
	})
	f.WaitFor("Prometheus to answer", func() bool {
		_, err := m.query("1")
		return err == nil || !prometheus.Running()
	})
	if !prometheus.Running() {
		f.T.Fatal("Prometheus has ended")
	}
}

// sample is one series in the answer to a query.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"` // the time, and the value as a string
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
	_ = json.Unmarshal(result.Result, &samples) // a scalar has no samples
	return samples, nil
}

// get reads from Prometheus' API.
func (m *monitoring) get(path string, data any) error {
	request, err := http.NewRequestWithContext(m.f.Ctx, http.MethodGet, "http://"+m.address+"/api/v1/"+path, http.NoBody)
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
