package acceptance

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

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// appRoles counts the mounts of AppRole, to give each its own path.
var appRoles atomic.Int64

// host is a machine on which the files of examples/agent are installed, each below a directory of
// the test's in the place of its own: the configuration with its credentials, and what is rendered.
type host struct {
	s       *stage
	etc     string // in the place of /etc/pagero-agent
	run     string // in the place of /run/pagero
	replace *strings.Replacer
}

// newHost installs the examples and the credentials of an AppRole with one of their policies. More
// replacements in the files, in pairs, are of times and of where an application is.
func (s *stage) newHost(policy string, replacements ...string) *host {
	s.t.Helper()
	dir := s.t.TempDir()
	h := &host{s: s, etc: filepath.Join(dir, "etc"), run: filepath.Join(dir, "run")}
	appRole := fmt.Sprintf("approle%d", appRoles.Add(1))
	h.replace = strings.NewReplacer(append(replacements,
		"https://vault.example.com:8200", s.node.Address,
		"auth/approle", "auth/"+appRole,
		"pagero/token/acme", s.mount+"/token/acme",
		"/etc/pagero-agent", h.etc,
		"/run/pagero", h.run)...)

	examples := s.example("agent")
	must(s.t, filepath.WalkDir(examples, func(path string, entry fs.DirEntry, err error) error {
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
	// The Vault of these tests speaks plain http, so that nothing is verified with this.
	must(s.t, h.install("vault-ca.pem", string(s.sandbox.CACertPEM())))
	h.setUp(appRole, policy)
	return h
}

// example returns the path of a file or folder of examples/.
func (s *stage) example(name string) string {
	s.t.Helper()
	root, err := harness.RepoRoot()
	must(s.t, err)
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

// setUp runs the commands of the README for an AppRole at a path of its own, which lasts until the test
// ends, with one of the policies.
func (h *host) setUp(appRole, policy string) {
	s := h.s
	s.t.Helper()
	commands := strings.NewReplacer(
		"enable approle", "enable -path="+appRole+" approle",
		"auth/approle", "auth/"+appRole,
		"pagero-acme", "acme-"+appRole,
		"policy.hcl", policy).Replace(commandsBelow(repoFile(s.t, "examples/agent/README.md"), "## Set it up"))
	s.shell(h.etc, commands)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), cleanupTimeout)
		defer cancel()
		if err := s.node.Client().Sys().DisableAuthWithContext(ctx, appRole); err != nil {
			s.t.Errorf("disabling %s: %v", appRole, err)
		}
	})
}

// shell runs commands in a directory, as a user with the stage's token would; all must succeed.
func (s *stage) shell(dir, commands string) string {
	s.t.Helper()
	if commands == "" {
		s.t.Fatal("there are no commands")
	}
	result, err := s.node.Shell(s.ctx, s.token, dir, commands)
	must(s.t, err)
	if result.Code != 0 {
		s.t.Fatalf("exit code %d of\n%s%s%s", result.Code, commands, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

// start runs an Agent or a Proxy ("agent", "proxy") with configuration files of the examples. It is
// stopped when the test ends, unless it has ended by itself.
func (h *host) start(command string, configs ...string) *harness.Program {
	h.s.t.Helper()
	args := []string{command, "-log-level=debug"}
	for _, config := range configs {
		args = append(args, "-config="+filepath.Join(h.etc, config))
	}
	// The commands of the examples are found here first.
	path := "PATH=" + h.etc + string(os.PathListSeparator) + os.Getenv("PATH")
	program, err := h.s.node.StartVault(filepath.Join(h.etc, command+".log"), []string{path}, args...)
	must(h.s.t, err)
	h.s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.s.ctx), time.Minute)
		defer cancel()
		if err := program.Stop(ctx); err != nil {
			h.s.t.Error(err)
		}
		if h.s.t.Failed() {
			log := program.Log()
			h.s.t.Logf("vault %s said:\n%s", command, log[max(0, len(log)-8000):])
		}
	})
	return program
}

// tokenIn returns the access token in a rendered file, in whatever form it has, or "" where there is no
// file yet.
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
		var document struct {
			AccessToken string    `json:"access_token"`
			ExpireTime  time.Time `json:"expire_time"`
		}
		if err := json.Unmarshal(content, &document); err != nil {
			return "", fmt.Errorf("%s is %q: %w", name, text, err)
		}
		if expires, err := expiry(document.AccessToken); err != nil || document.ExpireTime.IsZero() || document.ExpireTime.After(expires) {
			return "", fmt.Errorf("%s says that the token expires at %s: %w", name, document.ExpireTime, err)
		}
		return document.AccessToken, nil
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

// watched is what a file has held.
type watched struct {
	s        *stage
	name     string
	read     func() (token string, err error) // "" is nothing yet
	tokens   atomic.Pointer[[]string]         // that the API has accepted, in their order
	failed   atomic.Bool
	looks    int
	shortest time.Duration // of the remaining lives
}

// watch looks at a file all the time until the test ends, or until it does not hold what it should: as
// soon as it is there, it holds a token that lives at that moment and that the API accepts.
func (s *stage) watch(name string, read func() (string, error)) *watched {
	s.t.Helper()
	w := &watched{s: s, name: name, read: read}
	w.tokens.Store(&[]string{})
	ended := make(chan error, 1)
	go func() {
		ended <- harness.Until(s.ctx, name, func(context.Context) (bool, error) {
			err := w.look()
			if err != nil && s.ctx.Err() == nil {
				s.t.Error(err) // Until would go on
				w.failed.Store(true)
			}
			return w.failed.Load(), nil
		})
	}()
	s.t.Cleanup(func() { // the context has ended before
		if err := <-ended; err != nil && s.ctx.Err() == nil {
			s.t.Error(err)
		}
		s.t.Logf("%s: %d looks, %d tokens, the shortest remaining life was %s",
			name, w.looks, len(*w.tokens.Load()), w.shortest.Round(time.Millisecond))
	})
	return w
}

// look looks once.
func (w *watched) look() error {
	before := time.Now() // a token that is read later lives at this moment, or does not any more
	token, err := w.read()
	seen := *w.tokens.Load()
	if err != nil || token == "" && len(seen) == 0 {
		return err
	}
	expires, err := expiry(token)
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	left := expires.Sub(before)
	if left <= 0 {
		return fmt.Errorf("%s holds token %d, which has expired %s ago", w.name, len(seen), -left)
	}
	if w.looks++; w.looks == 1 || left < w.shortest {
		w.shortest = left
	}
	if len(seen) > 0 && seen[len(seen)-1] == token {
		return nil
	}
	if err := w.s.apiAccepts(token); err != nil {
		return fmt.Errorf("%s: token %d: %w", w.name, len(seen)+1, err)
	}
	next := append(append([]string(nil), seen...), token)
	w.tokens.Store(&next)
	return nil
}

// hasHeld says whether the file has held so many tokens, or the test has failed because of it.
func (w *watched) hasHeld(count int) bool { return len(*w.tokens.Load()) >= count || w.failed.Load() }

// wantAllIssued asserts that the file has held each token that the server has issued, in their order,
// save the newest ones, which may come yet.
func (w *watched) wantAllIssued() {
	w.s.t.Helper()
	var issued []string
	for _, r := range w.s.sandbox.Requests() {
		if r.AccessToken != "" {
			issued = append(issued, r.AccessToken)
		}
	}
	tokens := *w.tokens.Load()
	if len(tokens) > len(issued) || len(issued)-len(tokens) > 1 {
		w.s.t.Errorf("%s has held %d tokens, %d were issued", w.name, len(tokens), len(issued))
		return
	}
	for i, token := range tokens {
		if token != issued[i] {
			w.s.t.Errorf("%s: token %d is not the one that was issued as number %d", w.name, i+1, i+1)
		}
	}
}
