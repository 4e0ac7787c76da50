package acceptance

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// Settings of the examples, and what the tests make of them so as not to wait for minutes.
const (
	retries12   = "num_retries = 12"
	retries2    = "num_retries = 2"
	exitOnRetry = "exit_on_retry_failure = true"
	startOver   = "exit_on_retry_failure = false"
)

// TestAnAgentWhoseAccountIsDeadEnds has the grant die behind an Agent: it tries again, as for any error,
// and ends when its retries are used up. The file keeps the last token.
func TestAnAgentWhoseAccountIsDeadEnds(t *testing.T) {
	t.Parallel()
	s := newAgentStage(t, 8*time.Second)
	h := s.newHost("policy.hcl", retries12, retries2)
	h.installSystemctl(fakeSystemctl)
	agent := h.start("agent", "agent.hcl")
	last := h.killAccount()
	s.waitFor("the Agent to end", func() bool { return !agent.Running() })
	if agent.ExitCode() != 1 {
		t.Errorf("the exit code is %d", agent.ExitCode())
	}
	if log := agent.Log(); !strings.Contains(log, "reauthorization required") || !strings.Contains(log, "retry attempt 2") {
		t.Error("the Agent's log does not say why")
	}
	if token, err := h.tokenIn("acme.header"); err != nil || token != last {
		t.Errorf("the file has not kept the last token: %v", err)
	}
}

// TestAnAgentStartsOverUntilTheAccountWorks is the same without exit_on_retry_failure.
func TestAnAgentStartsOverUntilTheAccountWorks(t *testing.T) {
	t.Parallel()
	s := newAgentStage(t, 8*time.Second)
	h := s.newHost("policy.hcl", retries12, retries2, exitOnRetry, startOver)
	h.installSystemctl(fakeSystemctl)
	agent := h.start("agent", "agent.hcl")
	last := h.killAccount()
	s.waitFor("the Agent to start over", func() bool {
		_, after, failed := strings.Cut(agent.Log(), "template server error")
		return failed && strings.Contains(after, "creating new runner")
	})
	s.write("accounts/acme", fields{"refresh_token": s.login("alice")})
	s.waitFor("a token of the new grant", func() bool {
		token, err := h.tokenIn("acme.header")
		return err == nil && token != last && s.apiAccepts(token) == nil
	})
	if !agent.Running() {
		t.Error("the Agent has ended")
	}
}

// killAccount ends the grant when the Agent has rendered the first token, waits until reads fail, and
// returns the last token.
func (h *host) killAccount() string {
	h.s.t.Helper()
	h.s.waitFor("the first token", func() bool {
		token, err := h.tokenIn("acme.header")
		return err == nil && token != ""
	})
	must(h.s.t, h.s.sandbox.RevokeGrant(h.s.first))
	h.s.waitFor("the account to be dead", func() bool {
		return h.s.do(http.MethodGet, "token/acme", nil).status == http.StatusBadRequest
	})
	token, err := h.tokenIn("acme.header")
	must(h.s.t, err)
	return token
}

// TestACommandThatFailsIsAFailureOfTheAgent has the application refuse to be reloaded: the files are
// written all the same, the Agent ends, and one that is started in its place does not run the command
// for the same token again.
func TestACommandThatFailsIsAFailureOfTheAgent(t *testing.T) {
	t.Parallel()
	s := newAgentStage(t, 10*time.Second)
	h := s.newHost("policy.hcl")
	h.installSystemctl(fakeSystemctl + "exit 1\n")
	for start := 1; start <= 2; start++ {
		agent := h.start("agent", "agent.hcl")
		s.waitFor("the Agent to end", func() bool { return !agent.Running() })
		if agent.ExitCode() != 1 || !strings.Contains(agent.Log(), "failed to execute command") {
			t.Errorf("start %d: the exit code is %d", start, agent.ExitCode())
		}
		token, err := h.tokenIn("acme.env")
		must(t, err)
		s.wantAPIAccepts(token)
		if calls := len(h.systemctlCalls()); calls != start || s.exchanges() != start {
			t.Errorf("the command ran %d times for %d tokens in %d starts", calls, s.exchanges(), start)
		}
	}
}

// worker is a program that takes its token from the environment once, as it starts.
const worker = `#!/bin/sh
echo "$PAGERO_ACCESS_TOKEN" >>"${0%/*}/worker.tokens"
exec sleep 600
`

// TestASupervisedProgramAlwaysRunsWithALivingToken has the Agent restart a program with each new token.
func TestASupervisedProgramAlwaysRunsWithALivingToken(t *testing.T) {
	t.Parallel()
	s := newAgentStage(t, 24*time.Second)
	program := filepath.Join(t.TempDir(), "acme-worker")
	must(t, os.WriteFile(program, []byte(worker), 0o700))
	h := s.newHost("policy.hcl", "/usr/local/bin/acme-worker", program)
	w := s.watch("the program's environment", func() (string, error) {
		content, _ := os.ReadFile(filepath.Join(filepath.Dir(program), "worker.tokens")) // not there before the first start
		lines := strings.Split(string(content), "\n")                                    // the last is not finished yet
		if len(lines) < 2 {
			return "", nil
		}
		return lines[len(lines)-2], nil
	})
	h.start("agent", "exec.hcl")
	s.waitFor("the program to be restarted twice", func() bool { return w.hasHeld(3) })
	w.wantAllIssued()
	s.wantOneExchangeARotation(12 * time.Second)
}

// TestTheProxyHandsOutLivingTokens reads through a Vault Proxy without a Vault token, before and after a
// rotation, with the example's configuration and with a cache.
func TestTheProxyHandsOutLivingTokens(t *testing.T) {
	t.Parallel()
	for name, cache := range map[string]string{"as printed": "", "with a cache": "\ncache {}\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnrolledStage(t)
			address, err := harness.FreeAddress(s.ctx)
			must(t, err)
			h := s.newHost("policy.hcl", "127.0.0.1:8100", address, "# No cache {}", cache+"# No cache")
			h.start("proxy", "proxy.hcl")
			direct := s.accessToken("acme")

			through := func(path string, header bool) (status int, body answer) {
				request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, "http://"+address+"/v1/"+path, http.NoBody)
				must(t, err)
				if header {
					request.Header.Set("X-Vault-Request", "true")
				}
				return s.send(request)
			}
			s.waitFor("the Proxy to log in", func() bool {
				status, _ := through(s.mount+"/token/acme", true)
				return status == http.StatusOK
			})
			for range 2 {
				if _, body := through(s.mount+"/token/acme", true); body.text("access_token") != direct {
					t.Error("the Proxy answers another token")
				}
			}
			s.write("refresh/acme", nil)
			status, body := through(s.mount+"/token/acme", true)
			if status != http.StatusOK || body.text("access_token") == direct {
				t.Error("the Proxy answers the token from before the rotation")
			}
			s.wantAPIAccepts(body.text("access_token"))
			s.wantExchanges(2)

			if status, _ := through(s.mount+"/token/acme", false); status != http.StatusPreconditionFailed {
				t.Errorf("without the header X-Vault-Request: status %d", status)
			}
			if status, _ := through(s.mount+"/accounts/acme", true); status != http.StatusForbidden {
				t.Errorf("another path: status %d", status)
			}
		})
	}
}

// send sends a request that may not be answered yet: the status is 0 then.
func (s *stage) send(request *http.Request) (int, answer) {
	a := answer{t: s.t, request: fmt.Sprint(request.Method, " ", request.URL)}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, a
	}
	defer response.Body.Close()
	must(s.t, a.decode(response))
	return a.status, a
}
