package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// sources counts a mount's token reads by where their answers came from.
type sources map[string]float64

// waited is the number of reads that did not come from memory or, once after a start, from the storage.
func (s sources) waited() float64 {
	sum := 0.0
	for name, n := range s {
		if name != "cache" {
			sum += n
		}
	}
	return sum
}

// readsBySource reads the plugin's own counters.
func (s *stage) readsBySource(ctx context.Context, mount string) (sources, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.node.Address+"/v1/"+mount+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Vault-Token", s.cluster.RootToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	counted := sources{}
	for line := range bytes.Lines(body) {
		var n float64
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), "} ")
		source, ok := strings.CutPrefix(name, `pagero_token_reads_total{source="`)
		if !ok {
			continue
		}
		if _, err := fmt.Sscan(value, &n); err != nil {
			return nil, fmt.Errorf("the metrics have the line %q", line)
		}
		counted[strings.TrimSuffix(source, `"`)] = n
	}
	if len(counted) == 0 {
		return nil, fmt.Errorf("the metrics of %s count no reads: %s: %s", mount, response.Status, body)
	}
	return counted, nil
}
