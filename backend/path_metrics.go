package backend

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/common/expfmt"
)

// metricsType is the media type of Prometheus' text exposition format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

func (b *backend) pathMetrics() []*framework.Path {
	return []*framework.Path{{
		Pattern: "metrics",
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation{
				handler: b.readMetrics, verb: "read", suffix: "metrics",
				summary:     "Read the mount's metrics, for Prometheus.",
				description: "Prometheus sends a Vault token as its bearer token. No metric names an account.",
				responses:   map[int][]framework.Response{http.StatusOK: {{Description: "Prometheus' text exposition.", MediaType: metricsType}}},
			}.build(),
		},
		HelpSynopsis: "Metrics of this mount, for Prometheus.",
		HelpDescription: `
Prometheus' text exposition: requests to Pagero by result, their duration, reads
by source, accounts by state, rescue copies, and whether exchanges are held back.
Scrape /v1/pagero/metrics of the
active node with a Vault token as the bearer token.`,
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix},
	}}
}

func (b *backend) readMetrics(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	// Only the node that may write knows the state of all accounts.
	if err := b.writable(); err != nil {
		return nil, err
	}
	families, err := b.metrics.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering the metrics failed: %w", err)
	}
	var text strings.Builder
	encoder := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, fmt.Errorf("encoding the metrics failed: %w", err)
		}
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode:  http.StatusOK,
		logical.HTTPContentType: metricsType,
		logical.HTTPRawBody:     text.String(),
	}}, nil
}
