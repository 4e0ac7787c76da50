package harness

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// enableAudit enables the audit log.
func (n *Node) enableAudit(ctx context.Context) error {
	return n.Client().Sys().EnableAuditWithOptionsWithContext(ctx, "file", &api.EnableAuditOptions{
		Type:    "file",
		Options: map[string]string{"file_path": n.AuditLog()},
	})
}

// Register registers a plugin in the catalog. Its binary must be in the plugin directory.
func (n *Node) Register(ctx context.Context, p Plugin) error {
	return n.Client().Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name:    p.Name,
		Type:    api.PluginTypeSecrets,
		Command: cmp.Or(p.Command, p.Name),
		SHA256:  p.SHA256,
		Version: p.Version,
	})
}

// Enable mounts a secrets engine: a plugin or a built-in one.
func (n *Node) Enable(ctx context.Context, path, engine string, options map[string]string) error {
	return n.Client().Sys().MountWithContext(ctx, path, &api.MountInput{Type: engine, Options: options})
}

// EnableVersion mounts a version of a plugin. An empty version is the highest registered one.
func (n *Node) EnableVersion(ctx context.Context, path, plugin, version string) error {
	return n.Client().Sys().MountWithContext(ctx, path, &api.MountInput{
		Type: plugin, Config: api.MountConfigInput{PluginVersion: version},
	})
}

// Disable removes a mount and all its data.
func (n *Node) Disable(ctx context.Context, path string) error {
	return n.Client().Sys().UnmountWithContext(ctx, path)
}

// Reload restarts the plugin processes of the mounts.
func (n *Node) Reload(ctx context.Context, mounts ...string) error {
	_, err := n.Client().Sys().ReloadPluginWithContext(ctx, &api.ReloadPluginInput{Mounts: mounts})
	return err
}

// StepDown makes the active node step down. It returns when the node has begun to.
func (n *Node) StepDown(ctx context.Context) error {
	return n.Client().Sys().StepDownWithContext(ctx)
}

// PluginProcesses returns the running processes of a plugin of this node. Vault starts a plugin at its first use.
func (n *Node) PluginProcesses(ctx context.Context, name string) ([]Process, error) {
	all, err := findProcesses(ctx, n.cluster.PluginDir)
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, p := range all {
		if p.Parent == n.process.Load().cmd.Process.Pid && strings.HasSuffix(p.Command, "/"+name) {
			found = append(found, p)
		}
	}
	return found, nil
}

// TokenFor stores a policy with these rules under name, and returns a token that has only this policy.
func (n *Node) TokenFor(ctx context.Context, name, rules string) (string, error) {
	client := n.Client()
	if err := client.Sys().PutPolicyWithContext(ctx, name, rules); err != nil {
		return "", err
	}
	secret, err := client.Auth().Token().CreateWithContext(ctx, &api.TokenCreateRequest{
		Policies:        []string{name},
		NoDefaultPolicy: true,
		TTL:             time.Hour.String(),
	})
	if err != nil {
		return "", fmt.Errorf("a token with policy %s: %w", name, err)
	}
	return secret.Auth.ClientToken, nil
}
