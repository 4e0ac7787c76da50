package examples

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// Settings of the examples, and what the tests replace them with, because the originals take minutes.
const (
	retries12   = "num_retries = 12"
	retries2    = "num_retries = 2"
	exitOnRetry = "exit_on_retry_failure = true"
	startOver   = "exit_on_retry_failure = false"
)

// TestAnAgentEndsIfItsAccountIsDead revokes the grant while an Agent runs. The Agent retries, as after any error, and ends
// after its last retry. The file keeps the last token.
func TestAnAgentEndsIfItsAccountIsDead(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 8*time.Second)
	h := newHost(f, "policy.hcl", retries12, retries2)
	h.installSystemctl(fakeSystemctl)
	agent := h.start("agent", "agent.hcl")
	last := h.killAccount()
	f.WaitFor("the Agent to end", func() bool { return !agent.Running() })
	if agent.ExitCode() != 1 {
		t.Errorf("the exit code is %d", agent.ExitCode())
	}
	if log := agent.Log(); !strings.Contains(log, "reauthorization required") || !strings.Contains(log, "retry attempt 2") {
		t.Error("the Agent's log does not contain the reason")
	}
	if token, err := h.tokenIn("acme.header"); err != nil || token != last {
		t.Errorf("the file has not kept the last token: %v", err)
	}
}

// TestAnAgentStartsOverUntilTheAccountWorks does the same without exit_on_retry_failure.
func TestAnAgentStartsOverUntilTheAccountWorks(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 8*time.Second)
	h := newHost(f, "policy.hcl", retries12, retries2, exitOnRetry, startOver)
	h.installSystemctl(fakeSystemctl)
	agent := h.start("agent", "agent.hcl")
	last := h.killAccount()
	f.WaitFor("the Agent to start over", func() bool {
		_, after, failed := strings.Cut(agent.Log(), "template server error")
		return failed && strings.Contains(after, "creating new runner")
	})
	f.Write("accounts/acme", fixture.Fields{"refresh_token": f.Login("alice")})
	f.WaitFor("a token of the new grant", func() bool {
		token, err := h.tokenIn("acme.header")
		return err == nil && token != last && f.APIAccepts(token) == nil
	})
	if !agent.Running() {
		t.Error("the Agent has ended")
	}
}

// killAccount waits until the Agent has rendered the first token, revokes the grant, waits until reads fail, and returns the
// last token.
func (h *host) killAccount() string {
	h.f.T.Helper()
	h.f.WaitFor("the first token", func() bool {
		token, err := h.tokenIn("acme.header")
		return err == nil && token != ""
	})
	fixture.Must(h.f.T, h.f.Sandbox.RevokeGrant(h.f.FirstRefreshToken))
	h.f.WaitFor("the account to be dead", func() bool {
		return h.f.Do(http.MethodGet, "token/acme", nil).Status == http.StatusBadRequest
	})
	token, err := h.tokenIn("acme.header")
	fixture.Must(h.f.T, err)
	return token
}

// TestAFailingCommandEndsTheAgent has the command that reloads the application fail. The files are written nevertheless, and
// the Agent ends. The next Agent does not run the command for the same token again.
func TestAFailingCommandEndsTheAgent(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 10*time.Second)
	h := newHost(f, "policy.hcl")
	h.installSystemctl(fakeSystemctl + "exit 1\n")
	for start := 1; start <= 2; start++ {
		agent := h.start("agent", "agent.hcl")
		f.WaitFor("the Agent to end", func() bool { return !agent.Running() })
		if agent.ExitCode() != 1 || !strings.Contains(agent.Log(), "failed to execute command") {
			t.Errorf("start %d: the exit code is %d", start, agent.ExitCode())
		}
		token, err := h.tokenIn("acme.env")
		fixture.Must(t, err)
		f.WantAPIAccepts(token)
		if calls := len(h.systemctlCalls()); calls != start || f.Exchanges() != start {
			t.Errorf("the command ran %d times for %d tokens in %d starts", calls, f.Exchanges(), start)
		}
	}
}

// worker is a program that reads its token from the environment once, when it starts.
const worker = `#!/bin/sh
echo "$PAGERO_ACCESS_TOKEN" >>"${0%/*}/worker.tokens"
exec sleep 600
`

// TestASupervisedProgramAlwaysHasAValidToken has the Agent restart a program with each new token.
func TestASupervisedProgramAlwaysHasAValidToken(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 24*time.Second)
	program := filepath.Join(t.TempDir(), "acme-worker")
	fixture.Must(t, os.WriteFile(program, []byte(worker), 0o700))
	h := newHost(f, "policy.hcl", "/usr/local/bin/acme-worker", program)
	w := watch(f, "the program's environment", func() (string, error) {
		content, _ := os.ReadFile(filepath.Join(filepath.Dir(program), "worker.tokens")) // it does not exist before the first start
		lines := strings.Split(string(content), "\n")                                    // the last line may be incomplete
		if len(lines) < 2 {
			return "", nil
		}
		return lines[len(lines)-2], nil
	})
	h.start("agent", "exec.hcl")
	f.WaitFor("the program to be restarted twice", func() bool { return w.hasHeld(3) })
	w.wantAllIssued()
	wantOneExchangeARotation(f, 12*time.Second)
}

// TestTheProxyReturnsValidTokens reads through a Vault Proxy without a Vault token, before and after a rotation. It does so
// with the example's configuration and with a cache.
func TestTheProxyReturnsValidTokens(t *testing.T) {
	t.Parallel()
	for name, cache := range map[string]string{"as printed": "", "with a cache": "\ncache {}\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fixture.NewEnrolled(t)
			address, err := harness.FreeAddress(f.Ctx)
			fixture.Must(t, err)
			h := newHost(f, "policy.hcl", "127.0.0.1:8100", address, "# No cache {}", cache+"# No cache")
			h.start("proxy", "proxy.hcl")
			direct := f.AccessToken("acme")

			through := func(path string, header bool) (status int, body fixture.Answer) {
				request, err := http.NewRequestWithContext(f.Ctx, http.MethodGet, "http://"+address+"/v1/"+path, http.NoBody)
				fixture.Must(t, err)
				if header {
					request.Header.Set("X-Vault-Request", "true")
				}
				// The status is 0 while the Proxy does not listen yet.
				body, _ = f.Send(http.DefaultClient, request)
				return body.Status, body
			}
			f.WaitFor("the Proxy to log in", func() bool {
				status, _ := through(f.Mount+"/token/acme", true)
				return status == http.StatusOK
			})
			for range 2 {
				if _, body := through(f.Mount+"/token/acme", true); body.Text("access_token") != direct {
					t.Error("the Proxy answers another token")
				}
			}
			f.Write("refresh/acme", nil)
			status, body := through(f.Mount+"/token/acme", true)
			if status != http.StatusOK || body.Text("access_token") == direct {
				t.Error("the Proxy answers the token from before the rotation")
			}
			f.WantAPIAccepts(body.Text("access_token"))
			f.WantExchanges(2)

			if status, _ := through(f.Mount+"/token/acme", false); status != http.StatusPreconditionFailed {
				t.Errorf("without the header X-Vault-Request: status %d", status)
			}
			if status, _ := through(f.Mount+"/accounts/acme", true); status != http.StatusForbidden {
				t.Errorf("another path: status %d", status)
			}
		})
	}
}
