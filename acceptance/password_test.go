package acceptance

import (
	"net/http"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// credentials are alice's, for a write of accounts/<name>.
func credentials() fields {
	return fields{"username": sandbox.DefaultUsername, "password": sandbox.DefaultPassword}
}

func TestAPasswordEnrolsAnAccountWithASpare(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("accounts/acme", credentials())
	s.wantLogins(map[string]int{"ok": 2})
	s.wantAccount("acme", fields{"state": "ready", "spare": "ready", "keep_password": false})
	s.wantAPIAccepts(s.accessToken("acme"))
	s.wantExchanges(0)

	stored, err := s.node.StoredValue(s.ctx, s.mount, "account/acme")
	must(t, err)
	if stored == "" || containsAny(stored, sandbox.DefaultPassword, `"`+sandbox.DefaultUsername+`"`) {
		t.Errorf("the password is kept, although nobody asked for that: %s", stored)
	}
}

func TestAWrongPasswordEnrolsNothing(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	a := s.do(http.MethodPost, "accounts/acme", fields{"username": "alice", "password": "canary-wrong"})
	a.wantError(http.StatusBadRequest, "acme", "password")
	if containsAny(string(a.raw), "canary-wrong") {
		t.Errorf("the answer has the password in it: %s", a.raw)
	}
	s.wantLogins(map[string]int{"invalid_grant": 1})
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
}

// With a password that is kept, nobody is needed when all grants are dead.
func TestAKeptPasswordLogsInAgain(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	account := credentials()
	account["keep_password"], account["refresh_on_read"] = true, true
	s.write("accounts/acme", account)
	first := s.accessToken("acme")
	if n := s.sandbox.RevokeUser(sandbox.DefaultUsername); n != 2 {
		t.Fatalf("%d grants were revoked, want the grant and the spare", n)
	}

	again := s.accessToken("acme")

	s.wantAPIAccepts(again)
	if again == first {
		t.Error("the token is the old one")
	}
	s.wantLogins(map[string]int{"ok": 3})
	a := s.wantAccount("acme", fields{"state": "ready", "keep_password": true})
	if !containsAny(a.text("last_error"), "logged in again") {
		t.Errorf("last_error is %q", a.text("last_error"))
	}
	s.wantNoLoginSecretIn("the account", string(a.raw))

	// At most once an hour: a password that works and grants that die are not worth a storm.
	s.sandbox.RevokeUser(sandbox.DefaultUsername)
	a = s.read("token/acme")
	a.wantWarning("reauthorization required")
	if a.text("access_token") != again {
		t.Error("the token that still works was not returned")
	}
	s.wantLogins(map[string]int{"ok": 3})
}

func TestDeletingAnAccountRevokesItsGrants(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("accounts/acme", credentials())
	s.wantRevoked(0)
	s.do(http.MethodDelete, "accounts/acme", nil).wantStatus(http.StatusNoContent)
	s.wantRevoked(2) // with the spare
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
}

func TestDeletingAnAccountWithoutRevocation(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("accounts/acme", credentials())
	s.do(http.MethodDelete, "accounts/acme?revoke=false", nil).wantStatus(http.StatusNoContent)
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
	s.wantRevoked(0)
	if n := len(s.sandbox.RequestsTo(sandbox.EndpointRevoke)); n != 0 {
		t.Errorf("%d requests to the revocation endpoint", n)
	}
}

func TestAnAccountIsDeletedWhereItCannotBeRevoked(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("accounts/acme", credentials())
	must(t, s.sandbox.Pause())
	a := s.do(http.MethodDelete, "accounts/acme", nil)
	a.wantStatus(http.StatusOK)
	a.wantWarning("was not revoked")
	s.wantNoLoginSecretIn("the warning", string(a.raw))
	s.do(http.MethodGet, "accounts/acme", nil).wantStatus(http.StatusNotFound)
	must(t, s.sandbox.Resume())
	s.wantRevoked(0)
}

func TestANewRefreshTokenRevokesNothing(t *testing.T) {
	t.Parallel()
	s := newLoginStage(t)
	s.write("accounts/acme", credentials())
	s.write("accounts/acme", fields{"refresh_token": s.login("alice"), "spare_refresh_token": s.login("alice")})
	s.wantRevoked(0)
}

// wantRevoked asserts how many grants are revoked at the server.
func (s *stage) wantRevoked(want int) {
	s.t.Helper()
	if got := s.sandbox.Stats().RevokedGrants; got != want {
		s.t.Errorf("%d grants are revoked, want %d", got, want)
	}
}
