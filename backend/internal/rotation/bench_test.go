package rotation

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// usual is an account as most are: refreshed a minute ago, with a token of the size of Pagero's.
func usual(now time.Time) *account.Account {
	a, _, err := account.Change{RefreshToken: oauth.NewSecret(strings.Repeat("r", 43))}.Apply("acme", nil, now.Add(-time.Hour))
	if err != nil {
		panic(err)
	}
	issued := now.Add(-time.Minute)
	a.Access = &account.AccessToken{
		Token: oauth.NewSecret(strings.Repeat("a", 900)), Claims: "sub client_id", HasClaims: true,
		Issued: issued, Obtained: issued, Expires: issued.Add(600 * time.Second),
	}
	a.LastRefresh, a.RefreshCount, a.Grants[0].LastExchange = issued, 100, issued
	return a
}

func BenchmarkDecide(b *testing.B) {
	now := clock()
	a, c := usual(now), account.Conditions{Now: now, Process: "process", MinTTL: 2 * time.Minute}
	b.ReportAllocs()
	for b.Loop() {
		if d := account.Decide(a, c, account.ReadRequest{}); d.Action != account.Serve {
			b.Fatalf("%+v", d)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	a := usual(clock())
	b.ReportAllocs()
	for b.Loop() {
		if len(account.Encode(a)) == 0 {
			b.Fatal("nothing")
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	entry := account.Encode(usual(clock()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := account.Decode(entry); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCached is the way of nearly every read, less Vault's request and response.
func BenchmarkCached(b *testing.B) {
	settings := Settings{MinTTL: 2 * time.Minute, ExchangeTimeout: 15 * time.Second}
	m := NewManager(Options{
		Storage: newMemory(), Settings: func(context.Context) (Settings, error) { return settings, nil },
		Now: clock, Process: "process", Logger: hclog.NewNullLogger(),
	})
	m.cache.findOrMake("acme").publish(usual(clock()))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := m.Cached("acme", settings, account.ReadRequest{}); !ok {
			b.Fatal("it does not come from memory")
		}
	}
}
