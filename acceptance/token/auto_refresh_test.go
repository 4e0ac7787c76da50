package token

import (
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

// Vault calls the plugin's periodic function once a minute. In between, the plugin refreshes accounts by itself.
func TestAutoRefreshNeedsNoReader(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(10*time.Second))
	f.Write("accounts/acme", fixture.Fields{"auto_refresh": true})
	f.WaitFor("the first exchange without a reader", func() bool { return f.Read("accounts/acme").Text("state") == "ready" })
	before := f.Exchanges()
	f.WaitFor("three more exchanges", func() bool { return f.Exchanges() >= before+3 })
	f.WantAPIAccepts(f.AccessToken("acme"))
	if text := f.Metrics(); !strings.Contains(text, `pagero_token_reads_total{source="exchange"} 0`) {
		t.Errorf("a reader had to wait for an exchange:\n%s", text)
	}
	if stats := f.Sandbox.Stats(); stats.Replays != 0 {
		t.Errorf("%d refresh tokens were presented twice", stats.Replays)
	}
	if complete := f.Read("status").Data["complete"]; complete != true {
		t.Errorf("the scan is complete: %v", complete)
	}
}
