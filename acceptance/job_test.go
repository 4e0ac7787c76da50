package acceptance

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestAReadReturnsATokenThatTheAPIAccepts(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.wantExchanges(0) // enrolling spends nothing

	token := s.accessToken("acme")

	s.wantExchanges(1)
	s.wantAPIAccepts(token)
	if next, err := s.sandbox.CurrentRefreshToken(s.first); err != nil || next == s.first {
		t.Errorf("the refresh token was not rotated: %v", err)
	}
}

func TestASecondReadReturnsTheSameTokenWithoutAnExchange(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	first := s.read("token/acme")
	var second answer
	s.waitFor("the ttl to become smaller", func() bool {
		second = s.read("token/acme")
		return second.integer("ttl") < first.integer("ttl")
	})
	s.wantExchanges(1)

	// Vault Secrets Operator restarts workloads when any other field changes.
	for _, a := range []answer{first, second} {
		delete(a.Data, "ttl")
	}
	if !reflect.DeepEqual(first.Data, second.Data) {
		t.Errorf("two reads of one token differ in more than ttl:\n%v\n%v", first.Data, second.Data)
	}
}

func TestTheAnswerHasTheFieldsThatAgentAndOperatorNeed(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	before := time.Now().Add(-time.Second)
	a := s.read("token/acme")

	want := []string{
		"access_token", "claims", "expire_time", "last_vault_rotation", "rotation_period",
		"scope", "token_type", "ttl",
	}
	if got := slices.Sorted(maps.Keys(a.Data)); !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	if got := a.text("token_type"); got != "Bearer" {
		t.Errorf("token_type %q", got)
	}
	if got := a.integer("rotation_period"); got != 480 { // 600 s less the default min_ttl
		t.Errorf("rotation_period %d", got)
	}
	if got := a.integer("ttl"); got < 400 || got > 480 {
		t.Errorf("ttl %d", got)
	}
	rotated := parseTime(t, a.text("last_vault_rotation"))
	if rotated.Before(before.Truncate(time.Second)) || rotated.After(time.Now().Add(time.Second)) {
		t.Errorf("last_vault_rotation %v is not now", rotated)
	}
	expires := parseTime(t, a.text("expire_time"))
	if life := expires.Sub(before); life < 590*time.Second || life > 610*time.Second {
		t.Errorf("the token expires in %v", life)
	}
	if a.LeaseID != "" || a.Lease != 0 {
		t.Errorf("the answer has the lease %q of %d s", a.LeaseID, a.Lease)
	}
}

func TestMinTTLOnAReadCountsForAtMostHalfOfTheLifetime(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	first := s.accessToken("acme")

	asQuery := s.do(http.MethodGet, "token/acme?min_ttl=9m", nil)
	asUpdate := s.do(http.MethodPost, "token/acme", fields{"min_ttl": "9m"})

	for _, a := range []answer{asQuery, asUpdate} {
		a.wantStatus(http.StatusOK)
		a.wantWarning("min_ttl")
		if a.text("access_token") != first {
			t.Errorf("%s: a reader has forced a rotation", a.request)
		}
	}
	s.wantExchanges(1)
}

func TestAReadInTheRefreshWindowReturnsANewToken(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	must(t, s.sandbox.SetAccessTokenLifetime(12*time.Second)) // the window is the last 6 s
	first := s.read("token/acme")
	if period := first.integer("rotation_period"); period != 6 {
		t.Errorf("rotation_period %d, want 6", period)
	}
	must(t, s.sandbox.SetAccessTokenLifetime(10*time.Minute))
	s.waitFor("the refresh window", func() bool {
		return s.accessToken("acme") != first.text("access_token")
	})
	if !time.Now().Before(parseTime(t, first.text("expire_time"))) {
		t.Error("the token was not replaced before it expired")
	}
	s.wantExchanges(2)
}

func TestAForcedRefreshBringsANewTokenAndShowsNone(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	first := s.accessToken("acme")

	a := s.do(http.MethodPost, "refresh/acme", nil)

	a.wantStatus(http.StatusOK)
	if a.text("state") != "ready" || a.integer("refresh_count") != 2 {
		t.Errorf("the account is %v", a.Data)
	}
	if _, shown := a.Data["access_token"]; shown {
		t.Error("refresh shows the access token")
	}
	second := s.accessToken("acme")
	if second == first {
		t.Error("the token is still the old one")
	}
	s.wantAPIAccepts(second)
	s.wantExchanges(2)
}

func TestAnAccountWithRefreshOnReadIsRefreshedByEveryRead(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.write("accounts/acme", fields{"refresh_on_read": true})
	first, second := s.accessToken("acme"), s.accessToken("acme")
	if first == second {
		t.Error("the second read returned the first one's token")
	}
	s.wantExchanges(2)
}

func TestAccountsTellTheirStateAndNoSecret(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	a := s.read("accounts/acme")
	if a.text("state") != "new" || a.text("client") != "default" || a.text("spare") != "none" {
		t.Errorf("before the first read: %v", a.Data)
	}
	s.accessToken("acme")
	a = s.read("accounts/acme")
	if a.text("state") != "ready" || a.integer("refresh_count") != 1 {
		t.Errorf("after the first read: %v", a.Data)
	}
	for _, name := range []string{
		"authorized_time", "authorization_expire_time", "last_refresh_time", "access_token_expire_time",
	} {
		parseTime(t, a.text(name))
	}
	for _, name := range []string{"refresh_token", "spare_refresh_token", "access_token"} {
		if value, shown := a.Data[name]; shown {
			t.Errorf("%s is shown: %v", name, value)
		}
	}
}

func TestClientsSayThatASecretIsSetAndNotWhichOne(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	a := s.read("clients/default")
	if a.Data["client_secret_set"] != true || a.text("auth_method") != "client_secret_basic" {
		t.Errorf("the client is %v", a.Data)
	}
	if value, shown := a.Data["client_secret"]; shown {
		t.Errorf("client_secret is shown: %v", value)
	}
}

func TestListsTakeAfterAndLimit(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	for _, name := range []string{"beta", "delta", "gamma"} {
		s.write("accounts/"+name, fields{"refresh_token": s.login("bob")})
		s.write("clients/"+name, s.client())
	}
	for path, want := range map[string][]any{
		"accounts?list=true":                       {"acme", "beta", "delta", "gamma"},
		"accounts/?list=true&limit=2":              {"acme", "beta"},
		"accounts/?list=true&after=beta&limit=1":   {"delta"},
		"accounts/?list=true&after=gamma":          nil,
		"clients/?list=true":                       {"beta", "default", "delta", "gamma"},
		"clients/?list=true&after=default&limit=5": {"delta", "gamma"},
	} {
		a := s.do(http.MethodGet, path, nil)
		if want == nil {
			a.wantStatus(http.StatusNotFound) // Vault's answer to an empty list
			continue
		}
		a.wantStatus(http.StatusOK)
		if got, _ := a.Data["keys"].([]any); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func TestADeletedAccountIsGone(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.accessToken("acme")
	s.do(http.MethodDelete, "accounts/acme", nil).wantStatus(http.StatusNoContent)
	s.do(http.MethodGet, "accounts/acme", nil).wantError(http.StatusNotFound, "acme")
	s.do(http.MethodGet, "token/acme", nil).wantError(http.StatusNotFound, "acme")
}

// parseTime reads a time as the API gives it: RFC 3339 in UTC.
func parseTime(t *testing.T, text string) time.Time {
	t.Helper()
	value, err := time.Parse(time.RFC3339, text)
	must(t, err)
	if value.Location() != time.UTC {
		t.Errorf("%s is not in UTC", text)
	}
	return value
}
