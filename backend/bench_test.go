package backend

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
)

// benchmarkReads reads an account's token again and again, through the way that a request takes.
func benchmarkReads(b *testing.B, account fields, posts func(reads int) int) {
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
	do(logical.CreateOperation, "accounts/acme", account)
	do(logical.ReadOperation, "token/acme", nil)
	server.take()
	reads := 0
	b.ReportAllocs()
	for b.Loop() {
		do(logical.ReadOperation, "token/acme", nil)
		reads++
	}
	if n := len(server.take()); n != posts(reads) {
		b.Fatalf("%d reads ran %d exchanges", reads, n)
	}
}

// BenchmarkCachedToken is a read that is answered from memory.
func BenchmarkCachedToken(b *testing.B) {
	benchmarkReads(b, fields{"refresh_token": firstToken}, func(int) int { return 0 })
}

// BenchmarkExchangedToken is a read that runs an exchange, with a server and a storage that take no
// time.
func BenchmarkExchangedToken(b *testing.B) {
	benchmarkReads(b, fields{"refresh_token": firstToken, "refresh_on_read": true}, func(reads int) int { return reads })
}
