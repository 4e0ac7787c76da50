package harness

import (
	"context"
	"os"
	"path/filepath"
)

// Shell runs commands of bash as a user would type them, in a directory ("" is the cluster's), with the
// given Vault token. "vault" is the one of these tests. It stops at the first command that fails.
func (n *Node) Shell(ctx context.Context, token, dir, commands string) (CLIResult, error) {
	if dir == "" {
		dir = n.cluster.Dir
	}
	bin := filepath.Join(n.cluster.Dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return CLIResult{}, err
	}
	if err := os.Symlink(n.cluster.vault, filepath.Join(bin, "vault")); err != nil && !os.IsExist(err) {
		return CLIResult{}, err
	}
	env := append(n.environment(), "VAULT_TOKEN="+token, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return n.run(ctx, env, "bash", "-euo", "pipefail", "-c", "cd \"$0\"\n"+commands, dir)
}
