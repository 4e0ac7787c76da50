package harness

import (
	"context"
	"os"
	"path/filepath"
)

// Shell runs a script of bash as a user would type it, with the given Vault token. The vault command is
// on its path.
func (n *Node) Shell(ctx context.Context, token, script string) (CLIResult, error) {
	bin := filepath.Join(n.cluster.Dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return CLIResult{}, err
	}
	if err := os.Symlink(n.cluster.vault, filepath.Join(bin, "vault")); err != nil && !os.IsExist(err) {
		return CLIResult{}, err
	}
	env := append(n.environment(), "VAULT_TOKEN="+token, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return n.run(ctx, env, "bash", "-euo", "pipefail", "-c", script)
}
