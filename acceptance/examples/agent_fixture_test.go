package examples

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// appRoles counts the mounts of AppRole, to give each its own path.
var appRoles atomic.Int64

// host is a machine with the files of examples/agent. Directories of the test replace those of the examples.
type host struct {
	f       *fixture.Fixture
	etc     string // replaces /etc/pagero-agent: configuration and credentials
	run     string // replaces /run/pagero: rendered files
	replace *strings.Replacer
}

// newHost installs the examples, and the credentials of an AppRole with one of their policies. replacements are more pairs of
// texts to replace in the files: times and the path of an application.
func newHost(f *fixture.Fixture, policy string, replacements ...string) *host {
	f.T.Helper()
	dir := f.T.TempDir()
	h := &host{f: f, etc: filepath.Join(dir, "etc"), run: filepath.Join(dir, "run")}
	appRole := fmt.Sprintf("approle%d", appRoles.Add(1))
	h.replace = strings.NewReplacer(append(replacements,
		"https://vault.example.com:8200", f.Node.Address,
		"auth/approle", "auth/"+appRole,
		"pagero/token/acme", f.Mount+"/token/acme",
		"/etc/pagero-agent", h.etc,
		"/run/pagero", h.run)...)

	examples := example(f, "agent")
	fixture.Must(f.T, filepath.WalkDir(examples, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(examples, path)
		if err != nil {
			return err
		}
		return h.install(name, h.replace.Replace(string(content)))
	}))
	// The Vault of these tests speaks plain HTTP, so nothing is verified with this certificate.
	fixture.Must(f.T, h.install("vault-ca.pem", string(f.Sandbox.CACertPEM())))
	h.setUp(appRole, policy)
	return h
}

// example returns the path of a file or folder of examples/.
func example(f *fixture.Fixture, name string) string {
	f.T.Helper()
	root, err := harness.RepoRoot()
	fixture.Must(f.T, err)
	return filepath.Join(root, "examples", filepath.FromSlash(name))
}

// install writes a file of the configuration.
func (h *host) install(name, content string) error {
	path := filepath.Join(h.etc, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

// setUp runs the commands of the README for an AppRole with one of the policies, at its own path. The AppRole is removed when
// the test ends.
func (h *host) setUp(appRole, policy string) {
	f := h.f
	f.T.Helper()
	commands := strings.NewReplacer(
		"enable approle", "enable -path="+appRole+" approle",
		"auth/approle", "auth/"+appRole,
		"pagero-acme", "acme-"+appRole,
		"policy.hcl", policy).Replace(document.CommandsBelow(document.Read(f.T, "examples/agent/README.md"), "## Set it up"))
	shell(f, h.etc, commands)
	f.T.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(f.Ctx), fixture.CleanupTimeout)
		defer cancel()
		if err := f.Node.Client().Sys().DisableAuthWithContext(ctx, appRole); err != nil {
			f.T.Errorf("disabling %s: %v", appRole, err)
		}
	})
}

// shell runs commands in a directory, with the Vault token of the fixture. All must succeed. It returns their output.
func shell(f *fixture.Fixture, dir, commands string) string {
	f.T.Helper()
	if commands == "" {
		f.T.Fatal("there are no commands")
	}
	result, err := f.Node.Shell(f.Ctx, f.Token, dir, commands)
	fixture.Must(f.T, err)
	if result.Code != 0 {
		f.T.Fatalf("exit code %d of\n%s%s%s", result.Code, commands, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

// start runs an Agent or a Proxy (command is "agent" or "proxy") with configuration files of the examples. It stops when the
// test ends.
func (h *host) start(command string, configs ...string) *harness.Program {
	h.f.T.Helper()
	args := []string{command, "-log-level=debug"}
	for _, config := range configs {
		args = append(args, "-config="+filepath.Join(h.etc, config))
	}
	// The fake commands in this directory come first.
	path := "PATH=" + h.etc + string(os.PathListSeparator) + os.Getenv("PATH")
	program, err := h.f.Node.StartVault(filepath.Join(h.etc, command+".log"), []string{path}, args...)
	fixture.Must(h.f.T, err)
	h.f.T.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.f.Ctx), time.Minute)
		defer cancel()
		if err := program.Stop(ctx); err != nil {
			h.f.T.Error(err)
		}
		if h.f.T.Failed() {
			log := program.Log()
			h.f.T.Logf("vault %s said:\n%s", command, log[max(0, len(log)-8000):])
		}
	})
	return program
}

// tokenIn returns the access token in a rendered file of any format, or "" if there is no file yet.
func (h *host) tokenIn(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(h.run, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	text := string(content)
	if strings.HasSuffix(name, ".json") {
		var rendered struct {
			AccessToken string    `json:"access_token"`
			ExpireTime  time.Time `json:"expire_time"`
		}
		if err := json.Unmarshal(content, &rendered); err != nil {
			return "", fmt.Errorf("%s is %q: %w", name, text, err)
		}
		if expires, err := fixture.Expiry(rendered.AccessToken); err != nil || rendered.ExpireTime.IsZero() || rendered.ExpireTime.After(expires) {
			return "", fmt.Errorf("%s says that the token expires at %s: %w", name, rendered.ExpireTime, err)
		}
		return rendered.AccessToken, nil
	}
	prefix := "Authorization: Bearer "
	if strings.HasSuffix(name, ".env") {
		prefix = "PAGERO_ACCESS_TOKEN="
	}
	token, found := strings.CutPrefix(text, prefix)
	token, whole := strings.CutSuffix(token, "\n")
	if !found || !whole || strings.ContainsAny(token, " \n") {
		return "", fmt.Errorf("%s is %q", name, text)
	}
	return token, nil
}

// watched records the tokens that a file has held.
type watched struct {
	f        *fixture.Fixture
	name     string
	read     func() (token string, err error) // returns "" if there is no token yet
	tokens   atomic.Pointer[[]string]         // that the API has accepted, in order
	failed   atomic.Bool
	looks    int
	shortest time.Duration // remaining lifetime
}

// watch reads a file all the time until the test ends or fails. As soon as the file exists, it must hold a valid token that
// the API accepts.
func watch(f *fixture.Fixture, name string, read func() (string, error)) *watched {
	f.T.Helper()
	w := &watched{f: f, name: name, read: read}
	w.tokens.Store(&[]string{})
	ended := make(chan error, 1)
	go func() {
		ended <- harness.Until(f.Ctx, name, func(context.Context) (bool, error) {
			err := w.look()
			if err != nil && f.Ctx.Err() == nil {
				f.T.Error(err) // Until would try again
				w.failed.Store(true)
			}
			return w.failed.Load(), nil
		})
	}()
	f.T.Cleanup(func() { // the context has ended by then
		if err := <-ended; err != nil && f.Ctx.Err() == nil {
			f.T.Error(err)
		}
		f.T.Logf("%s: %d reads, %d tokens, the shortest remaining lifetime was %s",
			name, w.looks, len(*w.tokens.Load()), w.shortest.Round(time.Millisecond))
	})
	return w
}

// look reads the file once.
func (w *watched) look() error {
	before := time.Now() // a token that is read later must be valid at this time
	token, err := w.read()
	seen := *w.tokens.Load()
	if err != nil || token == "" && len(seen) == 0 {
		return err
	}
	expires, err := fixture.Expiry(token)
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	left := expires.Sub(before)
	if left <= 0 {
		return fmt.Errorf("%s holds token %d, which expired %s ago", w.name, len(seen), -left)
	}
	if w.looks++; w.looks == 1 || left < w.shortest {
		w.shortest = left
	}
	if len(seen) > 0 && seen[len(seen)-1] == token {
		return nil
	}
	if err := w.f.APIAccepts(token); err != nil {
		return fmt.Errorf("%s: token %d: %w", w.name, len(seen)+1, err)
	}
	next := append(append([]string(nil), seen...), token)
	w.tokens.Store(&next)
	return nil
}

// hasHeld reports whether the file has held count tokens, or the watch has failed.
func (w *watched) hasHeld(count int) bool { return len(*w.tokens.Load()) >= count || w.failed.Load() }

// wantAllIssued asserts that the file has held all tokens that the server has issued, in order. The newest token may be
// missing.
func (w *watched) wantAllIssued() {
	w.f.T.Helper()
	var issued []string
	for _, r := range w.f.Sandbox.Requests() {
		if r.AccessToken != "" {
			issued = append(issued, r.AccessToken)
		}
	}
	tokens := *w.tokens.Load()
	if len(tokens) > len(issued) || len(issued)-len(tokens) > 1 {
		w.f.T.Errorf("%s has held %d tokens, %d were issued", w.name, len(tokens), len(issued))
		return
	}
	for i, token := range tokens {
		if token != issued[i] {
			w.f.T.Errorf("%s: token %d is not the one that was issued as number %d", w.name, i+1, i+1)
		}
	}
}
