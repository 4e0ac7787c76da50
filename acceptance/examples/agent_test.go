package examples

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// The files that the examples render.
var (
	rendered     = []string{"acme.header", "acme.env", "acme.json"}
	renderedLong = append([]string{"acme-long.header"}, rendered...)
)

// fakeSystemctl replaces systemctl. It records its arguments.
const fakeSystemctl = `#!/bin/sh
echo "$@" >>"${0%/*}/systemctl.calls"
`

// newAgentFixture enrols acme. Access tokens have this lifetime.
func newAgentFixture(t *testing.T, lifetime time.Duration) *fixture.Fixture {
	t.Helper()
	f := fixture.NewEnrolled(t)
	fixture.Must(t, f.Sandbox.SetAccessTokenLifetime(lifetime))
	return f
}

// installSystemctl installs a script that replaces systemctl.
func (h *host) installSystemctl(script string) {
	h.f.T.Helper()
	fixture.Must(h.f.T, h.install("systemctl", script))
	fixture.Must(h.f.T, os.Chmod(filepath.Join(h.etc, "systemctl"), 0o700))
}

// systemctlCalls returns the arguments of each call of systemctl.
func (h *host) systemctlCalls() []string {
	content, _ := os.ReadFile(filepath.Join(h.etc, "systemctl.calls")) // it does not exist before the first call
	return slices.Collect(strings.Lines(string(content)))
}

// watchFiles watches files that the Agent renders.
func (h *host) watchFiles(names ...string) []*watched {
	h.f.T.Helper()
	var all []*watched
	for _, name := range names {
		all = append(all, watch(h.f, filepath.Join(h.run, name), func() (string, error) { return h.tokenIn(name) }))
	}
	return all
}

// haveHeld reports whether all files have held count tokens.
func haveHeld(files []*watched, count int) bool {
	return !slices.ContainsFunc(files, func(w *watched) bool { return !w.hasHeld(count) })
}

// TestAgentsKeepValidTokensInTheirFiles runs three Agents with the files of examples/agent. Tokens live for 20 s, and a read
// replaces them after 10 s. If an Agent reads too late, or the plugin's ttl is too long, a file holds an expired token.
func TestAgentsKeepValidTokensInTheirFiles(t *testing.T) {
	t.Parallel()
	const lifetime, rotations = 20 * time.Second, 4
	f := newAgentFixture(t, lifetime)
	var hosts []*host
	var files []*watched
	for i := range 3 {
		policy, configs, names := "policy.hcl", []string{"agent.hcl"}, rendered
		if i == 0 {
			policy, configs, names = "policy-min-ttl.hcl", []string{"agent.hcl", "min-ttl.hcl"}, renderedLong
		}
		h := newHost(f, policy)
		h.installSystemctl(fakeSystemctl)
		files = append(files, h.watchFiles(names...)...)
		h.start("agent", configs...)
		hosts = append(hosts, h)
	}
	f.WaitFor("every file to hold several tokens in turn", func() bool { return haveHeld(files, rotations+1) })

	wantOneExchangeARotation(f, lifetime/2)
	for _, w := range files {
		w.wantAllIssued()
		info, err := os.Stat(w.name)
		fixture.Must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %s", w.name, info.Mode())
		}
	}
	for i, h := range hosts {
		calls := h.systemctlCalls()
		if len(calls) < rotations || calls[0] != "try-reload-or-restart acme.service\n" {
			t.Errorf("agent %d ran the command of acme.env %d times: %q", i, len(calls), calls)
		}
	}
	wantParametersAsUpdate(f)
}

// wantOneExchangeARotation asserts that every exchange issued a new access token, that no refresh token was presented twice,
// and that exchanges were at least period apart.
func wantOneExchangeARotation(f *fixture.Fixture, period time.Duration) {
	f.T.Helper()
	requests := f.Sandbox.Requests()
	f.WantExchanges(len(requests))
	issued := map[string]bool{}
	for i, r := range requests {
		issued[r.AccessToken] = true
		// The plugin counts in whole seconds.
		if i > 0 && r.Time.Sub(requests[i-1].Time) < period-time.Second {
			f.T.Errorf("exchange %d came %s after the previous one", i+1, r.Time.Sub(requests[i-1].Time))
		}
	}
	if len(issued) != len(requests) {
		f.T.Errorf("%d exchanges issued %d access tokens", len(requests), len(issued))
	}
	f.T.Logf("%d exchanges", len(requests))
}

// wantParametersAsUpdate asserts that Vault got reads, and updates from the template with a parameter.
func wantParametersAsUpdate(f *fixture.Fixture) {
	f.T.Helper()
	content, err := os.ReadFile(f.Node.AuditLog())
	fixture.Must(f.T, err)
	operations := map[string]int{}
	for line := range strings.Lines(string(content)) {
		if !strings.Contains(line, `"path":"`+f.Mount+`/token/acme"`) || !strings.Contains(line, `"type":"request"`) {
			continue
		}
		for _, operation := range []string{"read", "update"} {
			if strings.Contains(line, `"operation":"`+operation+`"`) {
				operations[operation]++
			}
		}
	}
	if operations["read"] == 0 || operations["update"] == 0 {
		f.T.Errorf("the audit log has %v of token/acme", operations)
	}
	f.T.Logf("requests for token/acme in the audit log: %v", operations)
}

// TestFilesSurviveAnOutage has the token endpoint fail when the refresh of the token is due, for less than the remaining
// lifetime of the token.
func TestFilesSurviveAnOutage(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 40*time.Second)
	h := newHost(f, "policy.hcl")
	h.installSystemctl(fakeSystemctl)
	files := h.watchFiles(rendered...)
	agent := h.start("agent", "agent.hcl")
	f.WaitFor("the files", func() bool { return haveHeld(files, 1) })
	outage, err := f.Sandbox.SetFault(sandbox.Fault{Action: sandbox.ActionStatus, Status: http.StatusServiceUnavailable})
	fixture.Must(t, err)
	fixture.Must(t, outage.Wait(f.Ctx, 3)) // the Agent's reads have warnings meanwhile
	f.Sandbox.ClearFaults()
	f.WaitFor("the next token after the outage", func() bool { return haveHeld(files, 2) })
	if !agent.Running() {
		t.Error("the Agent has ended")
	}
	f.WaitFor("the second reload of the application", func() bool { return len(h.systemctlCalls()) >= 2 })
	if calls := h.systemctlCalls(); len(calls) != 2 {
		t.Errorf("the application was reloaded %d times, for 2 tokens", len(calls))
	}
	if log := agent.Log(); !strings.Contains(log, "could not be refreshed") {
		t.Error("the Agent's log does not have the plugin's warning")
	}
	if stats := f.Sandbox.Stats(); stats.Replays != 0 {
		t.Errorf("%d refresh tokens were presented again after use", stats.Replays)
	}
}
