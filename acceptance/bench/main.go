// Command bench measures the plugin on a real Vault. In the same run it measures what a user would compare the plugin with:
//
//   - bare: a plugin that answers a constant from HandleRequest, the fastest possible plugin,
//   - conventional: a plugin that answers a constant from a framework path,
//   - kv: Vault's own KV engine, which has no plugin process but reads its storage.
//
// The targets take turns in each round, because the speed of a machine varies, and ratios are formed within a round. The
// results go to docs/performance.md. With -scale it measures a mount with 100,000 accounts instead. It fails if the plugin
// does something wrong, such as one exchange too many, and never because something was slow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
)

// loadArgument is the argument that makes this program the load process.
const loadArgument = "load"

// plan is the extent of the measurements.
type plan struct {
	rounds   int
	duration time.Duration // of one job
	accounts int           // the largest number of accounts
	fresh    time.Duration // how long accounts with auto_refresh are watched
	idle     time.Duration // how long an idle Vault is watched
	quick    bool
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == loadArgument {
		exit(load.Serve(os.Stdin, os.Stdout))
	}
	var (
		p       plan
		atScale = flag.Bool("scale", false, "measure a mount with many accounts")
		docs    = flag.Bool("docs", true, "write docs/performance.md")
		only    = flag.String("only", "", "run one measurement; nothing is written")
	)
	flag.IntVar(&p.rounds, "rounds", 5, "rounds of each measurement")
	flag.DurationVar(&p.duration, "duration", time.Second, "time of one load of cached reads")
	flag.IntVar(&p.accounts, "accounts", 100_000, "the largest number of accounts")
	flag.DurationVar(&p.fresh, "fresh", 15*time.Minute, "how long accounts with auto_refresh are watched")
	flag.DurationVar(&p.idle, "idle", 2*time.Minute, "how long a Vault with nothing to do is watched")
	flag.BoolVar(&p.quick, "quick", false, "try the measurements out, with little of everything; nothing is written")
	flag.Parse()
	if p.quick {
		p.rounds, p.duration, p.accounts = 2, 300*time.Millisecond, 3000
		p.fresh, p.idle = 20*time.Second, 5*time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	measure := benchmark
	if *atScale {
		measure = scale
	}
	err := measure(ctx, p, *only, *docs && !p.quick && *only == "")
	stop()
	exit(err)
}

// exit ends the program.
func exit(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// step is one measurement.
type step struct {
	name string
	run  func(context.Context) error
}

// runSteps runs all measurements, or only the named one.
func runSteps(ctx context.Context, steps []step, only string) error {
	found := false
	for _, s := range steps {
		if only != "" && only != s.name {
			continue
		}
		found = true
		began := time.Now()
		fmt.Fprintf(os.Stderr, "measuring: %s\n", s.name)
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "  took %s\n", time.Since(began).Round(time.Second))
	}
	if !found {
		return fmt.Errorf("there is no measurement %q", only)
	}
	return nil
}

// progress prints a line about the progress.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "  "+format+"\n", args...)
}
