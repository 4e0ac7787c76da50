package token

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestAMonitoringTokenReadsStatusAndMetricsOnly(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.AccessToken("acme")
	f.AccessToken("acme")
	watcher := f.WithPolicy(`path "MOUNT/status" { capabilities = ["read"] }
path "MOUNT/metrics" { capabilities = ["read"] }`)

	text := watcher.Metrics()
	for _, line := range []string{
		`pagero_exchanges_total{purpose="refresh",result="succeeded"} 1`, `pagero_token_reads_total{source="cache"} 1`,
		`pagero_accounts{state="ready"} 1`, `pagero_build_info{version="` + fixture.PluginVersion + `"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics lack %s:\n%s", line, text)
		}
	}
	if strings.Contains(text, "acme") {
		t.Error("a metric names an account")
	}
	status := watcher.Read("status")
	if status.Text("version") != fixture.PluginVersion || status.Integer("accounts") != 1 {
		t.Errorf("the status is %s", status.Raw)
	}
	for _, path := range []string{"token/acme", "accounts/acme", "clients/default", "config"} {
		watcher.Do(http.MethodGet, path, nil).WantStatus(http.StatusForbidden)
	}
	watcher.Do(http.MethodPost, "refresh/acme", nil).WantStatus(http.StatusForbidden)
	watcher.Do(http.MethodPost, "authorize/acme", nil).WantStatus(http.StatusForbidden)
}

func TestTheLogSaysHowLongAnExchangeTook(t *testing.T) {
	t.Parallel()
	f := fixture.New(t)
	f.Write("clients/default", f.Client())
	f.Write("accounts/"+f.Mount, fixture.Fields{"refresh_token": f.Login(sandbox.DefaultUsername)})
	f.AccessToken(f.Mount)
	said := regexp.MustCompile(`token refreshed: .*\bduration=[0-9.]+m?s\b`)
	f.WaitFor("the line in Vault's log", func() bool {
		content, err := os.ReadFile(f.Node.LogFile())
		fixture.Must(t, err)
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, "account="+f.Mount) && said.MatchString(line) {
				return true
			}
		}
		return false
	})
}
