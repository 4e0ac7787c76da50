// Package operators tests examples/kubernetes. It runs the real code of External Secrets Operator with its example on a real
// Vault with the built plugin, and decodes every file strictly. Kubernetes is the fake client of controller-runtime. The
// package is in its own module, because the operator depends on many others.
package operators

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

const (
	pluginName   = "vault-plugin-pagero"
	readerPolicy = "pagero-acme-read" // its name in README.md
	// kubeconfig names a Kubernetes that does not exist. The operator requires one, but sends it no requests if it logs in to
	// Vault with a token from a Secret.
	kubeconfig = `{"apiVersion": "v1", "kind": "Config", "current-context": "none",
"clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
"contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
"users": [{"name": "none", "user": {}}]}`
)

// TestMain sets these up: a Vault with the plugin mounted at pagero, as in the examples, with the client default and the
// account acme.
var (
	node        *harness.Node
	server      *sandbox.Server
	examples    string // the folder of the examples
	readerToken string // of Vault, with the example's policy
)

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	root, err := harness.RepoRoot()
	if err != nil {
		return 1, err
	}
	examples = filepath.Join(root, "examples", "kubernetes")
	dir, err := os.MkdirTemp("", "pagero-operators-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "kubeconfig")
	if err := errors.Join(os.WriteFile(config, []byte(kubeconfig), 0o600), os.Setenv("KUBECONFIG", config)); err != nil {
		return 1, err
	}
	plugin, err := harness.PageroPlugin(ctx, dir, "v0.9.1-operators")
	if err != nil {
		return 1, err
	}
	cluster, err := harness.Start(ctx, harness.Options{Plugins: []harness.Plugin{plugin}})
	if err != nil {
		return 1, err
	}
	defer func() {
		end := cluster.Close
		if code != 0 {
			fmt.Fprintf(os.Stderr, "Vault's log and data are kept in %s\n%s", cluster.Dir, cluster.LogTail(30))
			end = cluster.CloseKeepingFiles
		}
		err = errors.Join(err, end())
	}()
	node = cluster.Nodes[0]
	if server, err = sandbox.Start(sandbox.Config{Faults: true}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := enrol(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// enrol mounts the plugin, enrols acme, and creates a token with the policy of the examples.
func enrol(ctx context.Context) error {
	if err := node.Enable(ctx, "pagero", pluginName, nil); err != nil {
		return err
	}
	refreshToken, err := server.Login(ctx, sandbox.DefaultClientID, sandbox.DefaultUsername)
	if err != nil {
		return err
	}
	for _, write := range []struct {
		path string
		data map[string]any
	}{
		{"config", map[string]any{"allowed_hosts": "127.0.0.1"}},
		{"clients/default", map[string]any{
			"client_id": sandbox.DefaultClientID, "client_secret": sandbox.DefaultClientSecret,
			"token_url": server.TokenURL(), "revoke_url": server.RevokeURL(), "ca_cert": string(server.CACertPEM()),
		}},
		{"accounts/acme", map[string]any{"refresh_token": refreshToken}},
	} {
		if _, err := node.Client().Logical().WriteWithContext(ctx, "pagero/"+write.path, write.data); err != nil {
			return err
		}
	}
	rules, err := os.ReadFile(filepath.Join(examples, "policy.hcl"))
	if err != nil {
		return err
	}
	readerToken, err = node.TokenFor(ctx, readerPolicy, string(rules))
	return err
}

// must ends the test if err is not nil.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
