package acceptance

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// metrics scrapes as Prometheus does, with a Vault token as the bearer token.
func (s *stage) metrics() string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.node.Address+"/v1/"+s.mount+"/metrics", http.NoBody)
	must(s.t, err)
	request.Header.Set("Authorization", "Bearer "+s.token)
	response, err := http.DefaultClient.Do(request)
	must(s.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(s.t, err)
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain") {
		s.t.Fatalf("metrics: %s %s: %s", response.Status, response.Header.Get("Content-Type"), text)
	}
	return string(text)
}

func TestWhoWatchesSeesStatusAndMetricsAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.accessToken("acme")
	s.accessToken("acme")
	watcher := s.as(`path "MOUNT/status" { capabilities = ["read"] }
path "MOUNT/metrics" { capabilities = ["read"] }`)

	text := watcher.metrics()
	for _, line := range []string{
		`pagero_exchanges_total{purpose="refresh",result="succeeded"} 1`, `pagero_token_reads_total{source="cache"} 1`,
		`pagero_accounts{state="ready"} 1`, `pagero_build_info{version="` + pluginVersion + `"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics lack %s:\n%s", line, text)
		}
	}
	if strings.Contains(text, "acme") {
		t.Error("a metric names an account")
	}
	status := watcher.read("status")
	if status.text("version") != pluginVersion || status.integer("accounts") != 1 {
		t.Errorf("the status is %s", status.raw)
	}
	for _, path := range []string{"token/acme", "accounts/acme", "clients/default", "config"} {
		watcher.do(http.MethodGet, path, nil).wantStatus(http.StatusForbidden)
	}
	watcher.do(http.MethodPost, "refresh/acme", nil).wantStatus(http.StatusForbidden)
	watcher.do(http.MethodPost, "authorize/acme", nil).wantStatus(http.StatusForbidden)
}

// Vault kicks every minute; between two kicks the plugin goes on by itself.
func TestAutoRefreshLeavesNothingForReadersToWaitFor(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	must(t, s.sandbox.SetAccessTokenLifetime(10*time.Second))
	s.write("accounts/acme", fields{"auto_refresh": true})
	s.waitFor("the first exchange that nobody asked for", func() bool { return s.read("accounts/acme").text("state") == "ready" })
	s.accessToken("acme")
	before := s.exchanges()
	s.waitFor("three more, with readers all the time", func() bool {
		s.wantAPIAccepts(s.accessToken("acme"))
		return s.exchanges() >= before+3
	})
	if text := s.metrics(); !strings.Contains(text, `pagero_token_reads_total{source="exchange"} 0`) {
		t.Errorf("a reader has waited:\n%s", text)
	}
	if stats := s.sandbox.Stats(); stats.Replays != 0 {
		t.Errorf("%d refresh tokens came twice", stats.Replays)
	}
	if complete := s.read("status").Data["complete"]; complete != true {
		t.Errorf("the survey is complete: %v", complete)
	}
}
