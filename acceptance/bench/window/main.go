// Command window measures the one window that nothing can close: from the moment at which the server
// has consumed a refresh token to the moment at which the next one is saved. Who kills the plugin or
// its Vault in between loses the token.
//
// The answer goes to the reader after the save, so the time to the reader's receipt is an upper
// bound of the window. On loopback an answer takes no time to arrive; a real server's takes half a
// round trip more. Beside each exchange, in the same round, one value of about the same size is written twice to
// KV version 1 of the same Vault: such a write is the least that saving a token can cost.
//
// It measures a Vault of one node and one of three, prints what it found and judges nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

func main() {
	exchanges := flag.Int("exchanges", 200, "exchanges to measure on each Vault")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, max(*exchanges, 1))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run builds the plugin, and measures and reports for each size of a Vault.
func run(ctx context.Context, exchanges int) error {
	dir, err := os.MkdirTemp("", "pagero-window-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(os.Stderr, "building the plugin")
	plugin, err := harness.PageroPluginForBench(ctx, dir, "v0.0.0-bench")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "raft storage is below %s\n", os.TempDir())
	for _, nodes := range []int{1, 3} {
		fmt.Fprintf(os.Stderr, "measuring on a Vault of %d\n", nodes)
		measured, err := measureOn(ctx, plugin, nodes, exchanges)
		if err != nil {
			return err
		}
		if err := report(os.Stdout, nodes, measured); err != nil {
			return err
		}
	}
	return nil
}

// measureOn starts a Vault of so many nodes for one measurement. There is no audit device and little
// log: both would delay the reader's receipt, and not the save.
func measureOn(ctx context.Context, plugin harness.Plugin, nodes, exchanges int) (rounds []round, err error) {
	cluster, err := harness.Start(ctx, harness.Options{
		Nodes: nodes, Plugins: []harness.Plugin{plugin}, LogLevel: "warn", NoAudit: true,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	active, err := cluster.Active(ctx)
	if err != nil {
		return nil, err
	}
	scene, err := prepare(ctx, active)
	if err != nil {
		return nil, err
	}
	defer scene.close()
	return scene.measure(ctx, exchanges)
}
