package backend

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

var defaultSettings = fields{
	"allowed_hosts": []string{"*.pageroonline.com"}, "min_ttl": 120, "exchange_timeout": 15, "authorization_lifetime": 26280 * 3600,
	"keepalive_interval": 720 * 3600, "max_exchanges": 128, "background_rate": 50,
}

func TestConfigHasDefaultsWhereNothingWasWritten(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		a := m.want(m.read("config"), 200)
		m.wantData(a, defaultSettings)
		if len(a.data) != len(defaultSettings) {
			t.Errorf("the settings are %v", a.data)
		}
		for _, field := range []string{"min_ttl", "exchange_timeout", "authorization_lifetime", "keepalive_interval"} {
			if _, ok := a.data[field].(int64); !ok {
				t.Errorf("%s is a %T, not whole seconds", field, a.data[field])
			}
		}
	})
}

func TestConfigWriteChangesWhatIsGivenOnly(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		want := maps.Clone(defaultSettings)
		for _, step := range []struct {
			field string
			value any
			shown any
		}{
			{"min_ttl", "90s", 90},
			{"min_ttl", 0, 0},
			{"min_ttl", "3m", 180},
			{"exchange_timeout", "20s", 20},
			{"exchange_timeout", 60, 60},
			{"exchange_timeout", "1", 1},
			{"authorization_lifetime", "0", 0},
			{"authorization_lifetime", "8760h", 8760 * 3600},
			{"keepalive_interval", "24h", 24 * 3600},
			{"allowed_hosts", "A.example, *.B.example.,[::1]", []string{"a.example", "*.b.example", "::1"}},
			{"max_exchanges", 1, 1},
			{"max_exchanges", "10000", 10000},
			{"background_rate", 1, 1},
			{"background_rate", 2000, 2000},
			{"allowed_hosts", []string{"c.example"}, []string{"c.example"}},
		} {
			m.want(m.write("config", fields{step.field: step.value}), 204)
			want[step.field] = step.shown
			m.wantData(m.want(m.read("config"), 200), want)
		}
		m.restart()
		m.wantData(m.want(m.read("config"), 200), want)
		m.want(m.write("config", nil), 204)
		m.wantData(m.read("config"), want)
	})
}

func TestConfigRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		field string
		value any
	}{
		{"exchange_timeout", 0},
		{"exchange_timeout", "999ms"},
		{"exchange_timeout", "61s"},
		{"exchange_timeout", -1},
		{"exchange_timeout", "soon"},
		{"min_ttl", -1},
		{"min_ttl", "soon"},
		{"authorization_lifetime", "-1h"},
		{"authorization_lifetime", []string{"1h"}},
		{"allowed_hosts", ""},
		{"allowed_hosts", []string{}},
		{"allowed_hosts", nil},
		{"allowed_hosts", []string{"good.example", "https://bad.example"}},
		{"allowed_hosts", "*"},
		{"allowed_hosts", "bad.example:443"},
		{"allowed_host", "typo.example"},
		{"keepalive_interval", "59s"},
		{"keepalive_interval", "-1h"},
		{"keepalive_interval", "soon"},
		{"max_exchanges", 0},
		{"max_exchanges", -1},
		{"max_exchanges", 10001},
		{"max_exchanges", "many"},
		{"background_rate", 0},
		{"background_rate", -1},
		{"background_rate", "fast"},
		{"name", "x"},
	} {
		t.Run(fmt.Sprintf("%s=%v", test.field, test.value), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, m *mount) {
				m.want(m.write("config", fields{test.field: test.value}), 400, test.field)
				m.wantData(m.read("config"), defaultSettings)
				m.restart()
				m.wantData(m.read("config"), defaultSettings)
			})
		})
	}
}

func TestConfigDeleteBringsBackTheDefaults(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("config", fields{"min_ttl": "3m", "allowed_hosts": "a.example"}), 204)
		m.wantData(m.read("config"), fields{"min_ttl": 180}) // it is in memory now
		m.want(m.delete("config"), 204)
		m.wantData(m.read("config"), defaultSettings)
		m.want(m.delete("config"), 204)
		if m.stored(configKey) != "" {
			t.Error("the entry is still there")
		}
		m.want(m.read("clients/default"), 200)
		m.want(m.read("token/acme"), 200)
	})
}

func TestConfigIsReadAgainAfterAnInvalidation(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.wantData(m.read("config"), defaultSettings)
		m.wantData(m.read("config"), defaultSettings)

		// Another node writes.
		here := m.backend
		m.backend = m.start(m.storage)
		m.want(m.write("config", fields{"min_ttl": "3m"}), 204)
		m.stop()
		m.backend = here

		m.wantData(m.read("config"), defaultSettings)
		m.InvalidateKey(t.Context(), configKey)
		m.wantData(m.read("config"), fields{"min_ttl": 180})
	})
}

func TestConfigIsReadFromTheStorageOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.read("config")
		before := m.storage.count()
		m.read("config")
		if n := m.storage.count() - before; n != 0 {
			t.Errorf("a second read took %d storage operations", n)
		}
	})
}

// A read of config that began before a write must not put the old settings in
// memory after it.
func TestConfigReadThatIsOvertakenByAWriteIsNotKept(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		slow := &overtaken{faultyStorage: m.storage}
		m.backend = m.start(slow)
		slow.between = func() {
			m.want(m.write("config", fields{"min_ttl": "3m"}), 204)
		}
		m.read("config")
		m.wantData(m.read("config"), fields{"min_ttl": 180})
	})
}

// The old settings must not even be used for a moment, because a writer that found
// them in memory would write them back.
func TestConfigOfBeforeAWriteCountsForNothingInMemory(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.read("config")
		old := m.config.latest.Load()
		m.want(m.write("config", fields{"min_ttl": "3m"}), 204)
		m.config.latest.Store(old)
		m.want(m.write("config", fields{"exchange_timeout": "20s"}), 204)
		m.wantData(m.read("config"), fields{"min_ttl": 180, "exchange_timeout": 20})
	})
}

// overtaken is a storage in which something happens between the first Get and
// its return.
type overtaken struct {
	*faultyStorage
	between func()
}

func (s *overtaken) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	entry, err := s.faultyStorage.Get(ctx, key)
	if between := s.between; between != nil {
		s.between = nil
		between()
	}
	return entry, err
}

func TestConfigWritesAtOnceAreAllKept(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		for range 20 {
			m.want(m.delete("config"), 204)
			var writers sync.WaitGroup
			for _, change := range []fields{
				{"min_ttl": 1}, {"exchange_timeout": 2}, {"authorization_lifetime": 3}, {"allowed_hosts": "four.example"},
			} {
				writers.Go(func() { m.do(logical.UpdateOperation, "config", change) })
			}
			writers.Wait()
			m.wantData(m.read("config"), fields{
				"min_ttl": 1, "exchange_timeout": 2, "authorization_lifetime": 3, "allowed_hosts": []string{"four.example"},
			})
		}
	})
}

func TestConfigOfANewerPluginIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{`{"version":2,"min_ttl_seconds":1}`, `{"min_ttl_seconds":1}`, `{`, `[]`} {
		t.Run(entry, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				if err := m.storage.Put(t.Context(), entryOf(configKey, entry)); err != nil {
					t.Fatal(err)
				}
				m.want(m.read("config"), 500, "config")
				m.want(m.write("config", fields{"min_ttl": 1}), 500, "config")
				if strings.TrimSpace(m.stored(configKey)) != entry {
					t.Errorf("the entry became %s", m.stored(configKey))
				}
			})
		})
	}
}

func TestMaxExchangesBoundsTheExchangesInProgress(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/beta", fields{"refresh_token": "rt-" + canary + "-beta"}), 204)
		m.want(m.write("config", fields{"max_exchanges": 1}), 204)
		m.pagero.answersAfter(5 * time.Second)
		began := time.Now()
		var readers sync.WaitGroup
		for _, name := range []string{"acme", "beta"} {
			readers.Go(func() {
				if a := m.read("token/" + name); a.status != 200 {
					t.Errorf("%s", a)
				}
			})
		}
		readers.Wait()
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("two exchanges of 5 s took %s", took)
		}
	})
}

func TestBackgroundRateBoundsWhatThePluginBeginsByItself(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		for i := range 20 {
			m.want(m.write(fmt.Sprintf("accounts/auto%d", i), fields{"refresh_token": fmt.Sprintf("rt-%s-auto%d", canary, i), "auto_refresh": true}), 204)
		}
		m.want(m.write("config", fields{"background_rate": 2}), 204)
		m.restart() // all are due
		if err := m.periodic(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		m.pass(5*time.Second + time.Millisecond)
		if n := len(m.pagero.take()); n < 10 || n > 12 {
			t.Errorf("%d exchanges in 5 s", n)
		}
	})
}
