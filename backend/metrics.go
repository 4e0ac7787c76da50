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
			Help: "Requests to Pagero by purpose (refresh, spare, login, revoke) and result (succeeded, not_sent, in_doubt, throttled, or the OAuth error code).",
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

// resultLabel returns one of few values: oauth.RegisteredCode knows few codes.
func resultLabel(r oauth.Result) string {
	switch {
	case r.Outcome == oauth.Succeeded:
		return "succeeded"
	case r.Outcome == oauth.NotSent:
		return "not_sent"
	case r.Outcome == oauth.Rejected && r.Code != "":
		return string(r.Code)
	case r.Outcome == oauth.Rejected:
		return "throttled"
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
	oldestDesc   = prometheus.NewDesc("pagero_oldest_refresh_token_timestamp_seconds", "When the oldest refresh token that is alive was issued. Absent if none is known.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c accountCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{accountsDesc, sparesDesc, scannedDesc, unsavedDesc, endingDesc, oldestDesc} {
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
	scanned := 0.0
	if o.ScanComplete {
		scanned = 1
	}
	gauge(scannedDesc, scanned)
	gauge(unsavedDesc, float64(o.Unsaved))
	gauge(endingDesc, float64(len(o.Ending)))
	if !o.Oldest.IsZero() {
		gauge(oldestDesc, float64(o.Oldest.Unix()))
	}
}
