package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// RepoRoot returns the directory of the repository that the working directory is in.
func RepoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "scripts", "get-vault")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is not inside the repository")
		}
		dir = parent
	}
}

// VaultBinary returns the path of a vault binary, as scripts/get-vault finds or builds it. Its
// progress goes to stderr. The answer is remembered.
var VaultBinary = sync.OnceValues(func() (string, error) { return pathFrom("get-vault") })

// ChromiumBinary does so for a Chromium, as scripts/get-chromium finds or installs it.
var ChromiumBinary = sync.OnceValues(func() (string, error) { return pathFrom("get-chromium") })

// TerraformBinary does so for Terraform, and TerraformProvider for its provider for Vault.
var (
	TerraformBinary   = sync.OnceValues(func() (string, error) { return pathFrom("get-terraform") })
	TerraformProvider = sync.OnceValues(func() (string, error) { return pathFrom("get-terraform-provider") })
)

// PromtoolBinary and PrometheusBinary do so for the programs of Prometheus', as scripts/get-prometheus finds
// or downloads them.
var (
	PromtoolBinary   = sync.OnceValues(func() (string, error) { return pathFrom("get-prometheus", "promtool") })
	PrometheusBinary = sync.OnceValues(func() (string, error) { return pathFrom("get-prometheus", "prometheus") })
)

// pathFrom runs a script that prints a path.
func pathFrom(script string, args ...string) (string, error) {
	root, err := RepoRoot()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(context.Background(), filepath.Join(root, "scripts", script), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/%s: %w", script, err)
	}
	return strings.TrimSpace(string(out)), nil
}
