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

// Command is a program that finds the vault command on its PATH, behind the given directories, and
// is logged in with the given Vault token. It leads a process group of its own, as from a terminal.
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

// Shell runs commands of bash as a user would type them, in a directory ("" is the cluster's), with the
// given Vault token. "vault" is the one of these tests. It stops at the first command that fails.
func (n *Node) Shell(ctx context.Context, token, dir, commands string) (CLIResult, error) {
	path, err := n.path()
	if err != nil {
		return CLIResult{}, err
	}
	env := append(n.environment(), "VAULT_TOKEN="+token, path)
	return n.run(ctx, env, "bash", "-euo", "pipefail", "-c", "cd \"$0\"\n"+commands, cmp.Or(dir, n.cluster.Dir))
}

// path is a PATH with the vault command in it, behind the given directories.
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
