package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// CLIResult is what a command printed and how it ended.
type CLIResult struct {
	Stdout, Stderr string
	Code           int
}

// CLI runs the vault command as a user would, with the given Vault token.
func (n *Node) CLI(ctx context.Context, token string, args ...string) (CLIResult, error) {
	return n.run(ctx, append(n.environment(), "VAULT_TOKEN="+token), n.cluster.vault, args...)
}

// RunProgram runs another program, such as a plugin by hand.
func (n *Node) RunProgram(ctx context.Context, name string, args ...string) (CLIResult, error) {
	return n.run(ctx, n.environment(), name, args...)
}

// run runs a program. Only a program that could not be run is an error.
func (n *Node) run(ctx context.Context, env []string, name string, args ...string) (CLIResult, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	cmd.Dir = n.cluster.Dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	result := CLIResult{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		return result, fmt.Errorf("%s %q: %w", name, args, err)
	}
	return result, nil
}
