package token

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestTheMainJobThroughTheCommandLine(t *testing.T) {
	t.Parallel()
	f := fixture.New(t)
	f.CLIOutput("write", "MOUNT/clients/default", "client_id=sandbox-client", "client_secret=sandbox-secret",
		"token_url="+f.Sandbox.TokenURL(), "ca_cert="+string(f.Sandbox.CACertPEM()))
	f.CLIOutput("write", "MOUNT/accounts/acme", "refresh_token="+f.Login("alice"))

	token := f.CLIOutput("read", "-field=access_token", "MOUNT/token/acme")
	f.WantAPIAccepts(token)

	var secret struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	fixture.Must(t, json.Unmarshal([]byte(f.CLIOutput("read", "-format=json", "MOUNT/token/acme")), &secret))
	for _, name := range []string{"ttl", "rotation_period"} {
		var number int64
		if err := json.Unmarshal(secret.Data[name], &number); err != nil {
			t.Errorf("%s is %s, not an integer: %v", name, secret.Data[name], err)
		}
	}
	f.WantExchanges(1)

	f.CLIOutput("write", "-f", "MOUNT/refresh/acme")
	if next := f.CLIOutput("read", "-field=access_token", "MOUNT/token/acme"); next == token {
		t.Error("the refresh brought no new token")
	}
	f.WantExchanges(2)
	if state := f.CLIOutput("read", "-field=state", "MOUNT/accounts/acme"); state != "ready" {
		t.Errorf("the state is %q", state)
	}
	if list := f.CLIOutput("list", "MOUNT/accounts"); !strings.Contains(list, "acme") {
		t.Errorf("the list is %q", list)
	}
}

func TestTheCommandLineShowsWhatWentWrong(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	for _, c := range []struct {
		arguments []string
		says      []string
	}{
		{[]string{"write", "MOUNT/accounts/acme", "nonsense=1"}, []string{"Code: 400", "nonsense"}},
		{[]string{"write", "MOUNT/clients/x", "client_id=i", "client_secret=s", "token_url=https://example.com/t"}, []string{"Code: 400", "allowed_hosts"}},
		{[]string{"write", "-f", "MOUNT/refresh/nobody"}, []string{"Code: 404", "nobody"}},
	} {
		result := f.CLI(c.arguments...)
		if result.Code == 0 {
			t.Errorf("vault %q succeeded: %s", c.arguments, result.Stdout)
		}
		for _, part := range c.says {
			if !strings.Contains(result.Stderr, part) {
				t.Errorf("vault %q: %q does not contain %q", c.arguments, result.Stderr, part)
			}
		}
	}
	fixture.Must(t, f.Sandbox.RevokeGrant(f.FirstRefreshToken))
	result := f.CLI("read", "MOUNT/token/acme")
	if result.Code == 0 || !strings.Contains(result.Stderr, "* reauthorization required: ") {
		t.Errorf("a dead token: exit code %d: %s", result.Code, result.Stderr)
	}
}
