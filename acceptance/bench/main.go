// Command bench measures cached token reads through a real Vault, side by side in one run with
//
//   - bare: a plugin that answers a constant from HandleRequest, the most that a plugin can do,
//   - conventional: a plugin that answers a constant from a framework path,
//   - kv: Vault's own KV version 2, which is no plugin process but reads its storage.
//
// All answer the same data. The measurements take turns, round by round, because a machine is
// never equally fast twice; the ratios are formed within a round. It prints medians and spreads
// and judges nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// The names of the targets in the report.
const (
	pageroTarget       = "pagero"
	bareTarget         = "bare"
	conventionalTarget = "conventional"
	kvTarget           = "kv"
)

func main() {
	var (
		rounds   = flag.Int("rounds", 5, "rounds for each number of connections")
		duration = flag.Duration("duration", time.Second, "time of one measurement")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *rounds, *duration)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run sets everything up, measures and reports.
func run(ctx context.Context, rounds int, duration time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "pagero-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(os.Stderr, "building the plugins and starting Vault")
	cluster, err := startVault(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	node := cluster.Nodes[0]
	scene, err := prepare(ctx, node)
	if err != nil {
		return err
	}
	defer scene.close()

	load := loader{address: strings.TrimPrefix(node.Address, "http://"), token: cluster.RootToken}
	for _, t := range scene.targets { // warm up: connections, caches, the scheduler
		if _, err := load.measure(ctx, t, 16, duration); err != nil {
			return err
		}
	}
	for _, connections := range []int{1, 16, 64} {
		fmt.Fprintf(os.Stderr, "measuring with %d connections\n", connections)
		measured, err := interleave(ctx, load, scene.targets, connections, rounds, duration)
		if err != nil {
			return err
		}
		if err := report(os.Stdout, connections, scene.targets, measured); err != nil {
			return err
		}
	}
	return scene.checkCached()
}

// interleave measures every target once a round, beginning with another one each time.
func interleave(
	ctx context.Context, load loader, targets []target, connections, rounds int, duration time.Duration,
) (results, error) {
	measured := results{}
	for round := range rounds {
		for i := range targets {
			t := targets[(round+i)%len(targets)]
			rate, err := load.measure(ctx, t, connections, duration)
			if err != nil {
				return nil, err
			}
			measured[t.name] = append(measured[t.name], rate)
		}
	}
	return measured, nil
}

// startVault builds the plugins and starts a Vault with them. Nothing has the race detector, and
// there is no audit device and little log: both would cost every target the same.
func startVault(ctx context.Context, dir string) (*harness.Cluster, error) {
	pagero, err := harness.PageroPluginForBench(ctx, dir, "v0.0.0-bench")
	if err != nil {
		return nil, err
	}
	plugins := []harness.Plugin{pagero}
	for _, name := range []string{"bareplugin", "conventionalplugin"} {
		p, err := harness.BuildPlugin(ctx, dir, harness.BuildOptions{
			Name: name, Module: "acceptance", Package: "./" + name, NoRace: true,
		})
		if err != nil {
			return nil, err
		}
		plugins = append(plugins, p)
	}
	return harness.Start(ctx, harness.Options{Plugins: plugins, LogLevel: "warn", NoAudit: true})
}
