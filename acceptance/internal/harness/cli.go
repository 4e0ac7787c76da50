package harness

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// CLIResult is the output and the exit code of a command.
type CLIResult struct {
	Stdout, Stderr string
	Code           int
}

// CLI runs the vault command with a Vault token, as a user does.
func (n *Node) CLI(ctx context.Context, token string, args ...string) (CLIResult, error) {
	return n.run(ctx, append(n.environment(), "VAULT_TOKEN="+token), n.cluster.vault, args...)
}

// RunProgram runs another program, for example a plugin without Vault.
func (n *Node) RunProgram(ctx context.Context, name string, args ...string) (CLIResult, error) {
	return n.run(ctx, n.environment(), name, args...)
}

// Command returns a command for a program. Its PATH begins with the given directories and contains the vault command. If token
// is not empty, the program has that Vault token. It leads its own process group, like a program started in a terminal.
func (n *Node) Command(ctx context.Context, token string, before []string, name string, args ...string) (*exec.Cmd, error) {
	path, err := n.path(before...)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(n.environment(), path)
	if token != "" {
		cmd.Env = append(cmd.Env, "VAULT_TOKEN="+token)
	}
	cmd.Dir = n.cluster.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

// Shell runs commands with bash, as a user types them, with a Vault token. An empty dir is the directory of the cluster. The
// vault command is the one of these tests. Shell stops at the first command that fails.
func (n *Node) Shell(ctx context.Context, token, dir, commands string) (CLIResult, error) {
	path, err := n.path()
	if err != nil {
		return CLIResult{}, err
	}
	env := append(n.environment(), "VAULT_TOKEN="+token, path)
	return n.run(ctx, env, "bash", "-euo", "pipefail", "-c", "cd \"$0\"\n"+commands, cmp.Or(dir, n.cluster.Dir))
}

// path returns a PATH with the given directories and then the vault command.
func (n *Node) path(before ...string) (string, error) {
	bin := filepath.Join(n.cluster.Dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return "", err
	}
	if err := os.Symlink(n.cluster.vault, filepath.Join(bin, "vault")); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return "PATH=" + strings.Join(append(before, bin, os.Getenv("PATH")), string(os.PathListSeparator)), nil
}

// run runs a program. It returns an error only if the program could not be run.
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
