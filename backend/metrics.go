package backend

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

// metrics are the counters of the mount. They follow the conventions of Prometheus:
// base units, and only labels with few values. They start at zero with the process.
type metrics struct {
	registry  *prometheus.Registry
	exchanges *prometheus.CounterVec
	durations *prometheus.HistogramVec
	reads     *prometheus.CounterVec
	cached    prometheus.Counter // the counter of reads that the hot path uses
}

func newMetrics(overview func() rotation.Overview) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pagero_exchanges_total",
			Help: "Requests to Pagero by purpose (refresh, spare, login, revoke, probe) and result (succeeded, not_sent, in_doubt, refused, unreadable, throttled, or the OAuth error code).",
		}, []string{"purpose", "result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "pagero_exchange_duration_seconds",
			Help:    "How long requests to Pagero took, by purpose.",
			Buckets: []float64{0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60},
		}, []string{"purpose"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pagero_token_reads_total",
			Help: "Reads of access tokens by source (cache, exchange, stale, error). A stale token works and comes with a warning.",
		}, []string{"source"}),
	}
	m.cached = m.reads.WithLabelValues(string(rotation.FromCache))
	for _, source := range []string{string(rotation.FromExchange), string(rotation.FromStale), "error"} {
		m.reads.WithLabelValues(source)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pagero_build_info", Help: "The plugin's version.", ConstLabels: prometheus.Labels{"version": Version},
	})
	build.Set(1)
	m.registry.MustRegister(m.exchanges, m.durations, m.reads, build, accountCollector{overview})
	return m
}

// observe implements rotation.Options.Observe.
func (m *metrics) observe(purpose rotation.Purpose, r oauth.Result) {
	m.exchanges.WithLabelValues(string(purpose), resultLabel(r)).Inc()
	m.durations.WithLabelValues(string(purpose)).Observe(r.AnsweredAt.Sub(r.SentAt).Seconds())
}

// resultLabel returns one of few values, because package oauth knows few codes.
func resultLabel(r oauth.Result) string {
	switch r.Outcome {
	case oauth.Succeeded:
		return "succeeded"
	case oauth.NotSent:
		return "not_sent"
	case oauth.Refused:
		return "refused"
	case oauth.Unreadable:
		return "unreadable"
	case oauth.Rejected:
		if r.Code == "" {
			return "throttled"
		}
		return string(r.Code)
	default:
		return "in_doubt"
	}
}

// accountCollector counts the accounts by their state at the time of a scrape.
type accountCollector struct{ overview func() rotation.Overview }

var (
	accountsDesc = prometheus.NewDesc("pagero_accounts", "Accounts by state. After a start the plugin scans them step by step.", []string{"state"}, nil)
	sparesDesc   = prometheus.NewDesc("pagero_spares", "Accounts by spare grant: none, ready or used.", []string{"spare"}, nil)
	scannedDesc  = prometheus.NewDesc("pagero_scan_complete", "1 when all accounts have been seen since the start.", nil, nil)
	unsavedDesc  = prometheus.NewDesc("pagero_unsaved_refresh_tokens", "Rescue copies: refresh tokens that Vault's storage does not hold yet.", nil, nil)
	endingDesc   = prometheus.NewDesc("pagero_authorizations_ending", "Accounts whose authorization ends within 90 days, counted up to 1000.", nil, nil)
	needDesc     = prometheus.NewDesc("pagero_accounts_needing_attention", "Accounts that need a person: those in attention of the status.", nil, nil)
	skewDesc     = prometheus.NewDesc("pagero_clock_skew_seconds", "By how much the token endpoint's clock is ahead of this machine's; 0 up to a minute.", nil, nil)
	gateDesc     = prometheus.NewDesc("pagero_gate_open", "1 while exchanges with the token endpoint are let through, 0 while they are held back.", []string{"endpoint"}, nil)
	windowDesc   = prometheus.NewDesc("pagero_gate_window", "How many exchanges with the token endpoint may be in progress at one time.", []string{"endpoint"}, nil)
	progressDesc = prometheus.NewDesc("pagero_gate_exchanges_in_progress", "How many exchanges with the token endpoint are in progress.", []string{"endpoint"}, nil)
	oldestDesc   = prometheus.NewDesc("pagero_oldest_refresh_token_timestamp_seconds", "When the oldest refresh token that is alive was issued. Absent if none is known.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c accountCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		accountsDesc, sparesDesc, scannedDesc, unsavedDesc, endingDesc, needDesc, skewDesc, gateDesc, windowDesc, progressDesc, oldestDesc,
	} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c accountCollector) Collect(to chan<- prometheus.Metric) {
	o := c.overview()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, state := range account.States {
		gauge(accountsDesc, float64(o.States[state]), string(state))
	}
	for _, spare := range account.SpareStates {
		gauge(sparesDesc, float64(o.Spares[spare]), string(spare))
	}
	gauge(scannedDesc, oneIf(o.ScanComplete))
	gauge(unsavedDesc, float64(o.Unsaved))
	gauge(endingDesc, float64(len(o.Ending)))
	gauge(needDesc, float64(o.ProblemCount))
	gauge(skewDesc, o.ClockSkew.Seconds())
	for endpoint, g := range byEndpoint(o.Gates) {
		gauge(gateDesc, oneIf(!g.HeldBack), endpoint)
		gauge(windowDesc, float64(g.Window), endpoint)
		gauge(progressDesc, float64(g.InProgress), endpoint)
	}
	if !o.Oldest.IsZero() {
		gauge(oldestDesc, float64(o.Oldest.Unix()))
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// byEndpoint joins the gates of one host, whose URLs differ: a series must be unique.
func byEndpoint(gates []rotation.GateStatus) map[string]rotation.GateStatus {
	all := map[string]rotation.GateStatus{}
	for _, g := range gates {
		sum := all[g.Endpoint]
		sum.HeldBack = sum.HeldBack || g.HeldBack
		sum.Window += g.Window
		sum.InProgress += g.InProgress
		all[g.Endpoint] = sum
	}
	return all
}
