package backend

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

var minimalClient = fields{"client_id": "our-app", "client_secret": clientSecret}

// with returns fields with others added or put in their place.
func with(base, changes fields) fields {
	all := fields{}
	maps.Copy(all, base)
	maps.Copy(all, changes)
	return all
}

func TestClientHasPagerosEndpointsWhereNoneAreGiven(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.want(m.write("clients/default", minimalClient), 204)
		want := fields{
			"client_id": "our-app", "client_secret_set": true, "auth_method": "client_secret_basic",
			"token_url":     "https://sso.pageroonline.com/oauth/v2/oauth-token",
			"authorize_url": "https://sso.pageroonline.com/oauth/v2/oauth-authorize",
			"revoke_url":    "https://sso.pageroonline.com/oauth/v2/oauth-revoke",
			"redirect_uris": []string{}, "scopes": []string{}, "ca_cert": "", "issuer": "",
		}
		a := m.want(m.read("clients/default"), 200)
		m.wantData(a, want)
		if len(a.data) != len(want) {
			t.Errorf("the client is %v", a.data)
		}
		if text, err := json.Marshal(a.data); err != nil || strings.Contains(string(text), "null") { // jq's .scopes[] fails on null
			t.Errorf("the client is %s", text)
		}
	})
}

func TestClientKeepsEveryFieldOverARestart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		ca := newCACert(t)
		m.want(m.write("config", fields{"allowed_hosts": "*.pageroonline.com,localhost,127.0.0.1"}), 204)
		m.want(m.write("clients/other", fields{
			"client_id": "our-app", "client_secret": clientSecret, "auth_method": "client_secret_post",
			"token_url": "http://localhost:9000/token", "authorize_url": "https://127.0.0.1/auth", "revoke_url": "https://x.pageroonline.com/revoke",
			"redirect_uris": "https://vault.example/cb,http://localhost:1/cb", "scopes": []string{"one", "two"}, "ca_cert": ca,
		}), 204)
		m.restart()
		m.wantData(m.want(m.read("clients/other"), 200), fields{
			"client_id": "our-app", "client_secret_set": true, "auth_method": "client_secret_post",
			"token_url": "http://localhost:9000/token", "authorize_url": "https://127.0.0.1/auth", "revoke_url": "https://x.pageroonline.com/revoke",
			"redirect_uris": []string{"https://vault.example/cb", "http://localhost:1/cb"}, "scopes": []string{"one", "two"}, "ca_cert": ca,
		})
		m.want(m.write("clients/other", fields{"scopes": ""}), 204)
		m.wantData(m.read("clients/other"), fields{"scopes": []string{}, "auth_method": "client_secret_post", "client_secret_set": true})
	})
}

func newCACert(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestClientRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	type refusal struct {
		data   fields
		reason string
	}
	tests := []refusal{
		{fields{}, "client_id is required"},
		{fields{"client_secret": clientSecret}, "client_id is required"},
		{with(minimalClient, fields{"client_id": ""}), "client_id is required"},
		{fields{"client_id": "our-app"}, "client_secret is required"},
		{with(minimalClient, fields{"client_secret": ""}), "client_secret is required"},
		{with(minimalClient, fields{"client_secret": "\r\n"}), "client_secret is required"},
		{with(minimalClient, fields{"client_secret": nil}), "client_secret is required"},
		{with(minimalClient, fields{"auth_method": "private_key_jwt"}), "auth_method"},
		{with(minimalClient, fields{"auth_method": "CLIENT_SECRET_BASIC"}), "auth_method"},
		{with(minimalClient, fields{"auth_method": ""}), "auth_method"},
		{with(minimalClient, fields{"ca_cert": "garbage " + canary}), "ca_cert"},
		{with(minimalClient, fields{"ca_cert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}), "ca_cert"},
		{with(minimalClient, fields{"redirect_uris": "http://vault.example/cb"}), "redirect_uris"},
		{with(minimalClient, fields{"redirect_uris": "https://good.example,https://a:" + canary + "@b.example"}), "redirect_uris"},
		{with(minimalClient, fields{"client_secret_set": true}), "client_secret_set"},
		{with(minimalClient, fields{"previous_client_secret": clientSecret}), "previous_client_secret"},
	}
	for _, bad := range endpointsRefused {
		if bad.url != "" {
			tests = append(tests, refusal{with(minimalClient, fields{"issuer": bad.url}), "issuer"})
		}
		if bad.url != "" && !strings.Contains(bad.url, ",") { // it would be two
			tests = append(tests, refusal{with(minimalClient, fields{"redirect_uris": []string{redirectURI, bad.url}}), "redirect_uris"})
		}
	}
	for _, field := range []string{"token_url", "authorize_url", "revoke_url"} {
		for _, bad := range endpointsRefused {
			tests = append(tests, refusal{with(minimalClient, fields{field: bad.url}), field})
		}
		for _, host := range []string{"evil.example", "pageroonline.com", "sso.pageroonline.com.evil.example", "localhost", "127.0.0.1", "[::1]"} {
			tests = append(tests, refusal{with(minimalClient, fields{field: "https://" + host + "/x"}), "of " + field + " is not one of the allowed_hosts"})
		}
	}
	inBubble(t, func(t *testing.T, m *mount) {
		for _, test := range tests {
			m.want(m.write("clients/default", test.data), 400, test.reason)
		}
		m.want(m.read("clients/default"), 404)
		m.want(m.list("clients/", nil), 404)
		// The same refusals hold for a client that exists, and leave it alone.
		m.want(m.write("clients/default", minimalClient), 204)
		before := m.stored("client/default")
		for _, test := range tests {
			if test.reason != "client_id is required" && test.reason != "client_secret is required" {
				m.want(m.write("clients/default", test.data), 400, test.reason)
			}
		}
		if m.stored("client/default") != before {
			t.Error("a refused write has changed the client")
		}
	})
}

// For tests against a server of your own you allow only its host, and write only the
// endpoint that you use.
func TestClientEndpointsThatNobodyWroteNeedNotBeAllowed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.want(m.write("config", fields{"allowed_hosts": "localhost"}), 204)
		own := with(minimalClient, fields{"token_url": "https://localhost:9443/token"})
		m.want(m.write("clients/default", minimalClient), 400, "token_url")
		m.want(m.write("clients/default", with(own, fields{"authorize_url": "https://sso.pageroonline.com/x"})), 400, "authorize_url")
		m.want(m.write("clients/default", with(own, fields{"revoke_url": "https://sso.pageroonline.com/x"})), 400, "revoke_url")
		m.want(m.write("clients/default", own), 204)
		m.want(m.write("clients/default", fields{"scopes": "one"}), 204)
		m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 204)
		m.want(m.read("token/acme"), 200)
	})
}

func TestClientSecretIsNeverReturned(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.want(m.write("clients/default", minimalClient), 204)
		a := m.want(m.read("clients/default"), 200) // the harness looks for the secret
		if _, there := a.data["client_secret"]; there {
			t.Error("there is a client_secret")
		}
		if !strings.Contains(m.stored("client/default"), clientSecret) {
			t.Error("the secret is not in the entry: this test would find nothing")
		}
	})
}

func TestClientSecretLosesItsTrailingNewlineOnly(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		clientSecret + "\n": clientSecret, clientSecret + "\r\n": clientSecret, " " + clientSecret + " \n": " " + clientSecret + " ",
	} {
		inBubble(t, func(t *testing.T, m *mount) {
			m.enrol()
			m.want(m.write("clients/default", fields{"client_secret": given}), 204)
			m.want(m.read("token/acme"), 200)
			if got := m.wantPosts(1)[0].secret(); got != want {
				t.Errorf("%q was used as %q", given, got)
			}
		})
	}
}

func TestClientIsUsedAsItWasWritten(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		ca := newCACert(t)
		m.want(m.write("clients/default", fields{
			"auth_method": "client_secret_post", "token_url": "https://sso.pageroonline.com/other", "ca_cert": ca, "client_secret": clientSecret,
		}), 204)
		m.want(m.read("token/acme"), 200)
		p := m.wantPosts(1)[0]
		got := fmt.Sprint(p.client.ID, p.secret(), p.client.AuthMethod, p.client.TokenURL, string(p.client.CACert), p.token)
		want := fmt.Sprint("our-app", clientSecret, "client_secret_post", "https://sso.pageroonline.com/other", ca, firstToken)
		if got != want {
			t.Errorf("the exchange used %s", got)
		}
	})
}

// A user who can write a client, but does not know its secret, must not be able to send
// the secret to another server.
func TestClientEndpointsMoveToAnotherHostOnlyWithTheSecret(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"token_url", "authorize_url", "revoke_url"} {
		for _, moved := range []string{"https://evil.pageroonline.com/x", "https://sso.pageroonline.com:8443/x"} {
			inBubble(t, func(_ *testing.T, m *mount) {
				m.want(m.write("clients/default", minimalClient), 204)
				m.want(m.write("clients/default", fields{field: moved}), 400, field, "client_secret")
				m.want(m.write("clients/default", fields{field: moved, "client_id": "our-app", "auth_method": "client_secret_post"}), 400, field)
				m.want(m.write("clients/default", fields{field: "https://sso.pageroonline.com/elsewhere"}), 204)
				m.want(m.write("clients/default", with(minimalClient, fields{field: moved})), 204)
				m.wantData(m.read("clients/default"), fields{field: moved})
			})
		}
	}
}

// An authority that the client trusts can pose as the server.
func TestClientTrustsOthersOnlyWithTheSecret(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		ca, other := newCACert(t), newCACert(t)
		m.want(m.write("clients/default", minimalClient), 204)
		m.want(m.write("clients/default", fields{"ca_cert": ca}), 400, "ca_cert", "client_secret")
		m.want(m.write("clients/default", with(minimalClient, fields{"ca_cert": ca})), 204)
		m.want(m.write("clients/default", fields{"ca_cert": ca, "scopes": "one"}), 204)
		for _, changed := range []string{other, ""} {
			m.want(m.write("clients/default", fields{"ca_cert": changed}), 400, "ca_cert", "client_secret")
		}
		m.wantData(m.read("clients/default"), fields{"ca_cert": ca})

		// A made-up secret must not send the real one, as the previous secret, to the new server.
		m.want(m.write("clients/default", fields{"ca_cert": other, "client_secret": "made up"}), 204)
		if strings.Contains(m.stored("client/default"), clientSecret) {
			t.Error("the old secret is kept as a fallback")
		}
	})
}

func TestClientIDChangesOnlyWithTheSecret(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.want(m.write("clients/default", minimalClient), 204)
		m.want(m.write("clients/default", fields{"client_id": "another"}), 400, "client_id", "client_secret")
		m.want(m.write("clients/default", fields{"client_id": "our-app"}), 204)
		m.want(m.write("clients/default", fields{"client_id": "another", "client_secret": "cs-" + canary + "-2"}), 204)
		m.wantData(m.read("clients/default"), fields{"client_id": "another"})
	})
}

func TestClientDeleteLeavesItsAccounts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.want(m.delete("clients/default"), 204)
		m.want(m.delete("clients/default"), 204)
		m.want(m.read("clients/default"), 404, "clients/default", "client_id")
		m.want(m.read("token/acme"), 404, "acme", `client "default"`, "clients/default")
		m.wantPosts(0)
		m.want(m.write("clients/default", minimalClient), 204)
		m.want(m.read("token/acme"), 200)
	})
}

func TestClientReadOfOneThatDoesNotExistSaysHowToCreateIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.want(m.read("clients/nobody"), 404, `client "nobody" does not exist`, "clients/nobody")
	})
}

func TestClientExistenceTellsCreateFromUpdate(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		if op := m.writeOperation("clients/default", minimalClient); op != logical.CreateOperation {
			t.Errorf("a new client is a %s", op)
		}
		m.want(m.write("clients/default", minimalClient), 204)
		if op := m.writeOperation("clients/default", minimalClient); op != logical.UpdateOperation {
			t.Errorf("an old client is a %s", op)
		}
	})
}

func TestClientOfAnOlderPluginIsReadAndOfANewerOneRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		for entry, text := range map[string]string{
			`{"version":2,"client_id":"x"}`: "has version 2, and this plugin reads up to 1",
			`{"client_id":"x"}`:             "is not readable",
			`{"version":"` + canary + `"}`:  "is not readable",
		} {
			if err := m.storage.Put(t.Context(), entryOf("client/default", entry)); err != nil {
				t.Fatal(err)
			}
			m.want(m.read("clients/default"), 500, "client/default", text, "left as it is")
			m.want(m.write("clients/default", minimalClient), 500, "client/default", text)
			if a := m.want(m.read("token/acme"), 500, `account "acme": client "default": the entry client/default`, text); strings.Contains(a.text, "the storage") {
				t.Errorf("the storage is blamed: %s", a)
			}
			m.wantPosts(0)
			if got := m.stored("client/default"); got != entry {
				t.Errorf("the entry became %s", got)
			}
		}
	})
}

// listings are the paths with names, for the tests of lists.
var listings = []struct {
	path  string
	write func(m *mount, name string)
}{
	{"clients/", func(m *mount, name string) { m.want(m.write("clients/"+name, minimalClient), 204) }},
	{"accounts/", func(m *mount, name string) {
		m.want(m.write("accounts/"+name, fields{"refresh_token": "rt-" + canary + "-" + name}), 204)
	}},
}

func TestListsAreInOrderAndGoOnAfterAName(t *testing.T) {
	t.Parallel()
	for _, listing := range listings {
		inBubble(t, func(t *testing.T, m *mount) {
			m.want(m.list(listing.path, nil), 404)
			if listing.path == "accounts/" {
				m.want(m.write("clients/default", minimalClient), 204)
			}
			for _, name := range []string{"delta", "alpha", "bravo", "Zulu", "charlie"} {
				listing.write(m, name)
			}
			for _, test := range []struct {
				data fields
				want string
			}{
				{nil, "[Zulu alpha bravo charlie delta]"},
				{fields{"limit": 0}, "[Zulu alpha bravo charlie delta]"},
				{fields{"limit": "2"}, "[Zulu alpha]"},
				{fields{"limit": 99}, "[Zulu alpha bravo charlie delta]"},
				{fields{"after": "alpha"}, "[bravo charlie delta]"},
				{fields{"after": "b"}, "[bravo charlie delta]"},
				{fields{"after": "alpha", "limit": 2}, "[bravo charlie]"},
				{fields{"after": "charlie", "limit": 2}, "[delta]"},
				{fields{"after": ""}, "[Zulu alpha bravo charlie delta]"},
			} {
				for _, path := range []string{listing.path, strings.TrimSuffix(listing.path, "/")} {
					a := m.want(m.list(path, test.data), 200)
					if got := fmt.Sprint(a.data["keys"]); got != test.want {
						t.Errorf("%s %v: %s, not %s", path, test.data, got, test.want)
					}
				}
			}
			m.want(m.list(listing.path, fields{"after": "delta"}), 404)
			m.want(m.list(listing.path, fields{"limit": -1}), 400, "limit")
			m.want(m.list(listing.path, fields{"limit": "many"}), 400, "limit")
			m.want(m.list(listing.path, fields{"offset": 1}), 400, "offset")
		})
	}
}

func TestIssuerMustBeAnHTTPSURL(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.withLogins()
		for _, bad := range []string{"pagero", "http://sso.pageroonline.com", issuer + "?x=1", issuer + "#x"} {
			m.want(m.write("clients/default", fields{"issuer": bad}), 400, "issuer")
		}
		m.want(m.write("clients/default", fields{"issuer": issuer}), 204)
		m.wantData(m.read("clients/default"), fields{"issuer": issuer})
	})
}
