package backend

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestTokenAnswerHasTheTypesThatItsReadersNeed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.pass(minute)
		for range 2 { // by an exchange, from memory
			a := m.want(m.read("token/acme"), 200)
			text, err := json.Marshal(a.data)
			if err != nil {
				t.Fatal(err)
			}
			// Integers crash nobody, strings crash Vault Agent.
			want := `{"access_token":"at-` + canary + `-1","expire_time":"2000-01-01T00:11:00Z","last_vault_rotation":"2000-01-01T00:01:00Z",` +
				`"rotation_period":480,"scope":"","token_type":"Bearer","ttl":480}`
			if string(text) != want {
				t.Errorf("the answer is %s", text)
			}
			for _, field := range []string{"ttl", "rotation_period"} {
				if _, ok := a.data[field].(int64); !ok {
					t.Errorf("%s is a %T", field, a.data[field])
				}
			}
			m.wantNoWarning(a)
		}
		m.wantPosts(1)
	})
}

func TestTokenAnswerHasNoLease(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		for range 2 {
			resp, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "token/acme"})
			if err != nil || resp.Secret != nil || resp.Auth != nil || resp.WrapInfo != nil {
				t.Errorf("%v %v", resp, err)
			}
		}
	})
}

// Vault Secrets Operator restarts workloads when any field but ttl changes.
func TestTokenAnswersDifferInTTLOnlyForOneToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		first := m.want(m.read("token/acme"), 200)
		for step := range 7 {
			m.pass(480 * time.Second / 7)
			if step > 3 {
				m.restart() // neither memory nor its process makes a difference
			}
			next := m.want(m.read("token/acme"), 200)
			if next.data["ttl"].(int64) >= first.data["ttl"].(int64) {
				t.Errorf("ttl does not fall: %s", next)
			}
			for field := range maps.Keys(first.data) {
				if field != "ttl" && next.data[field] != first.data[field] {
					t.Errorf("%s became %v", field, next.data[field])
				}
			}
			if len(next.data) != len(first.data) {
				t.Errorf("the answer became %s", next)
			}
		}
		m.wantPosts(1)
	})
}

// Vault Agent and consul-template come back ttl and one second later.
func TestTokenReadOneSecondAfterItsTTLGivesAnotherToken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		expiresIn, minTTL, slow, ttl, period time.Duration
	}{
		{600 * time.Second, 2 * minute, 0, 480 * time.Second, 480 * time.Second},
		{600 * time.Second, 30 * time.Second, 0, 570 * time.Second, 570 * time.Second},
		{600 * time.Second, time.Hour, 0, 300 * time.Second, 300 * time.Second},
		{240 * time.Second, 2 * minute, 0, 120 * time.Second, 120 * time.Second},
		{60 * time.Second, 2 * minute, 0, 30 * time.Second, 30 * time.Second},
		{24 * time.Hour, 2 * minute, 0, 86280 * time.Second, 86280 * time.Second},
		{5 * time.Second, 2 * minute, 0, 3 * time.Second, 3 * time.Second},
		{2 * time.Second, 2 * minute, 0, time.Second, time.Second},
		{time.Second, 2 * minute, 0, time.Second, time.Second},
		// A token's life counts from the moment before the request was sent.
		{600 * time.Second, 2 * minute, 2500 * time.Millisecond, 478 * time.Second, 480 * time.Second},
		{600 * time.Second, 2 * minute, time.Millisecond, 480 * time.Second, 480 * time.Second},
	} {
		t.Run(fmt.Sprintf("%s,min_ttl=%s,slow=%s", test.expiresIn, test.minTTL, test.slow), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.enrol()
				m.want(m.write("config", fields{"min_ttl": test.minTTL.String()}), 204)
				m.pagero.set(func(sent post) oauth.Result { return m.pagero.grantFor(sent, test.expiresIn) })
				m.pagero.answersAfter(test.slow)
				before := m.want(m.read("token/acme"), 200)
				m.wantData(before, fields{"ttl": int(test.ttl.Seconds()), "rotation_period": int(test.period.Seconds())})
				m.pagero.answersAfter(0)
				if test.ttl > time.Second {
					m.pass(test.ttl - time.Second)
					if m.read("token/acme").token() != before.token() {
						t.Error("another token came before ttl was over")
					}
					m.pass(time.Second)
				} else {
					m.pass(test.ttl)
				}
				m.pass(time.Second)
				if a := m.want(m.read("token/acme"), 200); a.token() == before.token() {
					t.Errorf("the same token came after ttl was over: %s", a)
				}
			})
		})
	}
}

func TestTokenMinTTLOfTheRequestAccountAndMount(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                    string
		mount, account, request any // nil: not given
		remaining               time.Duration
		refreshed               bool
		warning                 string
	}{
		{"the mount's, enough", "2m", nil, nil, 120 * time.Second, false, ""},
		{"the mount's, too little", "2m", nil, nil, 119 * time.Second, true, ""},
		{"the account's wins over a larger one of the mount", "5m", "1m", nil, 61 * time.Second, false, ""},
		{"the account's wins over a smaller one of the mount", "1m", "4m", nil, 239 * time.Second, true, ""},
		{"0 of the account is the mount's", "3m", 0, nil, 179 * time.Second, true, ""},
		{"the request's where it is larger", "1m", "2m", "4m", 239 * time.Second, true, ""},
		{"the request's as a number", "1m", "2m", 240, 239 * time.Second, true, ""},
		{"the request's as digits", "1m", "2m", "240", 241 * time.Second, false, ""},
		{"a smaller one of the request counts for nothing", "1m", "3m", "1s", 179 * time.Second, true, ""},
		{"null is none", "2m", nil, "null", 121 * time.Second, false, ""},
		{"half of the lifetime is the most, from the request", "2m", nil, "10m", 301 * time.Second, false, "5m0s instead of 10m0s"},
		{"half of the lifetime is the most, from the account", "2m", "10h", nil, 301 * time.Second, false, ""},
		{"half of the lifetime is the most, from the mount", "10h", nil, nil, 301 * time.Second, false, ""},
		{"half of the lifetime, reached", "2m", nil, "10h", 299 * time.Second, true, "5m0s instead of 10h0m0s"},
		{"exactly half of the lifetime is no reason to warn", "2m", nil, "5m", 301 * time.Second, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
				inBubble(t, func(t *testing.T, m *mount) {
					m.enrol()
					m.want(m.write("config", fields{"min_ttl": test.mount}), 204)
					if test.account != nil {
						m.want(m.write("accounts/acme", fields{"min_ttl": test.account}), 204)
					}
					token := m.want(m.read("token/acme"), 200).token()
					m.pass(600*time.Second - test.remaining)
					data := fields{"min_ttl": test.request}
					switch test.request {
					case nil:
						data = nil
					case "null":
						data = fields{"min_ttl": nil}
					}
					a := m.want(m.do(op, "token/acme", data), 200)
					if refreshed := a.token() != token; refreshed != test.refreshed {
						t.Errorf("refreshed is %v: %s", refreshed, a)
					}
					if test.warning == "" {
						m.wantNoWarning(a)
					} else {
						m.wantWarning(a, test.warning)
					}
				})
			}
		})
	}
}

func TestTokenRefusesFieldsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		for range 2 { // with nothing in memory, and with a token there
			m.want(m.write("token/acme", fields{"min_tll": "1m"}), 400, "min_tll", "min_ttl")
			m.want(m.write("token/acme", fields{"min_ttl": "1m", "x": 1}), 400, `"x"`)
			for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
				m.want(m.do(op, "token/acme", fields{"min_ttl": -1}), 400, "min_ttl")
				m.want(m.do(op, "token/acme", fields{"min_ttl": "soon"}), 400, "min_ttl")
			}
			m.want(m.read("token/acme"), 200)
		}
		m.wantPosts(1)
	})
}

// Bank-Vaults adds "version=-1" to the query of every read, whatever the engine.
func TestTokenReadIgnoresUnknownParametersOfItsQuery(t *testing.T) {
	t.Parallel()
	many := fields{"version": "-1", "min_ttl": "1m", "rt-" + strings.Repeat("long", 20): canary, "line\nbreak": canary}
	for i := range 10 {
		many[fmt.Sprintf("x%d", i)] = canary
	}
	for _, test := range []struct {
		query fields
		want  string
	}{
		{fields{"version": "-1"}, `unknown parameters are ignored: "version"; this path knows: min_ttl, name`},
		{fields{"version": []string{"-1", canary}}, `ignored: "version";`},
		{fields{"version": canary, "min_ttl": "1m"}, `ignored: "version";`},
		{many, `ignored: "version", "x0", "x1", "x2", "x3" (and 8 more);`},
	} {
		inBubble(t, func(t *testing.T, m *mount) {
			m.enrol()
			token := ""
			for _, where := range []string{"through the framework", "from memory", "by an exchange that is shared", "from the storage"} {
				switch where {
				case "by an exchange that is shared":
					m.pass(9 * minute)
					token = ""
				case "from the storage":
					m.restart()
				}
				a := m.want(m.do(logical.ReadOperation, "token/acme", test.query), 200)
				if len(a.warnings) != 1 || !strings.Contains(a.warnings[0], test.want) || len(a.warnings[0]) > 300 {
					t.Errorf("%s the warnings are %q", where, a.warnings)
				}
				if a.token() == "" || token != "" && a.token() != token {
					t.Errorf("%s the token is %q", where, a.token())
				}
				token = a.token()
			}
			m.want(m.do(logical.ReadOperation, "token/nobody", test.query), 404, "does not exist")
			m.want(m.do(logical.ReadOperation, "token/acme", with(test.query, fields{"min_ttl": "soon"})), 400, "min_ttl must be")
			m.want(m.write("token/acme", test.query), 400, "unknown field")
			m.want(m.do(logical.ReadOperation, "accounts/acme", test.query), 400, "unknown field")
		})
	}
}

func TestTokenFromMemoryCostsVaultNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		op   logical.Operation
		data fields
	}{
		{"read", logical.ReadOperation, nil},
		{"read with parameters in the query", logical.ReadOperation, fields{"min_ttl": "3m"}},
		{"read with an unknown parameter in the query", logical.ReadOperation, fields{"version": "-1"}},
		{"update", logical.UpdateOperation, nil},
		{"update with an empty body", logical.UpdateOperation, fields{}},
		{"update with min_ttl", logical.UpdateOperation, fields{"min_ttl": 200}},
		{"update with too much min_ttl", logical.UpdateOperation, fields{"min_ttl": "1h"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.enrol()
				m.want(m.read("token/acme"), 200)
				operations, questions := m.storage.count(), m.system.count()
				for range 10 {
					m.want(m.do(test.op, "token/acme", test.data), 200)
				}
				if n := m.storage.count() - operations; n != 0 {
					t.Errorf("it took %d storage operations", n)
				}
				if n := m.system.count() - questions; n != 0 {
					t.Errorf("it took %d questions to Vault", n)
				}
				m.wantPosts(1)
			})
		})
	}
}

func TestTokenIsTheSameFromMemoryAndThroughTheFramework(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		for _, data := range []fields{nil, {"min_ttl": "3m"}, {"min_ttl": "1h"}} {
			for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
				fast, err := m.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: "token/acme", Data: asJSON(t, data)})
				if err != nil {
					t.Fatal(err)
				}
				slow, err := m.Backend.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: "token/acme", Data: asJSON(t, data)})
				if err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(*fast) != fmt.Sprint(*slow) {
					t.Errorf("%v and %v", *fast, *slow)
				}
			}
		}
	})
}

func TestTokenPathsOtherThanReadsAreLeftToTheFramework(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		m.want(m.do(logical.DeleteOperation, "token/acme", nil), 405)
		m.want(m.do(logical.ListOperation, "token/acme", nil), 405)
		a := m.do(logical.HelpOperation, "token/acme", nil)
		if help, _ := a.data["help"].(string); a.token() != "" || help == "" {
			t.Errorf("the help is %s", a)
		}
	})
}

func TestTokenThatHasExpiredIsRefreshed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		tokens := map[string]bool{}
		sent := []string{}
		for range 5 {
			tokens[m.want(m.read("token/acme"), 200).token()] = true
			m.pass(time.Hour)
		}
		for _, p := range m.wantPosts(5) {
			sent = append(sent, strings.TrimPrefix(p.token, firstToken))
		}
		if len(tokens) != 5 || fmt.Sprint(sent) != "[ #1 #2 #3 #4]" {
			t.Errorf("%d tokens from %q", len(tokens), sent)
		}
	})
}

func TestTokenIsRefreshedByEveryReadWhereTheAccountSaysSo(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"refresh_on_read": true}), 204)
		first := m.want(m.read("token/acme"), 200)
		if again := m.want(m.read("token/acme"), 200); again.token() != first.token() {
			t.Error("a read within ten seconds ended the token of another reader")
		}
		m.pass(10 * time.Second)
		second := m.want(m.do(logical.UpdateOperation, "token/acme", fields{"min_ttl": "1s"}), 200)
		if first.token() == second.token() {
			t.Error("the second read gave the first token")
		}
		m.wantPosts(2)
		m.want(m.write("accounts/acme", fields{"refresh_on_read": false}), 204)
		if m.want(m.read("token/acme"), 200).token() != second.token() {
			t.Error("another token came")
		}
		m.wantPosts(0)
	})
}

// Pagero's documentation speaks of "Bearer or another type of token".
func TestTokenIsHandedOutWithItsType(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{"": "Bearer", "Bearer": "Bearer", "jwt-bearer": "jwt-bearer", "DPoP": "DPoP"} {
		inBubble(t, func(_ *testing.T, m *mount) {
			m.enrol()
			m.pagero.set(func(p post) oauth.Result {
				r := m.pagero.grant(p)
				r.Tokens.TokenType = sent
				return r
			})
			for range 3 {
				m.wantData(m.want(m.read("token/acme"), 200), fields{"token_type": want})
				m.wantData(m.want(m.write("token/acme", nil), 200), fields{"token_type": want})
				m.restart()
			}
			m.wantPosts(1)
		})
	}
}

func TestTokenHasClaimsOnlyWhereTheServerSentThem(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		claims string
		sent   bool
	}{{"", false}, {"", true}, {`{"company":"acme"}`, true}} {
		inBubble(t, func(t *testing.T, m *mount) {
			m.enrol()
			m.pagero.set(func(sent post) oauth.Result {
				r := m.pagero.grant(sent)
				r.Tokens.Claims, r.Tokens.HasClaims, r.Tokens.Scope = test.claims, test.sent, "one two"
				return r
			})
			for range 2 {
				a := m.want(m.read("token/acme"), 200)
				m.wantData(a, fields{"scope": "one two"})
				if claims, there := a.data["claims"]; there != test.sent || test.sent && claims != test.claims {
					t.Errorf("claims are %q, %v: %s", test.claims, test.sent, a)
				}
				m.restart()
			}
		})
	}
}
