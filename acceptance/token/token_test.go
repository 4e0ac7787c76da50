package token

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestAReadReturnsATokenThatTheAPIAccepts(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.WantExchanges(0) // enrolment spends no refresh token

	token := f.AccessToken("acme")

	f.WantExchanges(1)
	f.WantAPIAccepts(token)
	if next, err := f.Sandbox.CurrentRefreshToken(f.FirstRefreshToken); err != nil || next == f.FirstRefreshToken {
		t.Errorf("the refresh token was not rotated: %v", err)
	}
}

func TestASecondReadReturnsTheSameTokenWithoutAnExchange(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	first := f.Read("token/acme")
	var second fixture.Answer
	f.WaitFor("the ttl to become smaller", func() bool {
		second = f.Read("token/acme")
		return second.Integer("ttl") < first.Integer("ttl")
	})
	f.WantExchanges(1)

	// Vault Secrets Operator restarts workloads if any other field changes.
	for _, a := range []fixture.Answer{first, second} {
		delete(a.Data, "ttl")
	}
	if !reflect.DeepEqual(first.Data, second.Data) {
		t.Errorf("two reads of one token differ in more than ttl:\n%v\n%v", first.Data, second.Data)
	}
}

func TestTheAnswerHasTheFieldsThatAgentAndOperatorNeed(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	before := time.Now().Add(-time.Second)
	a := f.Read("token/acme")

	want := []string{
		"access_token", "claims", "expire_time", "last_vault_rotation", "rotation_period",
		"scope", "token_type", "ttl",
	}
	if got := slices.Sorted(maps.Keys(a.Data)); !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	if got := a.Text("token_type"); got != "Bearer" {
		t.Errorf("token_type %q", got)
	}
	if got := a.Integer("rotation_period"); got != 480 { // 600 s minus the default min_ttl
		t.Errorf("rotation_period %d", got)
	}
	if got := a.Integer("ttl"); got < 400 || got > 480 {
		t.Errorf("ttl %d", got)
	}
	rotated := fixture.ParseTime(t, a.Text("last_vault_rotation"))
	if rotated.Before(before.Truncate(time.Second)) || rotated.After(time.Now().Add(time.Second)) {
		t.Errorf("last_vault_rotation %v is not now", rotated)
	}
	expires := fixture.ParseTime(t, a.Text("expire_time"))
	if life := expires.Sub(before); life < 590*time.Second || life > 610*time.Second {
		t.Errorf("the token expires in %v", life)
	}
	if a.LeaseID != "" || a.Lease != 0 {
		t.Errorf("the answer has the lease %q with %d s", a.LeaseID, a.Lease)
	}
}

func TestMinTTLOnAReadCountsForAtMostHalfOfTheLifetime(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	first := f.AccessToken("acme")

	asQuery := f.Do(http.MethodGet, "token/acme?min_ttl=9m", nil)
	asUpdate := f.Do(http.MethodPost, "token/acme", fixture.Fields{"min_ttl": "9m"})

	for _, a := range []fixture.Answer{asQuery, asUpdate} {
		a.WantStatus(http.StatusOK)
		a.WantWarning("min_ttl")
		if a.Text("access_token") != first {
			t.Errorf("%s: a reader forced a rotation", a.Request)
		}
	}
	f.WantExchanges(1)
}

func TestAReadInTheRefreshWindowReturnsANewToken(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(12*time.Second)) // the window is the last 6 s
	first := f.Read("token/acme")
	if period := first.Integer("rotation_period"); period != 6 {
		t.Errorf("rotation_period %d, want 6", period)
	}
	fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(10*time.Minute))
	f.WaitFor("the refresh window", func() bool {
		return f.AccessToken("acme") != first.Text("access_token")
	})
	if !time.Now().Before(fixture.ParseTime(t, first.Text("expire_time"))) {
		t.Error("the token was not replaced before it expired")
	}
	f.WantExchanges(2)
}

func TestAForcedRefreshBringsANewTokenAndShowsNone(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	first := f.AccessToken("acme")

	a := f.Do(http.MethodPost, "refresh/acme", nil)

	a.WantStatus(http.StatusOK)
	if a.Text("state") != "ready" || a.Integer("refresh_count") != 2 {
		t.Errorf("the account is %v", a.Data)
	}
	if _, shown := a.Data["access_token"]; shown {
		t.Error("refresh shows the access token")
	}
	second := f.AccessToken("acme")
	if second == first {
		t.Error("the token is still the old one")
	}
	f.WantAPIAccepts(second)
	f.WantExchanges(2)
}

func TestAnAccountWithRefreshOnReadIsRefreshedByEveryRead(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.Write("accounts/acme", fixture.Fields{"refresh_on_read": true})
	first := f.AccessToken("acme")
	if f.AccessToken("acme") != first {
		t.Error("a read at once ended the token of another reader")
	}
	// Readers share a token that is younger than ten seconds.
	f.WaitFor("another token", func() bool { return f.AccessToken("acme") != first })
	f.WantExchanges(2)
}

func TestAccountsShowTheirStateAndNoSecret(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	a := f.Read("accounts/acme")
	if a.Text("state") != "new" || a.Text("client") != "default" || a.Text("spare") != "none" {
		t.Errorf("before the first read: %v", a.Data)
	}
	f.AccessToken("acme")
	a = f.Read("accounts/acme")
	if a.Text("state") != "ready" || a.Integer("refresh_count") != 1 {
		t.Errorf("after the first read: %v", a.Data)
	}
	for _, name := range []string{
		"authorized_time", "authorization_expire_time", "last_refresh_time", "access_token_expire_time",
	} {
		fixture.ParseTime(t, a.Text(name))
	}
	for _, name := range []string{"refresh_token", "spare_refresh_token", "access_token"} {
		if value, shown := a.Data[name]; shown {
			t.Errorf("%s is shown: %v", name, value)
		}
	}
}

func TestClientsShowThatASecretIsSetButNotTheSecret(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	a := f.Read("clients/default")
	if a.Data["client_secret_set"] != true || a.Text("auth_method") != "client_secret_basic" {
		t.Errorf("the client is %v", a.Data)
	}
	if value, shown := a.Data["client_secret"]; shown {
		t.Errorf("client_secret is shown: %v", value)
	}
}

func TestListsTakeAfterAndLimit(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	for _, name := range []string{"beta", "delta", "gamma"} {
		f.Write("accounts/"+name, fixture.Fields{"refresh_token": f.Login("bob")})
		f.Write("clients/"+name, f.Client())
	}
	for path, want := range map[string][]any{
		"accounts?list=true":                       {"acme", "beta", "delta", "gamma"},
		"accounts/?list=true&limit=2":              {"acme", "beta"},
		"accounts/?list=true&after=beta&limit=1":   {"delta"},
		"accounts/?list=true&after=gamma":          nil,
		"clients/?list=true":                       {"beta", "default", "delta", "gamma"},
		"clients/?list=true&after=default&limit=5": {"delta", "gamma"},
	} {
		a := f.Do(http.MethodGet, path, nil)
		if want == nil {
			a.WantStatus(http.StatusNotFound) // Vault's answer if the list is empty
			continue
		}
		a.WantStatus(http.StatusOK)
		if got, _ := a.Data["keys"].([]any); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func TestADeletedAccountIsGone(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.AccessToken("acme")
	f.Do(http.MethodDelete, "accounts/acme", nil).WantStatus(http.StatusNoContent)
	f.Do(http.MethodGet, "accounts/acme", nil).WantError(http.StatusNotFound, "acme")
	f.Do(http.MethodGet, "token/acme", nil).WantError(http.StatusNotFound, "acme")
}
