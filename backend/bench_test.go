package backend

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
)

// benchmarkRequests repeats one request for an account, through the way that a request takes.
func benchmarkRequests(b *testing.B, op logical.Operation, path string, posts func(requests int) int) {
	b.Helper()
	server := &pagero{spent: map[string]bool{}, busy: map[string]bool{}}
	engine, err := newBackend(b.Context(), &logical.BackendConfig{
		StorageView: &logical.InmemStorage{}, System: &system{}, Logger: hclog.NewNullLogger(),
	}, dependencies{exchanger: server, process: "process", jitter: func() float64 { return 0.5 }})
	if err != nil {
		b.Fatal(err)
	}
	do := func(op logical.Operation, path string, data fields) *logical.Response {
		resp, err := engine.HandleRequest(b.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: engine.config.storage.vault})
		if err != nil || resp.IsError() {
			b.Fatalf("%s %s: %v, %v", op, path, resp, err)
		}
		return resp
	}
	do(logical.CreateOperation, "clients/default", fields{"client_id": "id", "client_secret": clientSecret})
	do(logical.CreateOperation, "accounts/acme", fields{"refresh_token": firstToken})
	do(logical.ReadOperation, "token/acme", nil)
	server.take()
	requests := 0
	b.ReportAllocs()
	for b.Loop() {
		do(op, path, nil)
		requests++
	}
	if n := len(server.take()); n != posts(requests) {
		b.Fatalf("%d requests ran %d exchanges", requests, n)
	}
}

// BenchmarkCachedToken is a read that is answered from memory.
func BenchmarkCachedToken(b *testing.B) {
	benchmarkRequests(b, logical.ReadOperation, "token/acme", func(int) int { return 0 })
}

// BenchmarkRefresh is a request that runs an exchange, with a server and a storage that take no
// time.
func BenchmarkRefresh(b *testing.B) {
	benchmarkRequests(b, logical.UpdateOperation, "refresh/acme", func(requests int) int { return requests })
}
