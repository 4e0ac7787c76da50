package backend

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

var (
	goodNames = []string{"a", "_", "7", "acme", "Acme_7", "a-b.c", "a.b.c", "_x_", strings.Repeat("x", 256)}
	// Peppol ids and mail addresses are names of accounts.
	goodAccountNames = []string{"0007:5567321707", "jane.doe@example.com", "svc+prod@example.com", "a:b@c+d-e.f"}
	badNames         = []string{
		"a..b", "a...b", ".a", "a.", "-a", "a-", "@a", "a@", ":a", "a:", "+a", "a+", ".", "..", "@", "a b", " a", "a ", "a/b", "a/", "/a", "a//b", "../x", "x/../y",
		"a\nb", "a\n", "a\x00b", "ä", "a\u200bb", "\xff", "a%2e%2eb", "a,b", "a'b", `a"b`, "a*b", "a{b}", "<a>", strings.Repeat("x", 257), strings.Repeat("x", 10_000),
	}
)

// namedPaths are the paths that end in a name.
func (m *mount) namedPaths() (clients, accounts []string) {
	for _, path := range m.Paths {
		if prefix, _, found := strings.Cut(strings.TrimPrefix(path.Pattern, "^"), "(?P<name>"); found {
			if prefix == clientsPrefix {
				clients = append(clients, prefix)
			} else {
				accounts = append(accounts, prefix)
			}
		}
	}
	return clients, accounts
}

func TestNamesOfAccountsAndClients(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		for i, name := range append(slices.Clone(goodNames), goodAccountNames...) {
			token := fmt.Sprintf("rt-%s-a%d", canary, i)
			m.want(m.write("accounts/"+name, fields{"refresh_token": token}), 204)
			m.want(m.read("token/"+name), 200)
			m.want(m.write("refresh/"+name, nil), 200)
			m.want(m.write("authorize/"+name, nil), 200)
			m.restart()
			m.want(m.read("accounts/"+name), 200)
			m.want(m.delete("accounts/"+name), 204)
		}
		for _, name := range goodNames {
			m.want(m.write("clients/"+name, minimalClient), 204)
			m.want(m.write("accounts/acme", fields{"client": name, "refresh_token": "rt-" + canary + "-acme-" + name}), 204)
			m.want(m.read("clients/"+name), 200)
			m.want(m.delete("clients/"+name), 204)
		}
	})
}

// The answer to a name that nothing can have says which names are possible, whatever
// the operation. "unsupported path" would not.
func TestNamesThatNothingCanHave(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200) // so that the quick way to a token is open
		clients, accounts := m.namedPaths()
		if len(clients) != 1 || len(accounts) < 4 {
			t.Fatalf("the paths with names are %q and %q", clients, accounts)
		}
		before, err := logical.CollectKeys(t.Context(), m.storage)
		if err != nil {
			t.Fatal(err)
		}
		logged := len(m.log.String())
		refuse := func(prefix, name, part string) {
			path := m.Route(prefix + "x")
			for op := range maps.Keys(path.Operations) {
				for _, data := range []fields{nil, {"refresh_token": firstToken, "client_id": "x", "other": 1}} {
					m.want(m.do(op, prefix+name, data), 400, part)
				}
			}
			if path.ExistenceCheck == nil {
				return
			}
			for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation} {
				checked, exists, err := m.HandleExistenceCheck(t.Context(), &logical.Request{Operation: op, Path: prefix + name})
				if !checked || exists || err != nil {
					t.Errorf("the existence check of %q: %v, %v, %v", prefix+name, checked, exists, err)
				}
			}
		}
		for _, name := range badNames {
			for _, prefix := range accounts {
				refuse(prefix, name, "the name of an account may have letters (A to Z, a to z), digits and _, and between them - . @ : and +")
			}
			refuse(clientsPrefix, name, "the name of a client may have letters (A to Z, a to z), digits and _, and between them - and .")
		}
		for _, name := range goodAccountNames {
			refuse(clientsPrefix, name, "the name of a client may have")
		}
		after, err := logical.CollectKeys(t.Context(), m.storage)
		if err != nil || !slices.Equal(before, after) {
			t.Errorf("the storage has %q, %v", after, err)
		}
		if text := m.log.String()[logged:]; text != "" {
			t.Errorf("the log has %s", text)
		}
	})
}

func TestClientOfAnAccountAndOfALoginIsAName(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		m.enrol()
		for _, name := range append(slices.Clone(badNames), goodAccountNames...) {
			m.want(m.write("accounts/acme", fields{"client": name, "refresh_token": secondToken}), 400, `account "acme": client: the name of a client may have`)
			m.want(m.write("accounts/new", fields{"client": name, "refresh_token": secondToken}), 400, `account "new": client: the name of a client may have`)
			m.want(m.write("authorize/acme", fields{"client": name}), 400, `account "acme": client: the name of a client may have`)
		}
		m.want(m.write("accounts/acme", fields{"client": ""}), 400, "client: the name of a client may have")
		m.want(m.write("authorize/acme", fields{"client": ""}), 200) // the account's
	})
}

func TestPathsWithoutANameAreNotSupported(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.want(m.read("accounts/"), 405)
		m.want(m.read("clients/"), 405)
		m.want(m.read("token/"), 404)
		m.want(m.read("refresh/"), 404)
	})
}
