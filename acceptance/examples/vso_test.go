package examples

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

// These tests check what docs/api.md promises Vault Secrets Operator, and other readers of a rotated secret without a lease,
// about token/:account.

// secret reads a path with Vault's API client, as operators do.
func secret(f *fixture.Fixture, path string) *api.Secret {
	f.T.Helper()
	client := f.Node.Client()
	client.SetToken(f.Token)
	secret, err := client.Logical().ReadWithContext(f.Ctx, f.Mount+"/"+path)
	fixture.Must(f.T, err)
	if secret == nil {
		f.T.Fatalf("%s: nothing there", path)
	}
	return secret
}

// sync has the operator read the token of acme. The read must succeed.
func sync(f *fixture.Fixture, o *secretsOperator) time.Duration {
	f.T.Helper()
	horizon, err := o.sync(secret(f, "token/acme"))
	fixture.Must(f.T, err)
	return horizon
}

func TestVaultSecretsOperatorCanReadTheAnswer(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	before := time.Now()
	secret := secret(f, "token/acme")

	if secret.LeaseID != "" || secret.LeaseDuration != 0 || secret.Renewable {
		t.Errorf("the answer has a lease: %q, %d s, renewable %t", secret.LeaseID, secret.LeaseDuration, secret.Renewable)
	}
	meta, err := parseStaticCreds(secret.Data)
	fixture.Must(t, err)
	if meta.rotationPeriod != 480 || meta.ttl < 400 || meta.ttl > meta.rotationPeriod {
		t.Errorf("rotation_period %d, ttl %d", meta.rotationPeriod, meta.ttl)
	}
	// After its own restart, the operator reads at last_vault_rotation + ttl. Times that were cut to the second would make
	// that earlier than the refresh window.
	rotated := fixture.ParseTime(t, secret.Data["last_vault_rotation"].(string))
	if rotated.Before(before) || rotated.After(time.Now().Add(time.Second)) {
		t.Errorf("last_vault_rotation %s of a token that was obtained between %s and now", rotated, before.UTC())
	}
}

func TestVaultSecretsOperatorSeesNoChangeBeforeTheTokenChanges(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	all, only := &secretsOperator{}, &secretsOperator{fields: []string{"access_token"}}
	first := rawFields(f)
	sync(f, all)
	sync(f, only)
	var later map[string]json.RawMessage
	f.WaitFor("the ttl to become smaller", func() bool {
		later = rawFields(f)
		return string(later["ttl"]) != string(first["ttl"])
	})
	sync(f, all)
	sync(f, only)
	if all.restarts != 1 || only.restarts != 1 {
		t.Errorf("the workloads were restarted %d and %d times, want once, with the first token", all.restarts, only.restarts)
	}
	// Every byte counts: the same number in another notation changes the Secret.
	for _, name := range slices.Sorted(maps.Keys(first)) {
		if name != "ttl" && string(first[name]) != string(later[name]) {
			t.Errorf("%s changed from %s to %s without a new token", name, first[name], later[name])
		}
	}
	if len(first) != len(later) {
		t.Errorf("the fields changed from %v to %v", first, later)
	}

	f.Do(http.MethodPost, "refresh/acme", nil).WantStatus(http.StatusOK)
	f.WaitFor("another second", func() bool { // the API cuts times to the second
		return time.Now().After(fixture.ParseTime(t, f.Read("accounts/acme").Text("last_refresh_time")).Add(time.Second))
	})
	f.Do(http.MethodPost, "refresh/acme", nil).WantStatus(http.StatusOK)
	rotation := all.meta.lastVaultRotation
	sync(f, all)
	sync(f, only)
	if all.restarts != 2 || only.restarts != 2 {
		t.Errorf("after a rotation the workloads were restarted %d and %d times, want twice", all.restarts, only.restarts)
	}
	if all.meta.lastVaultRotation <= rotation {
		t.Errorf("last_vault_rotation went from %d to %d", rotation, all.meta.lastVaultRotation)
	}
}

// The operator reads again half a second after the ttl. If it got the same answer then, it would sleep for a whole ttl again
// while the token expires.
func TestVaultSecretsOperatorFindsTheNextTokenWhenItComesBack(t *testing.T) {
	t.Parallel()
	const rotations = 3
	for _, lifetime := range []time.Duration{4 * time.Second, 5 * time.Second, 7 * time.Second} { // half of it is the refresh window
		t.Run(lifetime.String(), func(t *testing.T) {
			t.Parallel()
			f := fixture.NewEnrolled(t)
			fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(lifetime))
			operator := &secretsOperator{fields: []string{"access_token"}}
			due := time.Now().Add(sync(f, operator))
			for i := range rotations {
				f.WaitFor("the operator to read again", func() bool { return !time.Now().Before(due) })
				ttl := operator.meta.ttl
				horizon := sync(f, operator)
				if want := i + 2; operator.restarts != want {
					t.Fatalf("half a second after a ttl of %d s the operator found the same token", ttl)
				}
				due = time.Now().Add(horizon)
			}
			f.WantAPIAccepts(string(operator.secret["access_token"]))
		})
	}
}

// If the server is down and the token is still valid, the operator keeps its secret.
func TestVaultSecretsOperatorDuringAnOutage(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	operator := &secretsOperator{}
	sync(f, operator)
	f.Write("accounts/acme", fixture.Fields{"refresh_on_read": true}) // every read refreshes
	sync(f, operator)
	fixture.Must(t, f.Sandbox.Pause())
	f.RefuseConnections()
	was := operator.restarts
	// Readers share a token that is younger than ten seconds.
	f.WaitFor("a refresh that fails", func() bool { return len(secret(f, "token/acme").Warnings) > 0 })

	for range 5 {
		secret := secret(f, "token/acme")
		if len(secret.Warnings) == 0 {
			t.Fatalf("no warning in %v", secret.Data)
		}
		meta, err := parseStaticCreds(secret.Data)
		fixture.Must(t, err)
		// For the operator, 2 or less means "about to rotate".
		if meta.ttl < 3 || meta.ttl > meta.rotationPeriod {
			t.Errorf("ttl %d, rotation_period %d", meta.ttl, meta.rotationPeriod)
		}
		_, err = operator.sync(secret)
		fixture.Must(t, err)
	}
	if operator.restarts != was {
		t.Errorf("the outage restarted workloads %d times", operator.restarts-was)
	}
}

// rawFields reads the token of acme and returns the fields with their original bytes.
func rawFields(f *fixture.Fixture) map[string]json.RawMessage {
	f.T.Helper()
	var body struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	fixture.Must(f.T, json.Unmarshal(f.Read("token/acme").Raw, &body))
	return body.Data
}
