package login

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// containsAny reports whether a text contains one of the parts.
func containsAny(text string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}

func TestAPasswordEnrolsAnAccountWithASpare(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("accounts/acme", fixture.Credentials())
	f.WantLogins(map[string]int{"ok": 2})
	wantAccount(f, "acme", fixture.Fields{"state": "ready", "spare": "ready", "keep_password": false})
	f.WantAPIAccepts(f.AccessToken("acme"))
	f.WantExchanges(0)

	stored, err := f.Node.StoredValue(f.Ctx, f.Mount, "account/acme")
	fixture.Must(t, err)
	if stored == "" || containsAny(stored, sandbox.DefaultPassword, `"`+sandbox.DefaultUsername+`"`) {
		t.Errorf("the password is stored although keep_password is false: %s", stored)
	}
}

func TestAWrongPasswordEnrolsNothing(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	a := f.Do(http.MethodPost, "accounts/acme", fixture.Fields{"username": "alice", "password": "canary-wrong"})
	a.WantError(http.StatusBadRequest, "acme", "password")
	if containsAny(string(a.Raw), "canary-wrong") {
		t.Errorf("the answer contains the password: %s", a.Raw)
	}
	f.WantLogins(map[string]int{"invalid_grant": 1})
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
}

// With a kept password, the plugin logs in by itself if all grants are dead.
func TestAKeptPasswordLogsInAgain(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	account := fixture.Credentials()
	account["keep_password"] = true
	f.Write("accounts/acme", account)
	first := f.AccessToken("acme")
	if n := f.Sandbox.RevokeUser(sandbox.DefaultUsername); n != 2 {
		t.Fatalf("%d grants were revoked, want the grant and the spare", n)
	}

	f.Write("refresh/acme", nil)
	again := f.AccessToken("acme")

	f.WantAPIAccepts(again)
	if again == first {
		t.Error("the token is the old one")
	}
	f.WantLogins(map[string]int{"ok": 3})
	a := wantAccount(f, "acme", fixture.Fields{"state": "ready", "keep_password": true})
	if !containsAny(a.Text("last_error"), "logged in again") {
		t.Errorf("last_error is %q", a.Text("last_error"))
	}
	f.WantNoLoginSecretIn("the account", string(a.Raw))

	// At most once an hour: if every new grant dies, logins must not flood the server.
	f.Sandbox.RevokeUser(sandbox.DefaultUsername)
	f.Do(http.MethodPost, "refresh/acme", nil).WantError(http.StatusBadRequest, "reauthorization required")
	a = f.Read("token/acme")
	a.WantWarning("the server may have ended this access token")
	if a.Text("access_token") != again {
		t.Error("the token that still works was not returned")
	}
	f.WantLogins(map[string]int{"ok": 3})
}

func TestDeletingAnAccountRevokesItsGrants(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("accounts/acme", fixture.Credentials())
	wantRevoked(f, 0)
	f.Do(http.MethodDelete, "accounts/acme", nil).WantStatus(http.StatusNoContent)
	wantRevoked(f, 2) // the grant and the spare
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
}

func TestDeletingAnAccountWithoutRevocation(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("accounts/acme", fixture.Credentials())
	f.Do(http.MethodDelete, "accounts/acme?revoke=false", nil).WantStatus(http.StatusNoContent)
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
	wantRevoked(f, 0)
	if n := len(f.Sandbox.RequestsTo(sandbox.EndpointRevoke)); n != 0 {
		t.Errorf("%d requests to the revocation endpoint", n)
	}
}

func TestAnAccountIsDeletedEvenIfItCannotBeRevoked(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("accounts/acme", fixture.Credentials())
	fixture.Must(t, f.Sandbox.Pause())
	a := f.Do(http.MethodDelete, "accounts/acme", nil)
	a.WantStatus(http.StatusOK)
	a.WantWarning("was not revoked")
	f.WantNoLoginSecretIn("the warning", string(a.Raw))
	f.Do(http.MethodGet, "accounts/acme", nil).WantStatus(http.StatusNotFound)
	fixture.Must(t, f.Sandbox.Resume())
	wantRevoked(f, 0)
}

func TestANewRefreshTokenRevokesNothing(t *testing.T) {
	t.Parallel()
	f := fixture.NewForLogins(t)
	f.Write("accounts/acme", fixture.Credentials())
	f.Write("accounts/acme", fixture.Fields{"refresh_token": f.Login("alice"), "spare_refresh_token": f.Login("alice")})
	wantRevoked(f, 0)
}

// wantRevoked asserts how many grants the server has revoked.
func wantRevoked(f *fixture.Fixture, want int) {
	f.T.Helper()
	if got := f.Sandbox.Stats().RevokedGrants; got != want {
		f.T.Errorf("%d grants are revoked, want %d", got, want)
	}
}
