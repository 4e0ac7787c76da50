package backend

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

// All tests of this package look for secrets in every answer and in the log. This test
// makes all traffic that could show one, and checks that the search would find it.
func TestNoSecretGetsOut(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 204)
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		everything := func() {
			for _, path := range []string{"config", "clients/default", "accounts/acme", "token/acme", "clients/nobody", "accounts/nobody", "token/nobody"} {
				m.read(path)
			}
			m.list("clients/", nil)
			m.list("accounts/", nil)
			m.write("token/acme", fields{"min_ttl": "4m"})
			m.write("refresh/acme", nil)
			m.write("accounts/acme", fields{"refresh_token": firstToken})
			m.write("accounts/acme", fields{"spare_refresh_token": spareToken})
			m.write("accounts/acme", fields{"refresh_token": spareToken})
			m.write("accounts/acme", fields{"client": "nobody", "refresh_token": "rt-" + canary + "-x"})
			m.pass(time.Hour)
		}
		everything()
		m.pagero.knows(clientSecret)
		everything()
		for _, trouble := range troubles {
			m.pagero.set(trouble.behave)
			everything()
		}
		m.want(m.write("accounts/acme", fields{"refresh_token": secondToken, "spare_refresh_token": "rt-" + canary + "-spare"}), 204)
		m.pagero.set(func(sent post) oauth.Result {
			if sent.token == secondToken {
				return isDead(sent)
			}
			return m.pagero.grant(sent)
		})
		everything()
		m.pagero.set(nil)
		everything()
		for _, v := range []verb{get, put, remove, list} {
			for _, after := range []bool{false, true} {
				// Storage errors name keys, never values.
				m.storage.fail(fault{verb: v, after: after}, fault{verb: v, after: after, err: errors.New("disk full")})
				everything()
				m.storage.heal()
				m.restart()
			}
		}
		m.storage.fail(fault{verb: put, key: "account/", skip: 1})
		m.read("token/acme")
		m.pass(minute)
		m.storage.heal()
		m.pass(2 * minute)
		m.stop()

		stored := m.stored("account/acme") + m.stored("client/default")
		for _, secret := range []string{"rt-" + canary, "at-" + canary, "cs-" + canary} {
			if !strings.Contains(stored, secret) {
				t.Errorf("%s is not even stored: this test would find nothing", secret)
			}
		}
		for _, line := range []string{"token refreshed", "exchange failed", "grant died", "spare has taken over", "account written", "client written", "not saved yet"} {
			if !strings.Contains(m.log.String(), line) {
				t.Errorf("the log has no line %q: not all kinds of traffic were there", line)
			}
		}
		synctest.Wait()
		for _, event := range []rotation.EventType{
			rotation.EventRefreshed, rotation.EventRefreshFailed, rotation.EventReauthorizationRequired, rotation.EventSpareUsed, rotation.EventWritten,
		} {
			if !strings.Contains(m.sentEvents(), eventPrefix+string(event)+" ") {
				t.Errorf("no event %s was sent: not all kinds of traffic were there", event)
			}
		}
	})
}

// mistaken are the values of a field into which a secret has got by mistake. Each
// is a mistake, or holds it.
func mistaken() []any {
	return []any{
		mistake, "-1" + mistake, "https://" + mistake + ".example/x", "https://" + mistake + ".pageroonline.com/x", "*." + mistake, mistake + "=" + mistake, "{" + mistake,
		mistakenNumber, -mistakenNumber, 1.5 * mistakenNumber, fmt.Sprint(mistakenNumber),
		[]any{mistake},
		[]any{mistakenNumber, true},
		[]any{[]any{mistake}},
		[]any{fields{mistake: mistake}},
		fields{},
		fields{mistake: mistake},
		fields{"x": fields{"y": mistake}},
		true,
	}
}

const (
	mistake        = "m1st4ke"
	mistakenNumber = 707606505404
)

// Vault shows an error to the caller, and writes it to the audit log and sometimes to
// its own log. A secret that was written to the wrong field must not get there.
func TestNoValueOfAFieldIsRepeated(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, path := range []string{
		"config", "clients/", "clients/default", "clients/new", "accounts/", "accounts/acme", "accounts/new",
		"token/acme", "refresh/acme", "authorize/acme", "callback", "status", "metrics",
	} {
		inBubble(t, func(t *testing.T, m *mount) {
			route := m.Route(path)
			names := append(slices.Collect(maps.Keys(route.Fields)), "other_field")
			for _, field := range names {
				for _, value := range mistaken() {
					for op := range route.Operations {
						tried++
						m.beginAgain(tried)
						a := m.do(op, path, fields{field: value})
						text, err := json.Marshal(a.data)
						if err != nil {
							t.Fatal(err)
						}
						if field == fieldScope && a.status == 200 {
							text = nil // the scope is a part of the URL
						}
						wantNoMistake(t, fmt.Sprintf("the answer to %s of %s with %s=%v", op, path, field, value), a.text, string(text), strings.Join(a.warnings, "\n"))
					}
					_, _, err := m.HandleExistenceCheck(t.Context(), &logical.Request{
						Operation: logical.CreateOperation, Path: path, Data: asJSON(t, fields{field: value}),
					})
					if err != nil && !errors.Is(err, logical.ErrUnsupportedPath) {
						t.Errorf("the existence check of %s with %s=%v: %v", path, field, value, err)
					}
				}
			}
			wantNoMistake(t, "the log", m.log.String())
		})
	}
	if tried < 1500 {
		t.Errorf("only %d requests were made", tried)
	}
}

func wantNoMistake(t *testing.T, where string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for _, bad := range []string{mistake, fmt.Sprint(mistakenNumber), fmt.Sprint(1.5 * mistakenNumber)} {
			if strings.Contains(text, bad) {
				t.Errorf("%s is in %s: %.300q", bad, where, text)
			}
		}
	}
}

// beginAgain puts back what requests have changed.
func (m *mount) beginAgain(try int) {
	m.t.Helper()
	for _, path := range []string{"config", "accounts/new", "clients/new", "accounts/acme", "clients/default"} {
		m.delete(path)
	}
	m.withLogins()
	m.want(m.write("accounts/acme", fields{"refresh_token": fmt.Sprintf("%s-%d", firstToken, try)}), 204)
}

func TestValuesOfTheWrongTypeAreRefusedWithWhatTheFieldHolds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		for _, test := range []struct {
			path, field string
			values      []any
			want        string
		}{
			{"accounts/acme", "min_ttl", []any{firstToken, -1, "-1s", fields{}, []string{"1m"}, true}, "min_ttl must be a duration that is not negative, such as 90s"},
			{"accounts/acme", "auto_refresh", []any{firstToken, fields{}, []string{"true"}}, "auto_refresh must be true or false"},
			{"accounts/acme", "refresh_token", []any{fields{"x": firstToken}, []string{firstToken}, true}, "refresh_token must be a string"},
			{"accounts/acme", "client", []any{fields{"x": firstToken}, []string{firstToken}, false}, "client must be a string"},
			{"clients/default", "client_secret", []any{fields{"x": firstToken}, []string{firstToken}, true}, "client_secret must be a string"},
			{"clients/default", "scopes", []any{fields{"x": firstToken}, true, []any{fields{}}, []any{true}}, "scopes must be a list of strings"},
			{"authorize/acme", "spare", []any{firstToken}, "spare must be true or false"},
			{"callback", "state", []any{[]string{firstToken}}, "state must be a string"},
		} {
			for _, value := range test.values {
				m.want(m.write(test.path, fields{test.field: value}), 400, test.want)
			}
		}
		m.want(m.list("accounts/", fields{"limit": firstToken}), 400, "limit must be a whole number")
	})
}

func TestEveryTypeOfAFieldIsDescribedInWords(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		for _, path := range m.Paths {
			for name, field := range path.Fields {
				if words := expected(field.Type); strings.Contains(words, field.Type.String()) && field.Type != framework.TypeString {
					t.Errorf("%s of %s must be %q", name, path.Pattern, words)
				}
			}
		}
	})
}

// A value may have got into the place of a name: "vault write x rt-...=".
func TestUnknownFieldsAreNamedIfTheyLookLikeNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"min_tll"}, `"min_tll"`},
		{[]string{"a", "b"}, `"a", "b"`},
		{[]string{"a", "b", "c", "d", "e", "f", "g"}, `"a", "b", "c", "d", "e" (and 2 more)`},
		{[]string{"a", "line\nbreak"}, `"a" (and 1 more)`},
		{[]string{strings.Repeat("a", 33)}, "(1, not shown here because no field is named like that)"},
		{[]string{"<script>", "pässword"}, "(2, not shown here because no field is named like that)"},
	} {
		if got := showNames(test.names); got != test.want {
			t.Errorf("%q are shown as %s", test.names, got)
		}
	}
}

func TestSecretsThatLookLikeNumbersAreTaken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/default", fields{"client_secret": 12345678901234567}), 204)
		m.want(m.read("token/acme"), 200)
		if got := m.wantPosts(1)[0].secret(); got != "12345678901234567" {
			t.Errorf("the client secret was used as %s", got)
		}
	})
}

// A panic in an exchange must not take the account with it.
func TestPanicInAnExchangeIsAnErrorWithoutSecrets(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.pagero.set(func(post) oauth.Result { panic("simulated") })
		m.want(m.read("token/acme"), 500, `account "acme"`)
		m.pagero.set(nil)
		m.pagero.mu.Lock()
		m.pagero.busy = map[string]bool{}
		m.pagero.mu.Unlock()
		m.pass(2 * minute)
		m.want(m.read("token/acme"), 200)
	})
}
