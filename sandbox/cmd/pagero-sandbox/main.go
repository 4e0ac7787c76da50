// Command pagero-sandbox runs a local stand-in for Pagero Online's authorization
// server. It also does what a person does with such a server: obtain the first
// refresh token, log in with a browser, and call the API with an access token.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

const usage = `Usage: pagero-sandbox <command> [flags]

Commands:
  serve   run the sandbox until SIGINT or SIGTERM
  login   log in with a password and print the first refresh token
  visit   open an authorization URL as a browser does, log in, and print the last page
  call    use an access token at the protected API

"pagero-sandbox <command> -h" describes the flags.
`

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errUsage means that a message about the flags has been printed already.
var errUsage = errors.New("usage")

func main() {
	os.Exit(run(context.Background(), os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

func run(ctx context.Context, args []string, std streams) int {
	commands := map[string]func(context.Context, []string, streams) error{
		"serve": serve,
		"login": login,
		"visit": visit,
		"call":  call,
	}
	if len(args) == 0 {
		fmt.Fprint(std.err, usage)
		return exitUsage
	}
	command, ok := commands[args[0]]
	if !ok {
		if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
			fmt.Fprint(std.out, usage)
			return exitOK
		}
		fmt.Fprintf(std.err, "pagero-sandbox: unknown command %q\n\n%s", args[0], usage)
		return exitUsage
	}
	err := command(ctx, args[1:], std)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	}
	fmt.Fprintf(std.err, "pagero-sandbox %s: %v\n", args[0], err)
	return exitError
}

// newFlags returns a flag set that reports to the error stream.
func newFlags(name string, std streams) *flag.FlagSet {
	flags := flag.NewFlagSet("pagero-sandbox "+name, flag.ContinueOnError)
	flags.SetOutput(std.err)
	return flags
}

// parse reads the flags and, after them, exactly one argument for each of the
// variables.
func parse(flags *flag.FlagSet, args []string, arguments ...*string) error {
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() > len(arguments) {
		fmt.Fprintf(flags.Output(), "%s: unexpected argument %q\n", flags.Name(), flags.Arg(len(arguments)))
		return errUsage
	}
	if flags.NArg() < len(arguments) {
		fmt.Fprintf(flags.Output(), "%s: an argument is missing after the flags\n", flags.Name())
		return errUsage
	}
	for i, argument := range arguments {
		*argument = flags.Arg(i)
	}
	return nil
}
