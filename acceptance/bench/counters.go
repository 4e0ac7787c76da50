package main

import (
	"context"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// sources counts the token reads of a mount by the source of the answer.
type sources map[string]float64

// waited returns the number of reads that were not answered from memory. The first read after a start counts as one from
// memory, although it comes from the storage.
func (s sources) waited() float64 {
	sum := 0.0
	for name, n := range s {
		if name != "cache" {
			sum += n
		}
	}
	return sum
}

// readsBySource reads the plugin's counters.
func (f *fixture) readsBySource(ctx context.Context, mount string) (sources, error) {
	families, err := f.metrics(ctx, mount)
	if err != nil {
		return nil, err
	}
	counted := sources{}
	for _, m := range families["pagero_token_reads_total"].GetMetric() {
		counted[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	if len(counted) == 0 {
		return nil, fmt.Errorf("the metrics of %s count no reads", mount)
	}
	return counted, nil
}

// posts are the plugin's own measurements of its refresh requests.
type posts struct {
	count   uint64
	seconds float64 // the sum of all durations
}

// posts reads these measurements.
func (f *fixture) posts(ctx context.Context, mount string) (posts, error) {
	families, err := f.metrics(ctx, mount)
	if err != nil {
		return posts{}, err
	}
	for _, m := range families["pagero_exchange_duration_seconds"].GetMetric() {
		if m.GetLabel()[0].GetValue() == "refresh" {
			return posts{m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()}, nil
		}
	}
	return posts{}, nil
}

// metrics reads the metrics of a mount.
func (f *fixture) metrics(ctx context.Context, mount string) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.node.Address+"/v1/"+mount+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Vault-Token", f.cluster.RootToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the metrics of %s: %s", mount, response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(response.Body)
}
