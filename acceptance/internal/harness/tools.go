package harness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

// Plugin is a plugin binary and how it is registered.
type Plugin struct {
	Name    string // of the binary and in Vault's catalog
	Version string // semantic, with a leading v; empty where the plugin reports none
	Path    string
	SHA256  string // hexadecimal
	Command string // name in the plugin directory; empty: the same as Name
}

// BuildOptions say what BuildPlugin builds.
type BuildOptions struct {
	Name    string
	Version string
	Module  string   // directory of the go.mod, relative to the repository's root
	Package string   // relative to Module, such as ./cmd/x
	LDFlags []string // passed to the linker
	NoRace  bool     // never with the race detector, for measurements
}

// BuildPlugin builds a plugin into dir. It has the race detector when the calling program has it.
func BuildPlugin(ctx context.Context, dir string, opts BuildOptions) (Plugin, error) {
	root, err := RepoRoot()
	if err != nil {
		return Plugin{}, err
	}
	p := Plugin{Name: opts.Name, Version: opts.Version, Path: filepath.Join(dir, opts.Name)}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", p.Path}
	if raceEnabled && !opts.NoRace {
		args = append(args, "-race")
	}
	if len(opts.LDFlags) > 0 {
		args = append(args, "-ldflags", strings.Join(opts.LDFlags, " "))
	}
	cmd := exec.CommandContext(ctx, "go", append(args, opts.Package)...)
	cmd.Dir = filepath.Join(root, opts.Module)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return Plugin{}, fmt.Errorf("go build %s in %s: %w\n%s", opts.Package, cmd.Dir, err, output.String())
	}
	p.SHA256, err = fileSHA256(p.Path)
	return p, err
}

// PageroPlugin builds the plugin of this repository into dir, with the given version.
func PageroPlugin(ctx context.Context, dir, version string) (Plugin, error) {
	return BuildPlugin(ctx, dir, pageroBuild(version))
}

// pageroBuild says how the plugin of this repository is built.
func pageroBuild(version string) BuildOptions {
	return BuildOptions{
		Name:    "vault-plugin-pagero",
		Version: version,
		Module:  ".",
		Package: "./cmd/vault-plugin-pagero",
		LDFlags: []string{"-X github.com/vault-plugin-pagero/vault-plugin-pagero/backend.Version=" + version},
	}
}

// PageroPluginForBench is PageroPlugin without the race detector.
func PageroPluginForBench(ctx context.Context, dir, version string) (Plugin, error) {
	opts := pageroBuild(version)
	opts.NoRace = true
	return BuildPlugin(ctx, dir, opts)
}

// fileSHA256 returns the hexadecimal SHA-256 sum of a file.
func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// linkOrCopy makes the file src available as dst, as a hard link where that is possible. A dst that is
// there is left alone.
func linkOrCopy(src, dst string) error {
	err := os.Link(src, dst)
	if err == nil || errors.Is(err, os.ErrExist) { // it may be running, and must not be written over
		return nil
	}
	content, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, content, 0o755) //nolint:gosec // it is a program
}
