package backend

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/consts"
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
			"ending": map[string]any{},
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
				!strings.Contains(what, "invalid_grant") || !strings.Contains(remedy, "authorize/beta") {
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
