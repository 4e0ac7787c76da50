package backend

import (
	"slices"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const newSecret = "cs-" + canary + "-2"

// knows makes Pagero know these client secrets and no others.
func (p *pagero) knows(secrets ...string) {
	p.set(func(sent post) oauth.Result {
		if slices.Contains(secrets, sent.secret()) {
			return p.grant(sent)
		}
		return rejects(oauth.CodeInvalidClient, 401)(sent)
	})
}

// wantSecrets wants exchanges with these client secrets, in this order.
func (m *mount) wantSecrets(want ...string) {
	m.t.Helper()
	var got []string
	for _, p := range m.pagero.take() {
		got = append(got, p.secret())
	}
	if !slices.Equal(got, want) {
		m.t.Errorf("the exchanges were made with %q, not with %q", got, want)
	}
}

func (m *mount) previousSecretKept() bool {
	m.t.Helper()
	return strings.Contains(m.stored("client/default"), "previous_client_secret")
}

func TestPreviousClientSecretServesUntilTheNewOneHasWorkedOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		m.restart()

		// Pagero does not know the new secret yet.
		m.pagero.knows(clientSecret)
		m.want(m.read("token/acme"), 200)
		m.wantSecrets(newSecret, clientSecret)
		m.want(m.write("refresh/acme", nil), 200)
		m.wantSecrets(newSecret, clientSecret)
		if !m.previousSecretKept() {
			t.Fatal("the previous secret was forgotten before the new one has worked")
		}

		// Now it does.
		m.pagero.knows(newSecret)
		m.want(m.write("refresh/acme", nil), 200)
		m.wantSecrets(newSecret)
		m.stop() // the flight ends after its answer
		if m.previousSecretKept() {
			t.Error("the previous secret is kept though the new one has worked")
		}
		m.restart()
		m.pagero.knows(clientSecret)
		m.want(m.write("refresh/acme", nil), 400, "invalid_client")
		m.wantSecrets(newSecret)
	})
}

func TestPreviousClientSecretIsKeptByWritesThatDoNotReplaceTheSecret(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]fields{
		"another field":         {"scopes": "one"},
		"the same secret again": {"client_secret": newSecret},
		"another path":          {"token_url": "https://sso.pageroonline.com/other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, m *mount) {
				m.enrol()
				m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
				m.want(m.write("clients/default", change), 204)
				m.pagero.knows(clientSecret)
				m.want(m.read("token/acme"), 200)
				m.wantSecrets(newSecret, clientSecret)
			})
		})
	}
}

func TestPreviousClientSecretIsTheLastOneThatHasWorked(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/default", fields{"client_secret": "cs-" + canary + "-mistyped"}), 204)
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		m.pagero.knows(clientSecret)
		m.want(m.read("token/acme"), 200)
		m.wantSecrets(newSecret, clientSecret)
	})
}

func TestPreviousClientSecretIsNotKeptWhere(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]fields{
		"the token endpoint moves":         {"token_url": "https://new.pageroonline.com/token"},
		"the authorization endpoint moves": {"authorize_url": "https://new.pageroonline.com/auth"},
		"the revocation endpoint moves":    {"revoke_url": "https://new.pageroonline.com/revoke"},
		"the client is another":            {"client_id": "another"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *mount) {
				m.enrol()
				m.want(m.write("clients/default", with(change, fields{"client_secret": newSecret})), 204)
				if m.previousSecretKept() {
					t.Error("the previous secret is in the entry")
				}
				m.pagero.knows(clientSecret)
				m.want(m.read("token/acme"), 400, "invalid_client")
				m.wantSecrets(newSecret)
			})
		})
	}
}

func TestPreviousClientSecretThatWaitsIsDroppedWhenAnEndpointMoves(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		m.want(m.write("clients/default", fields{"client_secret": newSecret, "token_url": "https://new.pageroonline.com/token"}), 204)
		m.pagero.knows()
		m.want(m.read("token/acme"), 400)
		m.wantSecrets(newSecret)
	})
}

func TestPreviousClientSecretThatIsWrittenAgainIsTriedOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		m.want(m.write("clients/default", fields{"client_secret": clientSecret}), 204)
		m.pagero.knows()
		m.want(m.read("token/acme"), 400, "invalid_client")
		m.wantSecrets(clientSecret)
	})
}

func TestPreviousClientSecretIsTriedOnlyWhereTheClientIsRefused(t *testing.T) {
	t.Parallel()
	for name, behave := range map[string]func(post) oauth.Result{
		"dead": isDead, "unreachable": isUnreachable, "busy": rejects("", 429), "unauthorized": rejects(oauth.CodeUnauthorizedClient, 400),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, m *mount) {
				m.enrol()
				m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
				m.pagero.set(behave)
				m.read("token/acme")
				m.wantSecrets(newSecret)
			})
		})
	}
}

func TestPreviousClientSecretIsNotForgottenForAnotherWriteOfTheClient(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		// While an exchange works with the second secret, a third one is written.
		third := "cs-" + canary + "-3"
		m.pagero.set(func(sent post) oauth.Result {
			m.want(m.write("clients/default", fields{"client_secret": third}), 204)
			return m.pagero.grant(sent)
		})
		m.want(m.read("token/acme"), 200)
		m.stop()
		if !m.previousSecretKept() {
			t.Error("the second secret was forgotten though the third has not worked yet")
		}
	})
}

func TestTokenIsServedWhereForgettingThePreviousSecretFails(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		m.storage.fail(fault{verb: put, key: clientPrefix})
		m.wantNoWarning(m.want(m.read("token/acme"), 200))
		m.stop()
		if !m.previousSecretKept() || !strings.Contains(m.log.String(), "the previous client secret is kept") {
			t.Error("the failure is not in the log")
		}
		m.storage.heal()
		m.restart()
		m.want(m.write("refresh/acme", nil), 200)
		m.stop()
		if m.previousSecretKept() {
			t.Error("the next success does not forget it")
		}
	})
}

func TestRefusedClientIsTriedAgainAsSoonAsItIsCorrected(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, m *mount) {
		m.enrol()
		m.pagero.knows(newSecret)
		m.want(m.read("token/acme"), 400, "acme", "invalid_client", "clients/default")
		m.wantPosts(1)
		m.want(m.read("token/acme"), 400, "invalid_client")
		m.wantPosts(0)
		m.want(m.write("clients/default", fields{"client_secret": newSecret}), 204)
		m.want(m.read("token/acme"), 200)
		m.wantSecrets(newSecret)
	})
}

// allowed_hosts may be narrowed after a client was written. Its secret must not
// leave then.
func TestClientOfAHostThatIsNotAllowedAnyMoreIsNotUsed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		token := m.want(m.read("token/acme"), 200).token()
		m.wantPosts(1)
		m.want(m.write("config", fields{"allowed_hosts": "elsewhere.example"}), 204)
		if m.want(m.read("token/acme"), 200).token() != token {
			t.Error("another token came")
		}
		m.want(m.write("refresh/acme", nil), 400, "acme", "sso.pageroonline.com", "allowed_hosts")
		m.pass(9 * minute)
		m.wantWarning(m.want(m.read("token/acme"), 200), "allowed_hosts")
		m.pass(minute)
		m.want(m.read("token/acme"), 400, "acme", "sso.pageroonline.com", "allowed_hosts", "nothing was sent")
		m.wantPosts(0)
		m.want(m.write("clients/default", fields{"scopes": "one"}), 400, "allowed_hosts")
		m.want(m.write("config", fields{"allowed_hosts": "sso.pageroonline.com"}), 204)
		m.want(m.read("token/acme"), 200)
		m.wantPosts(1)
	})
}
