package backend

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// A user whose login succeeded must not read that it failed.
func TestPageOfASpareThatFailsSaysThatTheAccountIsConnected(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		data   fields
		status int
	}{
		"cancelled":           {fields{"error": "access_denied"}, 400},
		"server that is away": {fields{"code": codeTwo}, 503},
		"no code":             {fields{}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.withLogins()
				l := m.authorizeAccount(fields{"spare": true})
				next := m.loginOf(m.want(m.do(logical.UpdateOperation, "callback", fields{"state": l.Get("state"), "code": codeOne}), 200))
				m.pagero.set(isSilent)
				end.data["state"] = next.Get("state")
				a := m.wantPage(m.visit(end.data), end.status, "<title>Connected</title>", "acme is connected, but without a spare grant")
				if strings.Contains(a.page, "could not be completed") {
					t.Errorf("the page says\n%s", a.page)
				}
				m.wantData(m.read("accounts/acme"), fields{"state": "ready", "spare": "none"})
			})
		})
	}
}

func TestAccountNamesAreEscapedOnPages(t *testing.T) {
	t.Parallel()
	p, err := connectedPage(&completed{account: `<b>"acme"</b>`, warnings: []string{`<i>'careful'</i>`}}).render()
	if err != nil || strings.Contains(p, "<b>") || strings.Contains(p, "<i>") {
		t.Errorf("%v\n%s", err, p)
	}
	p, err = nextPage(&completed{account: "acme"}, `https://sso.example/a?b="c"&d=<e>`).render()
	if err != nil || strings.Contains(p, `b="c"`) || strings.Contains(p, "<e>") {
		t.Errorf("%v\n%s", err, p)
	}
}
