package harness

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Program is a program that runs until it is stopped, such as a Vault Agent. It ends when this test process ends.
type Program struct {
	LogFile string // its output

	process *process
}

// StartProgram starts a program with the environment of commands and more variables, but without VAULT_ADDR: the program has
// the address from its configuration. Its output goes to logFile.
func (n *Node) StartProgram(logFile string, env []string, name string, args ...string) (*Program, error) {
	all := slices.DeleteFunc(n.environment(), func(entry string) bool { return strings.HasPrefix(entry, "VAULT_ADDR=") })
	process, err := startProcess(logFile, append(all, env...), name, args...)
	if err != nil {
		return nil, err
	}
	return &Program{LogFile: logFile, process: process}, nil
}

// StartVault starts the vault command as a program, for example "vault agent".
func (n *Node) StartVault(logFile string, env []string, args ...string) (*Program, error) {
	return n.StartProgram(logFile, env, n.cluster.vault, args...)
}

// Running reports whether the program has not ended yet.
func (p *Program) Running() bool { return p.process.running() }

// ExitCode returns the exit code of a program that has ended. It returns -1 if the program still runs or a signal ended it.
func (p *Program) ExitCode() int {
	if p.Running() {
		return -1
	}
	return p.process.cmd.ProcessState.ExitCode()
}

// Stop ends the program in an orderly way, if it still runs.
func (p *Program) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return p.process.end(ctx, syscall.SIGTERM)
}

// Log returns the output of the program so far.
func (p *Program) Log() string {
	content, err := os.ReadFile(p.LogFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return string(content)
}
