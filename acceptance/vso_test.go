package acceptance

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// What these tests hold is what docs/api.md promises of token/:account to Vault Secrets Operator, and
// to everybody else who reads an unleased secret that is rotated.

// secret reads a path as Vault's API client does, which is what operators use.
func (s *stage) secret(path string) *api.Secret {
	s.t.Helper()
	client := s.node.Client()
	client.SetToken(s.token)
	secret, err := client.Logical().ReadWithContext(s.ctx, s.mount+"/"+path)
	must(s.t, err)
	if secret == nil {
		s.t.Fatalf("%s: nothing there", path)
	}
	return secret
}

// sync lets the operator read the token of acme, which must succeed.
func (s *stage) sync(o *secretsOperator) time.Duration {
	s.t.Helper()
	horizon, err := o.sync(s.secret("token/acme"))
	must(s.t, err)
	return horizon
}

func TestVaultSecretsOperatorCanReadTheAnswer(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	before := time.Now()
	secret := s.secret("token/acme")

	if secret.LeaseID != "" || secret.LeaseDuration != 0 || secret.Renewable {
		t.Errorf("the answer has a lease: %q, %d s, renewable %t", secret.LeaseID, secret.LeaseDuration, secret.Renewable)
	}
	meta, err := parseStaticCreds(secret.Data)
	must(t, err)
	if meta.rotationPeriod != 480 || meta.ttl < 400 || meta.ttl > meta.rotationPeriod {
		t.Errorf("rotation_period %d, ttl %d", meta.rotationPeriod, meta.ttl)
	}
	// After its own restart, the operator reads at last_vault_rotation + ttl. Where that is cut to the
	// second, it comes before the refresh window.
	rotated := parseTime(t, secret.Data["last_vault_rotation"].(string))
	if rotated.Before(before) || rotated.After(time.Now().Add(time.Second)) {
		t.Errorf("last_vault_rotation %s of a token that was obtained between %s and now", rotated, before.UTC())
	}
}

func TestVaultSecretsOperatorSeesNoChangeBeforeTheTokenChanges(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	all, only := &secretsOperator{}, &secretsOperator{fields: []string{"access_token"}}
	first := s.rawFields()
	s.sync(all)
	s.sync(only)
	var later map[string]json.RawMessage
	s.waitFor("the ttl to become smaller", func() bool {
		later = s.rawFields()
		return string(later["ttl"]) != string(first["ttl"])
	})
	s.sync(all)
	s.sync(only)
	if all.restarts != 1 || only.restarts != 1 {
		t.Errorf("the workloads were restarted %d and %d times, want once, with the first token", all.restarts, only.restarts)
	}
	// Byte for byte: a number that is written in another way changes the Secret.
	for _, name := range slices.Sorted(maps.Keys(first)) {
		if name != "ttl" && string(first[name]) != string(later[name]) {
			t.Errorf("%s changed from %s to %s without a new token", name, first[name], later[name])
		}
	}
	if len(first) != len(later) {
		t.Errorf("the fields changed from %v to %v", first, later)
	}

	s.do(http.MethodPost, "refresh/acme", nil).wantStatus(http.StatusOK)
	s.waitFor("another second", func() bool { // times are given in seconds
		return time.Now().After(parseTime(t, s.read("accounts/acme").text("last_refresh_time")).Add(time.Second))
	})
	s.do(http.MethodPost, "refresh/acme", nil).wantStatus(http.StatusOK)
	rotation := all.meta.lastVaultRotation
	s.sync(all)
	s.sync(only)
	if all.restarts != 2 || only.restarts != 2 {
		t.Errorf("after a rotation the workloads were restarted %d and %d times, want twice", all.restarts, only.restarts)
	}
	if all.meta.lastVaultRotation <= rotation {
		t.Errorf("last_vault_rotation went from %d to %d", rotation, all.meta.lastVaultRotation)
	}
}

// The operator comes back half a second after the ttl. An answer that is the same then makes it sleep
// for a whole ttl once more, while the token expires.
func TestVaultSecretsOperatorFindsTheNextTokenWhenItComesBack(t *testing.T) {
	t.Parallel()
	const rotations = 3
	for _, lifetime := range []time.Duration{4 * time.Second, 5 * time.Second, 7 * time.Second} { // half of it is the window
		t.Run(lifetime.String(), func(t *testing.T) {
			t.Parallel()
			s := newEnrolledStage(t)
			must(t, s.sandbox.SetAccessTokenLifetime(lifetime))
			operator := &secretsOperator{fields: []string{"access_token"}}
			due := time.Now().Add(s.sync(operator))
			for i := range rotations {
				s.waitFor("the operator to come back", func() bool { return !time.Now().Before(due) })
				ttl := operator.meta.ttl
				horizon := s.sync(operator)
				if want := i + 2; operator.restarts != want {
					t.Fatalf("half a second after a ttl of %d s the operator found the token it had", ttl)
				}
				due = time.Now().Add(horizon)
			}
			s.wantAPIAccepts(string(operator.secret["access_token"]))
		})
	}
}

// While the server is down and the token lives, the operator goes on with what it has.
func TestVaultSecretsOperatorDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	operator := &secretsOperator{}
	s.sync(operator)
	s.write("accounts/acme", fields{"refresh_on_read": true}) // every read is due
	s.sync(operator)
	must(t, s.sandbox.Pause())
	s.refuseConnections()
	was := operator.restarts

	for range 5 {
		secret := s.secret("token/acme")
		if len(secret.Warnings) == 0 {
			t.Fatalf("no warning in %v", secret.Data)
		}
		meta, err := parseStaticCreds(secret.Data)
		must(t, err)
		// 2 and less are "about to rotate" for the operator.
		if meta.ttl < 3 || meta.ttl > meta.rotationPeriod {
			t.Errorf("ttl %d, rotation_period %d", meta.ttl, meta.rotationPeriod)
		}
		_, err = operator.sync(secret)
		must(t, err)
	}
	if operator.restarts != was {
		t.Errorf("the outage restarted workloads %d times", operator.restarts-was)
	}
}

// rawFields reads the token of acme and returns the fields as they are written in the answer.
func (s *stage) rawFields() map[string]json.RawMessage {
	s.t.Helper()
	var body struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	must(s.t, json.Unmarshal(s.read("token/acme").raw, &body))
	return body.Data
}
