package backend

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry/entrytest"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestFactoryMakesABackendThatWorks(t *testing.T) {
	t.Parallel()
	b, err := Factory(t.Context(), &logical.BackendConfig{
		StorageView: &logical.InmemStorage{}, System: &system{}, Logger: hclog.NewNullLogger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	engine, ok := b.(*backend)
	if !ok {
		t.Fatalf("it is a %T", b)
	}
	defer engine.Cleanup(t.Context())
	if b.Type() != logical.TypeLogical {
		t.Errorf("its type is %s", b.Type())
	}
	if v := engine.PluginVersion().Version; v != Version || !strings.HasPrefix(v, "v") {
		t.Errorf("its version is %q", v)
	}
	resp, err := b.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "config"})
	if err != nil || resp.IsError() {
		t.Errorf("%v %v", resp, err)
	}
}

// Vault calls the Factory while nothing can be written, and the storage may not even be
// readable.
func TestStartAsksTheStorageNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		if n := m.storage.count(); n != 0 {
			t.Errorf("it took %d storage operations", n)
		}
	})
}

func TestCleanupWaitsForTheExchangeUnderWay(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.pagero.answersAfter(10 * time.Second)
		read := make(chan answer)
		go func() { read <- m.read("token/acme") }()
		m.pass(time.Second)
		m.stop()
		a := <-read
		if a.status != 200 {
			t.Errorf("%s", a)
		}
		m.want(m.write("refresh/acme", nil), 503, "being stopped")
		m.wantPosts(1)
		m.backend = m.start(m.storage)
		if m.want(m.read("token/acme"), 200).token() != a.token() {
			t.Error("the result was not saved")
		}
	})
}

// A Cleanup waits for the exchange_timeout and 10 s more, for the writes before and
// after the exchange.
func TestCleanupDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		timeout string
		want    time.Duration
	}{{"", 25 * time.Second}, {"30s", 40 * time.Second}} {
		inBubble(t, func(t *testing.T, m *mount) {
			m.enrol()
			if test.timeout != "" {
				m.want(m.write("config", fields{"exchange_timeout": test.timeout}), 204)
			}
			m.storage.fail(fault{verb: put, key: "account/", skip: 1})
			m.wantWarning(m.want(m.read("token/acme"), 200), "not saved yet")
			began := time.Now()
			m.stop()
			if took := time.Since(began); took != test.want {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestExchangeEndsWithTheExchangeTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("config", fields{"exchange_timeout": "3s"}), 204)
		m.pagero.answersAfter(time.Hour)
		began := time.Now()
		m.want(m.read("token/acme"), 503, "in doubt")
		if took := time.Since(began); took < 7*time.Second || took > 8*time.Second { // twice, with 1 to 2 s between
			t.Errorf("it took %s", took)
		}
		m.wantPosts(2)
	})
}

func TestUnknownNamesLeaveNothingInMemory(t *testing.T) {
	// Not parallel: it measures the heap.
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		const (
			count = 10_000
			size  = 240 // names are bounded
		)
		for round := range 2 { // the first warms everything up
			before := heap()
			for i := range count {
				name := fmt.Sprintf("%d-%d-%s", round, i, strings.Repeat("x", size))
				for _, req := range []*logical.Request{
					{Operation: logical.ReadOperation, Path: "token/" + name},
					{Operation: logical.UpdateOperation, Path: "refresh/" + name},
					{Operation: logical.ReadOperation, Path: "accounts/" + name},
				} {
					if _, err := m.HandleRequest(t.Context(), req); err == nil {
						t.Fatalf("%s exists", req.Path)
					}
				}
			}
			if grown := heap() - before; round > 0 && grown > count*size/2 {
				t.Errorf("%d unknown names have left %d bytes", count, grown)
			}
		}
	})
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestStoredFormsAreAsInTheGoldenFiles(t *testing.T) {
	t.Parallel()
	entrytest.Golden(t, entrytest.Kind{
		Name: "config", Newest: configVersion, Form: storedConfig{},
		Recode: func(value []byte) ([]byte, error) {
			form := defaultConfig().stored()
			if err := entry.Decode(value, configVersion, form); err != nil {
				return nil, err
			}
			return entry.Encode(configVersion, form.config().stored())
		},
	})
	entrytest.Golden(t, entrytest.Kind{
		Name: "client", Newest: clientVersion, Form: storedClient{},
		Recode: func(value []byte) ([]byte, error) {
			var form storedClient
			if err := entry.Decode(value, clientVersion, &form); err != nil {
				return nil, err
			}
			return entry.Encode(clientVersion, form.client().stored())
		},
	})
}

func TestEntriesOfVersion1AreRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		for key, file := range map[string]string{"config": "config-v1.json", "client/default": "client-v1.json"} {
			text, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.storage.Put(t.Context(), entryOf(key, string(text))); err != nil {
				t.Fatal(err)
			}
		}
		m.wantData(m.want(m.read("config"), 200), fields{
			"allowed_hosts": []string{"*.pageroonline.com", "localhost"}, "min_ttl": 90, "exchange_timeout": 20, "keepalive_interval": 2592000,
			"authorization_lifetime": 94608000, "max_exchanges": 64, "background_rate": 20,
		})
		m.wantData(m.want(m.read("clients/default"), 200), fields{
			"client_id": "our-app", "client_secret_set": true, "auth_method": "client_secret_post",
			"token_url":     "http://localhost:9000/oauth/v2/oauth-token",
			"authorize_url": "http://localhost:9000/oauth/v2/oauth-authorize",
			"revoke_url":    "http://localhost:9000/oauth/v2/oauth-revoke",
			"redirect_uris": []string{"https://vault.example/cb"}, "scopes": []string{"one", "two"}, "issuer": "http://localhost:9000",
			"ca_cert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		})
		m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 204)
		m.pagero.knows(clientSecret)
		m.want(m.read("token/acme"), 200)
		m.wantSecrets(newSecret, clientSecret)
	})
}

func TestClientRevisionChangesWithEveryWrite(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		seen := map[string]bool{}
		for range 3 {
			m.want(m.write("clients/default", minimalClient), 204)
			c, err := m.clients.load(t.Context(), "default")
			if err != nil {
				t.Fatal(err)
			}
			seen[c.Revision] = true
		}
		if len(seen) != 3 {
			t.Errorf("there are %d revisions", len(seen))
		}
	})
}

// A failure of Pagero's that lasts does not become a flood of exchanges.
func TestAnAccountThatFailsIsTriedRarely(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.pagero.set(func(post) oauth.Result { return isUnreachable(post{}) })
		for range 3600 {
			m.read("token/acme")
			m.pass(time.Second)
		}
		if n := len(m.pagero.take()); n < 60 || n > 150 {
			t.Errorf("%d exchanges in an hour", n)
		}
	})
}
