package quickstart

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// TestTheDemoEndsWell runs the demo and then the development server, which the README describes. Both build into bin/, so
// they run one after the other.
func TestTheDemoEndsWell(t *testing.T) {
	t.Parallel()
	t.Run("demo", func(t *testing.T) {
		m := newMachine(t)
		if out, code := m.run("scripts/demo"); code != 0 || !strings.Contains(out, "Done: ") {
			t.Errorf("exit code %d of the demo, which said:\n%s", code, out)
		}
		m.wantNothingLeft()
	})
	t.Run("interrupted", func(t *testing.T) {
		m := newMachine(t)
		out, code := m.interrupt("Starting the sandbox and Vault", "scripts/demo")
		if code != 130 || !strings.HasSuffix(out, "Interrupted. Nothing is left running.\n") {
			t.Errorf("exit code %d of the demo, which said:\n%s", code, out)
		}
		m.wantNothingLeft()
	})
	t.Run("dev", devRunsUntilItIsStopped)
}

// devRunsUntilItIsStopped runs the commands that "make dev" prints, and then stops it.
func devRunsUntilItIsStopped(t *testing.T) {
	m := newMachine(t)
	t.Cleanup(func() { m.run("scripts/dev", "stop") })
	said, code := m.run("scripts/dev", "up")
	if code != 0 {
		t.Fatalf("exit code %d of\n%s", code, said)
	}
	commands := strings.Join(regexp.MustCompile(`(?m)^ {2}(?:export|vault) .*$`).FindAllString(said, -1), "\n")
	out, code := m.run("bash", "-euo", "pipefail", "-c", commands)
	if code != 0 || !strings.Contains(out, "access_token") || !strings.Contains(out, "200") {
		t.Errorf("exit code %d of\n%s\nwhich said:\n%s", code, commands, out)
	}
	m.wantAgentToken(commands)
	out, code = m.run("scripts/dev", "up")
	_, use, _ := strings.Cut(out, "it is running already; to use it: ")
	use, _, _ = strings.Cut(use, ";")
	if out, err := m.command("bash", "-ec", use+"\nvault token lookup").CombinedOutput(); code != 1 || use == "" || err != nil {
		t.Errorf("exit code %d of a second start, and %v with %s: %s", code, err, use, out)
	}
	if out, code := m.run("scripts/dev", "stop"); code != 0 || !strings.Contains(out, "Stopped.") {
		t.Errorf("exit code %d of the stop, which said:\n%s", code, out)
	}
	m.wantNothingLeft()
}

// wantAgentToken reads a token through an Agent. It runs the pasted commands of "make dev" and then those of the Agent's
// README.
func (m *machine) wantAgentToken(pasted string) {
	m.t.Helper()
	readme := document.Read(m.t, "examples/agent/README.md")
	commands := pasted + "\ncd examples/agent\n" + document.CommandsBelow(readme, "## Try it") + document.CommandsBelow(readme, "## Set it up") +
		document.CommandsBelow(readme, "Then the commands of *Set it up*, and:")
	out, code := m.run("bash", "-euo", "pipefail", "-c", commands+`rm -r "$dir"`)
	if code != 0 || !strings.Contains(out, "\nAuthorization: Bearer ey") || !strings.Contains(out, "HTTP 200") {
		m.t.Errorf("exit code %d of\n%s\nwhich said:\n%s", code, commands, out)
	}
}

// machine is a small Linux system without ps: if a script calls it, it fails.
type machine struct {
	t              *testing.T
	root, bin, tmp string
	env            []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	root, err := harness.RepoRoot()
	fixture.Must(t, err)
	vault, err := harness.VaultBinary()
	fixture.Must(t, err)
	m := &machine{t: t, root: root, bin: t.TempDir(), tmp: t.TempDir()}
	m.env = []string{
		"TMPDIR=" + m.tmp, "DEV_DIR=" + filepath.Join(m.tmp, "dev of mine"), "VAULT_BIN=" + vault, "VAULT_VERSION=",
		"PATH=" + m.bin + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
	m.program("ps", "exit 127")
	return m
}

// program installs a shell script that comes first on the PATH.
func (m *machine) program(name, script string) {
	m.t.Helper()
	fixture.Must(m.t, os.WriteFile(filepath.Join(m.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
}

// run runs a command in the repository's root, and returns its output and exit code.
func (m *machine) run(name string, args ...string) (output string, code int) {
	m.t.Helper()
	cmd := m.command(name, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		fixture.Must(m.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// interrupt runs a command and interrupts it as soon as its stderr contains a text. It returns stderr and the exit code.
func (m *machine) interrupt(after, name string, args ...string) (stderr string, code int) {
	m.t.Helper()
	cmd := m.command(name, args...)
	pipe, err := cmd.StderrPipe()
	fixture.Must(m.t, err)
	fixture.Must(m.t, cmd.Start())
	said := bufio.NewScanner(pipe)
	for said.Scan() {
		stderr += said.Text() + "\n"
		if strings.Contains(said.Text(), after) {
			fixture.Must(m.t, cmd.Process.Signal(os.Interrupt))
		}
	}
	_ = cmd.Wait() // the exit code is returned
	return stderr, cmd.ProcessState.ExitCode()
}

// command returns a command that runs in the repository's root.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.t.Context()), 5*time.Minute)
	m.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = m.root
	cmd.Env = append(os.Environ(), m.env...)
	return cmd
}

// wantNothingLeft asserts that no process and no file is left.
func (m *machine) wantNothingLeft() {
	m.t.Helper()
	all, err := harness.ListProcesses(m.t.Context())
	fixture.Must(m.t, err)
	for _, p := range all {
		if strings.Contains(p.Command, m.tmp) {
			m.t.Errorf("process %d is left: %s", p.PID, p.Command)
			fixture.Must(m.t, p.Kill())
		}
	}
	left, err := os.ReadDir(m.tmp)
	fixture.Must(m.t, err)
	if len(left) > 0 {
		m.t.Errorf("%s is left, and %d more", left[0].Name(), len(left)-1)
	}
}
