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

// RepoRoot returns the root of the repository that contains the working directory.
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

// VaultBinary returns the path of a vault binary, which scripts/get-vault finds or builds. The script runs only once. Its
// progress goes to stderr.
var VaultBinary = sync.OnceValues(func() (string, error) { return pathFrom("get-vault") })

// ChromiumBinary returns the path of a Chromium, which scripts/get-chromium finds or installs.
var ChromiumBinary = sync.OnceValues(func() (string, error) { return pathFrom("get-chromium") })

// TerraformBinary and TerraformProvider return the paths of Terraform and of its provider for Vault.
var (
	TerraformBinary   = sync.OnceValues(func() (string, error) { return pathFrom("get-terraform") })
	TerraformProvider = sync.OnceValues(func() (string, error) { return pathFrom("get-terraform-provider") })
)

// PromtoolBinary and PrometheusBinary return the paths of the programs of Prometheus, which scripts/get-prometheus finds or
// downloads.
var (
	PromtoolBinary   = sync.OnceValues(func() (string, error) { return pathFrom("get-prometheus", "promtool") })
	PrometheusBinary = sync.OnceValues(func() (string, error) { return pathFrom("get-prometheus", "prometheus") })
)

// pathFrom runs a script that prints a path, and returns the path.
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
