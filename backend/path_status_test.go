package backend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestStatusTellsHowTheAccountsAre(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.wantData(m.want(m.read("status"), 200), fields{"complete": false, "accounts": 0, "version": Version})
		m.enrol()
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 204)
		m.want(m.write("accounts/beta", fields{"refresh_token": "rt-" + canary + "-beta"}), 204)
		m.want(m.read("token/acme"), 200)
		m.pagero.set(isDead)
		m.want(m.read("token/beta"), 400)
		want := fields{
			"accounts": 2, "unsaved": 0, "complete": true,
			"states": map[string]any{"new": 0, "ready": 1, "failing": 0, "in_doubt": 0, "reauthorization_required": 1},
			"spares": map[string]any{"none": 1, "ready": 1, "used": 0},
			"ending": map[string]any{}, "clients": []any{},
		}
		check := func() {
			t.Helper()
			m.tended(2 * minute)
			a := m.want(m.read("status"), 200)
			m.wantData(a, want)
			attention, _ := a.data["attention"].([]any)
			if len(attention) != 1 {
				t.Fatalf("%s", a)
			}
			p, _ := attention[0].(map[string]any)
			what, _ := p["error"].(string)
			remedy, _ := p["remedy"].(string)
			if p["account"] != "beta" || p["state"] != "reauthorization_required" || p["since"] != bubbleStart ||
				!strings.Contains(what, "invalid_grant") || !strings.HasSuffix(remedy, "vault write pagero/authorize/beta spare=true ttl=12h") {
				t.Errorf("%v", p)
			}
		}
		check()
		m.restart()
		check()
		want["ending"] = map[string]any{"acme": "2000-01-03T00:00:00Z"}
		m.want(m.write("config", fields{"authorization_lifetime": "48h"}), 204)
		check()
	})
}

func TestStatusIsToldByTheNodeThatMayWrite(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.system.become(consts.ReplicationPerformanceStandby, false)
		m.wantReadOnly(m.read("status"))
		m.tended(3 * minute)
		m.wantPosts(0)
	})
}

// attention returns the accounts that need a person, by name.
func (m *mount) attention() map[string]map[string]any {
	m.t.Helper()
	all := map[string]map[string]any{}
	list, _ := m.want(m.read("status"), 200).data["attention"].([]any)
	for _, p := range list {
		problem, _ := p.(map[string]any)
		name, _ := problem["account"].(string)
		all[name] = problem
	}
	return all
}

// Whatever keeps an account from working for long is in the list, with a command.
func TestAttentionListsWhatHasNotWorkedForLong(t *testing.T) {
	t.Parallel()
	const token = "rt-" + canary + "-"
	for name, test := range map[string]struct {
		prepare func(m *mount)
		after   time.Duration // until it is listed; up to a minute more for the scan
		error   string
		remedy  string
	}{
		"the server is not reached, and no token lives": {
			func(m *mount) { m.pagero.set(isUnreachable) }, 10 * minute, "cannot be reached", "vault write -f pagero/refresh/acme",
		},
		"the server is not reached, and a token lives": {
			func(m *mount) {
				m.want(m.read("token/acme"), 200)
				m.pagero.set(isUnreachable)
			}, 20 * minute, "cannot be reached", "vault write -f pagero/refresh/acme",
		},
		"no answer comes": {
			func(m *mount) { m.pagero.set(isSilent) }, 10 * minute, "exchange_timeout", "vault write -f pagero/refresh/acme",
		},
		"the client is refused": {
			func(m *mount) { m.pagero.set(rejects(oauth.CodeInvalidClient, 401)) }, 0, "invalid_client", "vault write pagero/clients/default client_id=",
		},
		"the client is missing": {
			func(m *mount) { m.want(m.delete("clients/default"), 204) }, 0, `client "default" does not exist`, "vault read pagero/clients/default",
		},
		"the client's host is not allowed": {
			func(m *mount) { m.want(m.write("config", fields{"allowed_hosts": "other.example"}), 204) }, 0, "allowed_hosts", "vault read pagero/config",
		},
		"the entry is not readable": {
			func(m *mount) {
				m.stop()
				if err := m.storage.Put(m.t.Context(), entryOf("account/acme", `{"version":99}`)); err != nil {
					m.t.Fatal(err)
				}
				m.backend = m.start(m.storage)
			}, 0, "version", "see the error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.want(m.write("clients/default", minimalClient), 204)
				m.want(m.write("accounts/acme", fields{"refresh_token": token + "acme", "auto_refresh": true}), 204)
				test.prepare(m)
				began := time.Now()
				for m.attention()["acme"] == nil && time.Since(began) < 2*time.Hour {
					m.tended(minute)
				}
				if took := time.Since(began); took < test.after || took > test.after+2*minute {
					t.Errorf("it is listed after %s", took)
				}
				p := m.attention()["acme"]
				what, _ := p["error"].(string)
				remedy, _ := p["remedy"].(string)
				if !strings.Contains(what, test.error) || !strings.Contains(remedy, test.remedy) || strings.Contains(remedy, "<mount>") {
					t.Errorf("%v", p)
				}
			})
		})
	}
}

func TestStatusListsTheClientsThatAreHeldBack(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		for _, name := range []string{"second", "elsewhere"} {
			client := with(minimalClient, fields{"redirect_uris": redirectURI})
			if name == "elsewhere" {
				client["token_url"] = "https://test.pageroonline.com/oauth/v2/oauth-token"
			}
			m.want(m.write("clients/"+name, client), 204)
			m.want(m.write("accounts/"+name, fields{"client": name, "refresh_token": "rt-" + canary + "-" + name}), 204)
			m.want(m.read("token/"+name), 200)
		}
		m.pagero.set(isGarbled)
		m.pagero.probesAre(isGarbled)
		m.want(m.read("token/acme"), 503, "not JSON")
		m.pass(2 * time.Second) // the first probe fails
		held := func(name string) map[string]any {
			return map[string]any{
				"client": name, "endpoint": "sso.pageroonline.com", "reason": "the answer (HTTP status 200) is not JSON", "next_probe_time": "2000-01-01T00:00:03Z",
			}
		}
		m.wantData(m.want(m.read("status"), 200), fields{"clients": []any{held("default"), held("second")}})

		// A readable probe opens the gate for one exchange at a time, and a success for all.
		m.pagero.set(nil)
		m.pagero.probesAre(nil)
		m.pass(2 * time.Second)
		trying := held("default")
		delete(trying, "next_probe_time")
		clients, _ := m.read("status").data["clients"].([]any)
		if len(clients) != 2 || fmt.Sprint(clients[0]) != fmt.Sprint(trying) {
			t.Errorf("the clients are %v", clients)
		}
		m.want(m.read("token/acme"), 200)
		m.wantData(m.read("status"), fields{"clients": []any{}})
	})
}

func TestStatusTellsOfAClockThatDiffers(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		for _, test := range []struct {
			ahead time.Duration
			want  any
		}{{30 * time.Second, nil}, {90 * time.Second, int64(90)}, {-2 * time.Hour, int64(-7199)}, {0, nil}} {
			m.pagero.set(func(sent post) oauth.Result {
				r := m.pagero.grant(sent)
				r.Date = now().Add(test.ahead).Truncate(time.Second)
				return r
			})
			m.want(m.write("refresh/acme", nil), 200)
			if got := m.want(m.read("status"), 200).data["clock_skew"]; got != test.want {
				t.Errorf("with a server that is %s ahead it is %v", test.ahead, got)
			}
		}
	})
}

func TestStatusTellsHowTheBackgroundKeepsUp(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.want(m.write("clients/default", minimalClient), 204)
		for i := range 30 {
			m.want(m.write(fmt.Sprintf("accounts/auto%d", i), fields{"refresh_token": fmt.Sprintf("rt-%s-auto%d", canary, i), "auto_refresh": true}), 204)
		}
		background := func() map[string]any {
			all, _ := m.want(m.read("status"), 200).data["background"].(map[string]any)
			return all
		}
		m.want(m.write("config", fields{"background_rate": 1, "keepalive_interval": 0}), 204)
		m.restart()
		if err := m.Initialize(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		m.pass(10*time.Second + time.Millisecond)
		if b := background(); b["rate"] != 1 || b["lag_seconds"] != int64(10) {
			t.Errorf("while it does not keep up: %v", b)
		}
		m.tended(2 * minute)
		// 30 accounts, each less than 480 s apart.
		if b := background(); b["lag_seconds"] != int64(0) || b["due_per_second"].(float64) < 0.062 || b["due_per_second"].(float64) > 0.072 {
			t.Errorf("while it keeps up: %v", b)
		}
	})
}
