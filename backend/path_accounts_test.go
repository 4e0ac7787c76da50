package backend

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const bubbleStart = "2000-01-01T00:00:00Z" // every bubble begins then

func TestAccountEnrolmentSpendsNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.wantData(m.want(m.read("accounts/acme"), 200), fields{"client": "default", "state": "new"})
		m.wantPosts(0)
		m.want(m.read("token/acme"), 200)
		if p := m.wantPosts(1)[0]; p.token != firstToken {
			t.Errorf("the exchange was made with %s", p.token)
		}
	})
}

func TestAccountWriteRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.want(m.write("clients/default", minimalClient), 204)
		m.want(m.write("accounts/acme", fields{}), 400, "acme", "is required to enrol")
		m.want(m.write("accounts/acme", fields{"min_ttl": "1m"}), 400, "is required to enrol")
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 400, "is required to enrol")
		m.want(m.write("accounts/acme", fields{"client": "nobody", "refresh_token": firstToken}), 400, "acme", "client that the request names does not exist", "clients/<name>")
		refused := []struct {
			data   fields
			reason string
		}{
			{fields{"refresh_token": ""}, "refresh_token is empty"},
			{fields{"refresh_token": " \n"}, "refresh_token is empty"},
			{fields{"refresh_token": nil}, "refresh_token is empty"},
			{fields{"refresh_token": fields{"refresh_token": firstToken}}, "refresh_token must be a string"},
			{fields{"refresh_token": []string{firstToken}}, "refresh_token must be a string"},
			{fields{"refresh_token": firstToken, "spare_refresh_token": ""}, "spare_refresh_token is empty"},
			{fields{"refresh_token": firstToken, "spare_refresh_token": fields{"x": spareToken}}, "spare_refresh_token must be a string"},
			{fields{"refresh_token": secondToken, "spare_refresh_token": secondToken}, "are the same"},
			{fields{"refresh_token": firstToken, "min_ttl": "-1s"}, "min_ttl"},
			{fields{"refresh_token": firstToken, "min_ttl": "soon"}, "min_ttl"},
			{fields{"refresh_token": firstToken, "refresh_on_read": "perhaps"}, "refresh_on_read"},
			{fields{"refresh_token": firstToken, "auto_refresh": "perhaps"}, "auto_refresh"},
			{fields{"refresh_token": firstToken, "access_token": "at-" + canary}, "access_token"},
			{fields{"refresh_token": firstToken, "state": "ready"}, "state"},
		}
		for _, test := range refused {
			m.want(m.write("accounts/acme", test.data), 400, test.reason)
		}
		m.want(m.read("accounts/acme"), 404)
		m.want(m.list("accounts/", nil), 404)
		m.enrol()
		before := m.stored("account/acme")
		for _, test := range refused {
			m.want(m.write("accounts/acme", test.data), 400, test.reason)
		}
		if m.stored("account/acme") != before {
			t.Error("a refused write has changed the account")
		}
	})
}

func TestAccountTokensLoseTheNewlineOfAFile(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("accounts/acme", fields{"refresh_token": secondToken + "\r\n", "spare_refresh_token": spareToken + "\n"}), 204)
		m.pagero.set(func(sent post) oauth.Result {
			if sent.token == secondToken || sent.token == firstToken {
				return isDead(sent)
			}
			return m.pagero.grant(sent)
		})
		m.want(m.read("token/acme"), 200)
		posts := m.wantPosts(3) // the former grant is tried before the spare
		if posts[0].token != secondToken || posts[2].token != spareToken {
			t.Errorf("the exchanges were made with %q and %q", posts[0].token, posts[2].token)
		}
	})
}

func TestAccountChangesWhatIsGivenOnly(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.want(m.read("token/acme"), 200)
		want := fields{"client": "default", "state": "ready", "refresh_count": 1, "min_ttl": 0, "refresh_on_read": false}
		m.wantData(m.read("accounts/acme"), want)
		for _, step := range []struct {
			field string
			value any
			shown any
		}{
			{"min_ttl", "90s", 90},
			{"refresh_on_read", true, true},
			{"min_ttl", "5m", 300},
			{"refresh_on_read", "false", false},
			{"min_ttl", 0, 0},
			{"client", "default", "default"},
		} {
			m.want(m.write("accounts/acme", fields{step.field: step.value}), 204)
			want[step.field] = step.shown
			m.wantData(m.want(m.read("accounts/acme"), 200), want)
		}
		m.restart()
		m.wantData(m.want(m.read("accounts/acme"), 200), want)
	})
}

// Terraform and scripts write the same token again; the one that the engine
// has by now is newer.
func TestAccountKeepsTheRotatedTokenWhenAnOldOneIsWrittenAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		for range 2 {
			m.want(m.write("refresh/acme", nil), 200)
			a := m.want(m.write("accounts/acme", fields{"refresh_token": firstToken + "\n", "min_ttl": "1m"}), 200)
			m.wantWarning(a, "written before")
			m.wantData(m.read("accounts/acme"), fields{"state": "ready", "min_ttl": 60})
		}
		m.want(m.write("accounts/acme", fields{"refresh_token": secondToken}), 204)
		m.wantData(m.read("accounts/acme"), fields{"state": "new"})
		// A token of a grant that is gone is an old one, too.
		m.wantWarning(m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 200), "written before")
		m.pagero.take()
		m.want(m.read("token/acme"), 200)
		if p := m.wantPosts(1)[0]; p.token != secondToken {
			t.Errorf("the exchange was made with %s", p.token)
		}
	})
}

func TestAccountThatIsDeadTakesANewTokenOnly(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.pagero.set(isDead)
		m.want(m.read("token/acme"), 400, "reauthorization required")
		m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 400, "acme", "written before", "log in")
		m.want(m.write("accounts/acme", fields{"min_ttl": "1m"}), 204)
		m.wantData(m.read("accounts/acme"), fields{"state": "reauthorization_required"})
		m.wantPosts(1)

		m.pagero.set(nil)
		m.want(m.write("accounts/acme", fields{"refresh_token": secondToken}), 204)
		a := m.read("accounts/acme")
		m.wantData(a, fields{"state": "new", "refresh_count": 0, "min_ttl": 60})
		if _, there := a.data["last_error"]; there {
			t.Errorf("the old grant's error is still there: %s", a)
		}
		m.want(m.read("token/acme"), 200)
		m.wantData(m.read("accounts/acme"), fields{"state": "ready", "refresh_count": 1})
	})
}

func TestAccountChangesItsClientOnlyWithANewToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/other", fields{"client_id": "other-app", "client_secret": newSecret}), 204)
		m.want(m.write("accounts/acme", fields{"client": "other"}), 400, "acme", `"default"`, "another", "new refresh_token")
		m.want(m.write("accounts/acme", fields{"client": "other", "refresh_token": firstToken}), 400, "new refresh_token")
		m.want(m.write("accounts/acme", fields{"client": "nobody", "refresh_token": secondToken}), 400, "does not exist")
		m.want(m.write("accounts/acme", fields{"client": nil, "refresh_token": secondToken}), 400, "client")
		m.want(m.write("accounts/acme", fields{"client": "default"}), 204)
		m.wantData(m.read("accounts/acme"), fields{"client": "default"})
		m.want(m.write("accounts/acme", fields{"client": "other", "refresh_token": secondToken}), 204)
		m.wantData(m.read("accounts/acme"), fields{"client": "other"})
		m.want(m.read("token/acme"), 200)
		if p := m.wantPosts(1)[0]; p.client.ID != "other-app" || p.token != secondToken {
			t.Errorf("the exchange was made with %s and %s", p.client.ID, p.token)
		}
	})
}

func TestAccountSpareTakesOverInTheSameRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.wantData(m.read("accounts/acme"), fields{"spare": "none"})
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 204)
		m.wantData(m.read("accounts/acme"), fields{"spare": "ready", "state": "new"})
		m.wantWarning(m.want(m.write("accounts/acme", fields{"spare_refresh_token": spareToken}), 200), "written before")
		m.want(m.write("accounts/acme", fields{"refresh_token": spareToken}), 400, "is the account's spare")
		m.want(m.write("clients/other", minimalClient), 204)
		m.want(m.write("accounts/acme", fields{"client": "other", "refresh_token": secondToken}), 400, "spare")

		m.pagero.set(func(sent post) oauth.Result {
			if sent.token == firstToken {
				return isDead(sent)
			}
			return m.pagero.grant(sent)
		})
		m.want(m.read("token/acme"), 200)
		if posts := m.wantPosts(2); posts[1].token != spareToken {
			t.Errorf("the second exchange was made with %s", posts[1].token)
		}
		a := m.read("accounts/acme")
		m.wantData(a, fields{"spare": "used", "state": "ready"})
		if text, _ := a.data["last_error"].(string); !strings.Contains(text, "spare") {
			t.Errorf("last_error does not tell of the spare: %s", a)
		}
		m.want(m.write("accounts/acme", fields{"spare_refresh_token": secondToken}), 204)
		m.wantData(m.read("accounts/acme"), fields{"spare": "ready"})
	})
}

// alwaysRead are the fields that an account's read has in each state.
var alwaysRead = []string{
	"auto_refresh", "keep_password",
	"authorization_expire_time", "authorized_time", "client", "min_ttl", "refresh_count", "refresh_on_read", "spare", "state",
}

func TestAccountReadShowsItsState(t *testing.T) {
	t.Parallel()
	succeeded := []string{"access_token_expire_time", "last_refresh_time"}
	for _, test := range []struct {
		name   string
		behave func(post) oauth.Result // nil: no exchange is run
		before bool                    // an exchange succeeded before
		want   fields
		more   []string
	}{
		{"new", nil, false, fields{"state": "new", "refresh_count": 0, "authorized_time": bubbleStart}, nil},
		{"ready", nil, true, fields{
			"state": "ready", "refresh_count": 1, "authorized_time": bubbleStart,
			"last_refresh_time": "2000-01-01T00:01:00Z", "access_token_expire_time": "2000-01-01T00:11:00Z",
		}, succeeded},
		{"failing at once", isUnreachable, false, fields{
			"state": "failing", "refresh_count": 0,
			"last_error_time": "2000-01-01T00:02:00Z", "next_attempt_time": "2000-01-01T00:02:00Z",
		}, []string{"last_error", "last_error_time", "next_attempt_time"}},
		{"failing later", rejects("", 429), true, fields{
			"state": "failing", "refresh_count": 1, "last_refresh_time": "2000-01-01T00:01:00Z",
			"last_error_time": "2000-01-01T00:02:00Z",
		}, append([]string{"last_error", "last_error_time", "next_attempt_time"}, succeeded...)},
		{"waiting for its client", rejects(oauth.CodeInvalidClient, 401), false, fields{
			"state": "failing", "next_attempt_time": "2000-01-01T00:03:00Z",
		}, []string{"last_error", "last_error_time", "next_attempt_time"}},
		{
			"in doubt", isSilent, true,
			fields{"state": "in_doubt", "refresh_count": 1},
			append([]string{"last_error", "last_error_time", "next_attempt_time"}, succeeded...),
		},
		{"dead", isDead, true, fields{
			"state": "reauthorization_required", "last_error_time": "2000-01-01T00:02:00Z",
		}, append([]string{"last_error", "last_error_time"}, succeeded...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.enrol()
				m.pass(minute)
				if test.before {
					m.want(m.write("refresh/acme", nil), 200)
				}
				m.pass(minute)
				if test.behave != nil {
					m.pagero.set(test.behave)
					if a := m.write("refresh/acme", nil); a.status < 400 {
						t.Fatalf("it did not fail: %s", a)
					}
				}
				for range 2 {
					a := m.want(m.read("accounts/acme"), 200)
					m.wantData(a, test.want)
					m.wantNoWarning(a)
					got := slices.Sorted(maps.Keys(a.data))
					if want := slices.Sorted(slices.Values(append(slices.Clone(alwaysRead), test.more...))); !slices.Equal(got, want) {
						t.Errorf("the fields are %v, not %v", got, want)
					}
					m.restart() // what is shown is what is stored
				}
			})
		})
	}
}

func TestAccountWarnsBeforeItsAuthorizationEnds(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		end := fields{"authorization_expire_time": "2002-12-31T00:00:00Z"} // three years of 365 days
		m.pass(3*365*day - 90*day)
		a := m.read("accounts/acme")
		m.wantData(a, end)
		m.wantNoWarning(a)
		m.pass(time.Second)
		a = m.read("accounts/acme")
		m.wantData(a, end)
		m.wantWarning(a, "2002-12-31T00:00:00Z")
		m.wantWarning(m.want(m.write("refresh/acme", nil), 200), "2002-12-31T00:00:00Z")
		// It counts from the login, not from the last exchange.
		m.wantData(m.read("accounts/acme"), end)

		m.want(m.write("config", fields{"authorization_lifetime": 0}), 204)
		a = m.read("accounts/acme")
		m.wantNoWarning(a)
		if end, there := a.data["authorization_expire_time"]; there {
			t.Errorf("an unknown lifetime ends at %v", end)
		}
		m.want(m.write("config", fields{"authorization_lifetime": "26280h"}), 204)
		m.want(m.write("accounts/acme", fields{"refresh_token": secondToken}), 204)
		m.wantNoWarning(m.read("accounts/acme"))
	})
}

func TestAccountWritesWaitForTheExchangeUnderWay(t *testing.T) {
	t.Parallel()
	for _, op := range []logical.Operation{logical.UpdateOperation, logical.DeleteOperation} {
		inBubble(t, func(t *testing.T, m *mount) {
			m.enrol()
			m.pagero.answersAfter(5 * time.Second)
			done := make(chan answer)
			go func() { done <- m.read("token/acme") }()
			m.pass(time.Second)
			began := time.Now()
			var data fields
			if op == logical.UpdateOperation {
				data = fields{"min_ttl": "1m"}
			}
			m.want(m.do(op, "accounts/acme", data), 204)
			if waited := time.Since(began); waited != 4*time.Second {
				t.Errorf("the %s took %s", op, waited)
			}
			<-done
			if op == logical.DeleteOperation {
				m.want(m.read("accounts/acme"), 404)
				return
			}
			m.wantData(m.read("accounts/acme"), fields{"min_ttl": 60, "refresh_count": 1})
		})
	}
}

func TestAccountExistenceTellsCreateFromUpdate(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		if op := m.writeOperation("accounts/acme", nil); op != logical.CreateOperation {
			t.Errorf("a new account is a %s", op)
		}
		m.enrol()
		for range 2 {
			if op := m.writeOperation("accounts/acme", nil); op != logical.UpdateOperation {
				t.Errorf("an old account is a %s", op)
			}
			m.restart()
		}
	})
}

func TestAccountRefusesTheTokenOfAnotherAccount(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		for _, path := range []string{"accounts/new", "accounts/other"} {
			m.want(m.write(path, fields{"refresh_token": firstToken + "\n"}), 400, `the account "acme" holds this refresh_token already`, "log in once more")
		}
		m.want(m.read("accounts/new"), 404)
		m.want(m.delete("accounts/acme"), 204)
		m.want(m.write("accounts/new", fields{"refresh_token": firstToken}), 204)
	})
}
