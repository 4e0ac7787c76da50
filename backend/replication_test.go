package backend

import (
	"fmt"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// nodes are the places that a node can have in a cluster, and whether it may
// write to the mount's storage.
var nodes = []struct {
	name     string
	state    consts.ReplicationState
	local    bool
	writable bool
}{
	{"open source", consts.ReplicationUnknown, false, true},
	{"replication disabled", consts.ReplicationPerformanceDisabled | consts.ReplicationDRDisabled, false, true},
	{"performance primary", consts.ReplicationPerformancePrimary, false, true},
	{"performance primary, DR primary", consts.ReplicationPerformancePrimary | consts.ReplicationDRPrimary, false, true},
	{"performance secondary", consts.ReplicationPerformanceSecondary, false, false},
	{"performance secondary, local mount", consts.ReplicationPerformanceSecondary, true, true},
	{"performance standby", consts.ReplicationPerformanceStandby, false, false},
	{"performance standby, local mount", consts.ReplicationPerformanceStandby, true, false},
	{"performance standby of a secondary", consts.ReplicationPerformanceStandby | consts.ReplicationPerformanceSecondary, false, false},
	{"performance standby of a secondary, local mount", consts.ReplicationPerformanceStandby | consts.ReplicationPerformanceSecondary, true, false},
	{"DR secondary", consts.ReplicationDRSecondary, false, false},
	{"DR secondary, local mount", consts.ReplicationDRSecondary, true, false},
	{"performance primary, DR secondary", consts.ReplicationPerformancePrimary | consts.ReplicationDRSecondary, false, false},
}

func TestExchangesRunOnlyWhereTheNodeMayWrite(t *testing.T) {
	t.Parallel()
	for _, node := range nodes {
		t.Run(node.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.enrol()
				before := m.stored("account/acme")
				m.restart()
				m.system.become(node.state, node.local)
				if node.writable {
					m.want(m.read("token/acme"), 200)
					m.want(m.write("refresh/acme", nil), 200)
					m.wantPosts(2)
					return
				}
				for range 2 {
					m.wantReadOnly(m.read("token/acme"))
					m.wantReadOnly(m.do(logical.UpdateOperation, "token/acme", fields{"min_ttl": "1m"}))
					m.wantReadOnly(m.write("refresh/acme", nil))
				}
				m.wantPosts(0)
				if m.stored("account/acme") != before {
					t.Error("the account's entry has changed")
				}
				// What can be answered here is.
				m.wantData(m.want(m.read("accounts/acme"), 200), fields{"state": "new"})
				m.want(m.read("clients/default"), 200)
				m.want(m.read("config"), 200)
				m.want(m.list("accounts/", nil), 200)
				m.want(m.read("token/nobody"), 404)
			})
		})
	}
}

func TestLivingTokensAreServedOnEveryNode(t *testing.T) {
	t.Parallel()
	for _, node := range nodes {
		t.Run(node.name, func(t *testing.T) {
			t.Parallel()
			for _, cold := range []bool{false, true} {
				inBubble(t, func(_ *testing.T, m *mount) {
					m.enrol()
					token := m.want(m.read("token/acme"), 200).token()
					if cold {
						m.restart()
					}
					m.system.become(node.state, node.local)
					for range 2 {
						if m.want(m.read("token/acme"), 200).token() != token {
							t.Error("another token came")
						}
					}
					m.wantPosts(1)
					m.pass(481 * minute / 60)
					if a := m.read("token/acme"); a.readOnly == node.writable {
						t.Errorf("%s", a)
					}
				})
			}
		})
	}
}

func TestTroubleIsToldByTheNodeThatMayWrite(t *testing.T) {
	t.Parallel()
	for _, test := range troubles {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, m *mount) {
				m.enrol()
				m.pagero.set(test.behave)
				m.want(m.read("token/acme"), test.status)
				m.pagero.take()
				m.system.become(consts.ReplicationPerformanceStandby, false)
				m.wantReadOnly(m.read("token/acme"))
				m.wantReadOnly(m.write("refresh/acme", nil))
				m.wantPosts(0)
			})
		})
	}
}

// A node may step down at any moment between a request's arrival and its
// exchange.
func TestNodeThatStepsDownSendsNothing(t *testing.T) {
	t.Parallel()
	for path, questions := range map[string]int{
		"token/acme":   1, // in the flight
		"refresh/acme": 3, // the framework's, before the flight, in the flight
	} {
		for question := range questions {
			inBubble(t, func(_ *testing.T, m *mount) {
				m.enrol()
				m.system.stepDown(question + 1)
				m.wantReadOnly(m.do(logical.UpdateOperation, path, nil))
				m.wantPosts(0)
				m.system.become(consts.ReplicationPerformancePrimary, false)
				m.want(m.read("token/acme"), 200)
			})
		}
	}
}

func TestStandbyServesWhatTheActiveNodeWroteAfterAnInvalidation(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		old := m.want(m.read("token/acme"), 200).token()
		m.want(m.write("accounts/other", fields{"refresh_token": secondToken}), 204)

		active := m.backend
		standby := m.start(m.storage)
		m.backend = standby
		if m.want(m.read("token/acme"), 200).token() != old {
			t.Error("the standby has another token")
		}
		m.want(m.read("accounts/other"), 200)
		m.backend = active
		m.want(m.write("refresh/acme", nil), 200)
		now := m.want(m.read("token/acme"), 200).token()
		m.want(m.delete("accounts/other"), 204)

		m.backend = standby
		m.system.become(consts.ReplicationPerformanceStandby, false)
		for _, key := range []string{"client/default", "account/", "account/acm", "account/acme/x", "accounts/acme", "acme", ""} {
			m.InvalidateKey(t.Context(), key)
		}
		m.want(m.read("token/acme"), 200)
		m.InvalidateKey(t.Context(), "account/acme")
		if got := m.want(m.read("token/acme"), 200).token(); got != now {
			t.Errorf("the standby serves %s, the active node %s", got, now)
		}
		m.InvalidateKey(t.Context(), "account/other")
		m.want(m.read("accounts/other"), 404)
		m.want(m.read("token/other"), 404)
		m.stop()
		m.backend = active
	})
}

// readOnlyTexts are the forms in which logical.ErrReadOnly arrives from Vault.
var readOnlyTexts = []error{
	errReadOnlyText, logical.ErrReadOnly, fmt.Errorf("rpc error: code = Unknown desc = %w", errReadOnlyText),
}

func TestWritesToAReadOnlyStorageAreForwarded(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		if !op.writes() {
			continue
		}
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for _, text := range readOnlyTexts {
				inBubble(t, func(t *testing.T, m *mount) {
					op.prepare(m)
					before := m.view()
					m.storage.fail(fault{verb: put, err: text}, fault{verb: remove, err: text})
					m.wantReadOnly(op.do(m))
					m.wantReadOnly(op.do(m))
					m.storage.heal()
					m.wantPosts(0)
					if after := m.view(); after != before {
						t.Errorf("it has changed\n%s\nto\n%s", before, after)
					}
					if a := op.do(m); a.status >= 400 || a.readOnly {
						t.Errorf("where it can write: %s", a)
					}
				})
			}
		})
	}
}
