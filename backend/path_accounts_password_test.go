package backend

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestPasswordEnrolsAnAccount(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword + "\n", "min_ttl": "1m"}), 204)
		posts := m.wantPosts(2) // for the spare, too
		if posts[0].username != "alice" || posts[0].token != thePassword {
			t.Errorf("%+v", posts[0])
		}
		m.wantData(m.read("accounts/acme"), fields{"state": "ready", "spare": "ready", "keep_password": false, "min_ttl": 60})
		if strings.Contains(m.stored("account/acme"), `"credentials"`) {
			t.Error("the password is kept")
		}
		m.want(m.read("token/acme"), 200)
		m.wantPosts(0)
	})
}

// If the answer says that the login goes on in the background, it must do so, even if
// it had not begun yet.
func TestPasswordEnrolsAnAccountWhoseWriterGoesAwayWhileItWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/other", minimalClient), 204)
		m.pagero.answersAfter(5 * time.Second)
		go m.read("token/acme")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		change := fields{"username": "alice", "password": thePassword, "client": "other"}
		m.want(m.doFor(ctx, logical.UpdateOperation, "accounts/acme", change), 503, "acme", "goes on in the background")
		m.pass(minute)
		m.wantData(m.read("accounts/acme"), fields{"client": "other", "state": "ready", "refresh_count": 0})
	})
}

func TestPasswordIsKeptWhereThatIsWanted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword, "keep_password": true}), 204)
		m.wantData(m.read("accounts/acme"), fields{"keep_password": true})
		if !strings.Contains(m.stored("account/acme"), `"password":"`+thePassword+`"`) {
			t.Error("the password is not kept")
		}
		m.wantPosts(2)
		m.want(m.write("accounts/acme", fields{"min_ttl": "1m"}), 204)
		m.wantData(m.read("accounts/acme"), fields{"keep_password": true})
		// Written again, as by Terraform, it gets no other grant.
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword, "keep_password": true}), 204)
		m.wantPosts(0)
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword + "-new"}), 204)
		m.wantPosts(2)
		m.wantData(m.read("accounts/acme"), fields{"keep_password": true})
		m.want(m.write("accounts/acme", fields{"keep_password": false}), 204)
		m.wantData(m.read("accounts/acme"), fields{"keep_password": false})
		if strings.Contains(m.stored("account/acme"), `"credentials"`) {
			t.Error("the password is still kept")
		}
	})
}

func TestPasswordRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		before := m.stored("account/acme")
		for _, test := range []struct {
			data fields
			text string
		}{
			{fields{"username": "alice"}, "go together"},
			{fields{"password": thePassword}, "go together"},
			{fields{"username": " ", "password": thePassword}, "go together"},
			{fields{"username": "alice", "password": "\n"}, "go together"},
			{fields{"username": "alice", "password": thePassword, "refresh_token": secondToken}, "either them or refresh tokens"},
			{fields{"keep_password": true}, "needs the username and the password"},
			{fields{"revoke": false}, "goes with delete"},
		} {
			m.want(m.write("accounts/acme", test.data), 400, "acme", test.text)
		}
		m.pagero.set(isDead)
		m.want(m.write("accounts/acme", fields{"username": "alice", "password": thePassword}), 400, "refused the username or the password")
		m.wantPosts(1)
		if m.stored("account/acme") != before {
			m.t.Errorf("the account has changed to %s", m.stored("account/acme"))
		}
	})
}
