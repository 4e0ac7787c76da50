package harness_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// startWithBarePlugin starts a cluster and mounts the smallest plugin at bare/.
func startWithBarePlugin(t *testing.T, nodes int) (context.Context, *harness.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	bare, err := harness.BuildPlugin(ctx, t.TempDir(), harness.BuildOptions{
		Name: "bareplugin", Module: "acceptance/bench/plugins", Package: "./bareplugin",
	})
	must(t, err)
	cluster, err := harness.Start(ctx, harness.Options{Nodes: nodes, Plugins: []harness.Plugin{bare}})
	must(t, err)
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(cluster.Dir); !os.IsNotExist(err) {
			t.Errorf("files are left in %s: %v, %v", cluster.Dir, left, err)
		}
		for _, node := range cluster.Nodes {
			if node.Running() {
				t.Errorf("%s is still running", node.Name)
			}
		}
		if left := processesOf(t, cluster); left != "" {
			t.Errorf("plugin processes are left: %s", left)
		}
	})
	active, err := cluster.Active(ctx)
	must(t, err)
	must(t, active.Enable(ctx, "bare", "bareplugin", nil))
	return ctx, cluster
}

func TestANodeCanBeSealedRestartedAndReloaded(t *testing.T) {
	ctx, cluster := startWithBarePlugin(t, 1)
	node := cluster.Nodes[0]
	before := pluginPIDs(ctx, t, node)

	must(t, node.Reload(ctx, "bare/"))
	reloaded := pluginPIDs(ctx, t, node)
	if maps.Equal(before, reloaded) {
		t.Errorf("the reload kept the plugin process %v", before)
	}

	must(t, node.Seal(ctx))
	must(t, harness.Until(ctx, "the plugin to end", func(ctx context.Context) (bool, error) {
		processes, err := node.PluginProcesses(ctx, "bareplugin")
		return len(processes) == 0, err
	}))
	must(t, node.Unseal(ctx))

	must(t, node.Restart(ctx))
	pluginPIDs(ctx, t, node)
}

func TestAnotherNodeReplacesTheActiveOne(t *testing.T) {
	ctx, cluster := startWithBarePlugin(t, 3)
	replaced := func(what string, replace func(*harness.Node) error) *harness.Node {
		t.Helper()
		first, err := cluster.Active(ctx)
		must(t, err)
		must(t, replace(first))
		must(t, harness.Until(ctx, "another active node after one "+what, func(ctx context.Context) (bool, error) {
			second, err := cluster.Active(ctx)
			if err == nil && second != first {
				writeAndRead(ctx, t, second)
			}
			return second != first, err
		}))
		return first
	}
	replaced("stepped down", func(n *harness.Node) error { return n.StepDown(ctx) })
	frozen := replaced("was frozen", func(n *harness.Node) error { return n.Freeze() })
	must(t, frozen.Thaw())
	_, err := cluster.Agreed(ctx)
	must(t, err)
	killed := replaced("was killed", func(n *harness.Node) error { return n.Kill(ctx) })
	must(t, killed.Start(ctx))
	must(t, killed.Unseal(ctx))
	_, err = cluster.Agreed(ctx)
	must(t, err)
}

// processesOf returns the command lines that contain the cluster's directory.
func processesOf(t *testing.T, cluster *harness.Cluster) string {
	t.Helper()
	all, err := harness.ListProcesses(context.WithoutCancel(t.Context()))
	must(t, err)
	var found string
	for _, p := range all {
		if strings.Contains(p.Command, cluster.Dir) {
			found += fmt.Sprintf("%d %s\n", p.PID, p.Command)
		}
	}
	return found
}

// pluginPIDs uses the plugin, so that Vault starts it, and returns its process IDs.
func pluginPIDs(ctx context.Context, t *testing.T, node *harness.Node) map[int]bool {
	t.Helper()
	writeAndRead(ctx, t, node)
	processes, err := node.PluginProcesses(ctx, "bareplugin")
	must(t, err)
	if len(processes) == 0 {
		t.Fatal("no process of the plugin was found")
	}
	pids := map[int]bool{}
	for _, p := range processes {
		pids[p.PID] = true
	}
	return pids
}

// writeAndRead asserts that the plugin returns what was written to it.
func writeAndRead(ctx context.Context, t *testing.T, node *harness.Node) {
	t.Helper()
	vault := node.Client().Logical()
	_, err := vault.WriteWithContext(ctx, "bare/x", map[string]any{"answer": "forty-two"})
	must(t, err)
	secret, err := vault.ReadWithContext(ctx, "bare/x")
	must(t, err)
	if secret == nil || secret.Data["answer"] != "forty-two" {
		t.Fatalf("bare/x answered %+v", secret)
	}
}

// must ends the test if err is not nil.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
