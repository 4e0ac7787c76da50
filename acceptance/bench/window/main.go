// Command window measures the window that nothing can close: from the moment at which the server has consumed a refresh token
// to the moment at which the next one is saved. If the plugin or its Vault is killed in between, the token is lost.
//
// The plugin answers the reader after the save, so the time until the reader has the answer is an upper bound of the window.
// On loopback an answer arrives at once. The answer of a real server takes half a round trip. In the same round as each
// exchange, a value of about the same size is written twice to KV version 1 of the same Vault. Such a write is the minimum
// cost of saving a token.
//
// It measures a Vault with one node and one with three nodes, and prints the results without a judgement.
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

// run builds the plugin, and measures and reports each size of a Vault.
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
		fmt.Fprintf(os.Stderr, "measuring a Vault with %d node(s)\n", nodes)
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

// measureOn starts a Vault with a number of nodes for one measurement. There is no audit device and little logging, because
// both would delay the reader's answer and not the save.
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
	f, err := newFixture(ctx, active)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.measure(ctx, exchanges)
}
