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
	"syscall"
)

// Plugin is a plugin binary with its registration.
type Plugin struct {
	Name    string // of the binary and in Vault's catalog
	Version string // semantic, with a leading v; empty if the plugin reports none
	Path    string
	SHA256  string // hexadecimal
	Command string // its name in the plugin directory; empty if it is Name
}

// BuildOptions describe what BuildPlugin builds.
type BuildOptions struct {
	Name    string
	Version string
	Module  string   // directory of the go.mod, relative to the repository's root
	Package string   // relative to Module, such as ./cmd/x
	LDFlags []string // passed to the linker
	NoRace  bool     // never use the race detector, for benchmarks
}

// BuildPlugin builds a plugin into dir. It has the race detector if the calling program has it.
//
// Several test processes build the same plugin. Each of them has the go command build it in the same place, one after
// the other, and links the result into dir: only the first has to wait for the linker.
func BuildPlugin(ctx context.Context, dir string, opts BuildOptions) (Plugin, error) {
	root, err := RepoRoot()
	if err != nil {
		return Plugin{}, err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false"}
	if raceEnabled && !opts.NoRace {
		args = append(args, "-race")
	}
	if len(opts.LDFlags) > 0 {
		args = append(args, "-ldflags", strings.Join(opts.LDFlags, " "))
	}
	built, unlock, err := lockBuild(root, opts, args)
	if err != nil {
		return Plugin{}, err
	}
	defer unlock()
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", built, opts.Package)...)
	cmd.Dir = filepath.Join(root, opts.Module)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return Plugin{}, fmt.Errorf("go build %s in %s: %w\n%s", opts.Package, cmd.Dir, err, output.String())
	}
	p := Plugin{Name: opts.Name, Version: opts.Version, Path: filepath.Join(dir, opts.Name)}
	if err := linkOrCopy(built, p.Path); err != nil {
		return Plugin{}, err
	}
	p.SHA256, err = fileSHA256(p.Path)
	return p, err
}

// lockBuild returns the path of a build with these arguments, below bin/acceptance, and locks it against other
// processes. The lock ends with unlock, or with this process.
func lockBuild(root string, opts BuildOptions, args []string) (path string, unlock func(), err error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%q", append(args, opts.Module, opts.Package)))
	dir := filepath.Join(root, "bin", "acceptance", hex.EncodeToString(key[:8]))
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for everybody to read
		return "", nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	for {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		lock.Close()
		return "", nil, err
	}
	return filepath.Join(dir, opts.Name), func() { lock.Close() }, nil
}

// PageroPlugin builds the plugin of this repository into dir, with the given version.
func PageroPlugin(ctx context.Context, dir, version string) (Plugin, error) {
	return BuildPlugin(ctx, dir, pageroBuild(version))
}

// pageroBuild returns how the plugin of this repository is built.
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

// linkOrCopy makes the file src available as dst, with a hard link if possible. It does not change an existing dst.
func linkOrCopy(src, dst string) error {
	err := os.Link(src, dst)
	if err == nil || errors.Is(err, os.ErrExist) { // it may be running, so it must not be overwritten
		return nil
	}
	content, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, content, 0o755) //nolint:gosec // it is a program
}
