package backend

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// scrape returns the exposition, as Prometheus gets it.
func (m *mount) scrape() string {
	m.t.Helper()
	return m.want(m.read("metrics"), 200).page
}

func (m *mount) wantMetric(line string) {
	m.t.Helper()
	if text := m.scrape(); !strings.Contains("\n"+text, "\n"+line+"\n") {
		m.t.Errorf("%q is not one of the metrics:\n%s", line, text)
	}
}

func TestMetricsCountWhatHappens(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.wantMetric(`pagero_token_reads_total{source="cache"} 0`)
		m.wantMetric(`pagero_accounts{state="ready"} 0`)
		m.enrol()
		m.pagero.answersAfter(3 * time.Second)
		m.want(m.read("token/acme"), 200)
		m.want(m.read("token/acme"), 200)
		m.want(m.read("token/acme"), 200)
		m.wantMetric(`pagero_token_reads_total{source="exchange"} 1`)
		m.wantMetric(`pagero_token_reads_total{source="cache"} 2`)
		m.wantMetric(`pagero_exchanges_total{purpose="refresh",result="succeeded"} 1`)
		m.wantMetric(`pagero_exchange_duration_seconds_bucket{purpose="refresh",le="2"} 0`)
		m.wantMetric(`pagero_exchange_duration_seconds_bucket{purpose="refresh",le="5"} 1`)
		m.wantMetric(`pagero_oldest_refresh_token_timestamp_seconds 9.46684803e+08`)
		m.pagero.answersAfter(0)

		m.pass(9 * minute)
		m.pagero.set(isUnreachable)
		m.wantWarning(m.want(m.read("token/acme"), 200), "could not be refreshed")
		m.wantMetric(`pagero_token_reads_total{source="stale"} 1`)
		m.pass(9 * minute)
		m.pagero.set(isDead)
		m.want(m.read("token/acme"), 400)
		m.wantMetric(`pagero_token_reads_total{source="error"} 1`)
		m.wantMetric(`pagero_exchanges_total{purpose="refresh",result="not_sent"} 1`)
		m.wantMetric(`pagero_exchanges_total{purpose="refresh",result="invalid_grant"} 1`)
		m.wantMetric(`pagero_accounts{state="reauthorization_required"} 1`)

		m.pagero.set(nil)
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword}), 204)
		m.want(m.delete("accounts/acme"), 204)
		m.wantMetric(`pagero_exchanges_total{purpose="login",result="succeeded"} 2`)
		m.wantMetric(`pagero_exchanges_total{purpose="revoke",result="succeeded"} 2`)
		m.wantMetric(`pagero_accounts{state="reauthorization_required"} 0`)
	})
}

func TestRescueCopiesAreCounted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.storage.fail(fault{verb: put, key: "account/", skip: 1})
		m.want(m.read("token/acme"), 200)
		m.wantMetric(`pagero_unsaved_refresh_tokens 1`)
		m.storage.heal()
		m.pass(2 * minute)
		m.wantMetric(`pagero_unsaved_refresh_tokens 0`)
	})
}

func TestMetricsTellWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		const endpoint = `{endpoint="sso.pageroonline.com"}`
		m.enrol()
		// Another path of the same host is another token endpoint.
		m.want(m.write("clients/other", with(minimalClient, fields{"token_url": "https://sso.pageroonline.com/other/token"})), 204)
		m.want(m.write("accounts/other", fields{"client": "other", "refresh_token": "rt-" + canary + "-other"}), 204)
		m.want(m.read("token/other"), 200)
		m.wantMetric("pagero_gate_open" + endpoint + " 1")
		m.wantMetric("pagero_gate_window" + endpoint + " 4") // 3, and 1 for the success
		m.wantMetric("pagero_gate_exchanges_in_progress" + endpoint + " 0")
		m.wantMetric("pagero_accounts_needing_attention 0")
		m.wantMetric("pagero_clock_skew_seconds 0")

		m.pagero.answersAfter(5 * time.Second)
		m.pagero.set(func(post) oauth.Result {
			r := isGarbled(post{})
			r.Date = now().Add(-time.Hour)
			return r
		})
		m.pagero.probesAre(isGarbled)
		read := make(chan answer)
		go func() { read <- m.read("token/acme") }()
		m.pass(time.Second)
		m.wantMetric("pagero_gate_window" + endpoint + " 7")
		m.wantMetric("pagero_gate_exchanges_in_progress" + endpoint + " 1")
		m.want(<-read, 503)
		m.wantMetric("pagero_gate_open" + endpoint + " 0")
		m.wantMetric("pagero_gate_window" + endpoint + " 5")
		m.wantMetric("pagero_gate_exchanges_in_progress" + endpoint + " 0")
		m.wantMetric("pagero_clock_skew_seconds -3594")
		m.wantMetric(`pagero_exchanges_total{purpose="refresh",result="unreadable"} 1`)
		m.pass(2 * time.Second)
		m.wantMetric(`pagero_exchanges_total{purpose="probe",result="unreadable"} 1`)
		m.tended(11 * minute)
		m.wantMetric("pagero_accounts_needing_attention 1")

		m.pagero.answersAfter(0)
		m.pagero.set(nil)
		m.pagero.probesAre(nil)
		m.pass(2 * minute)
		m.wantMetric(`pagero_exchanges_total{purpose="probe",result="invalid_grant"} 1`)
		m.tended(2 * minute) // the doubt settles itself
		m.wantMetric("pagero_gate_open" + endpoint + " 1")
		m.wantMetric("pagero_accounts_needing_attention 0")
	})
}

func TestMetricsKeepPrometheusConventions(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		problems, err := testutil.GatherAndLint(m.metrics.registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		problems, err = promlint.New(strings.NewReader(m.scrape())).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		if strings.Contains(m.scrape(), "acme") {
			t.Error("a metric names an account")
		}
	})
}

func TestMetricsAreToldByTheNodeThatMayWrite(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.system.become(consts.ReplicationPerformanceStandby, false)
		m.wantReadOnly(m.read("metrics"))
	})
}

func TestResultLabelsAreFew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		result oauth.Result
		want   string
	}{
		{oauth.Result{Outcome: oauth.Succeeded}, "succeeded"},
		{oauth.Result{Outcome: oauth.NotSent}, "not_sent"},
		{oauth.Result{Outcome: oauth.Rejected, Code: oauth.CodeInvalidGrant}, "invalid_grant"},
		{oauth.Result{Outcome: oauth.Rejected, Status: 429}, "throttled"},
		{oauth.Result{Outcome: oauth.Refused, Code: oauth.CodeOther, Status: 400}, "refused"},
		{oauth.Result{Outcome: oauth.Refused, Status: 404}, "refused"},
		{oauth.Result{Outcome: oauth.Unreadable, Status: 200}, "unreadable"},
		{oauth.Result{}, "in_doubt"},
	} {
		if got := resultLabel(test.result); got != test.want {
			t.Errorf("%+v is %s, not %s", test.result, got, test.want)
		}
	}
}
