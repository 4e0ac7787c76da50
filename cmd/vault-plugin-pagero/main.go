// Command vault-plugin-pagero is the Pagero secrets engine as a Vault plugin. Vault
// starts it. Run by hand, it prints how to register it.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend"
)

const usage = `vault-plugin-pagero %[1]s

This is a plugin for HashiCorp Vault: a secrets engine that keeps Pagero Online's
OAuth refresh tokens and hands out access tokens. Vault starts it; do not start it
by hand. To register it, put it into Vault's plugin_directory and run:

    vault plugin register -sha256="$(sha256sum vault-plugin-pagero | cut -d' ' -f1)" \
        -version=%[1]s secret vault-plugin-pagero
    vault secrets enable -path=pagero vault-plugin-pagero

Options:
    --version    print the version, the commit and what it was built with
    --help       print this text
`

// commit is the commit that the binary was built from; the linker sets it.
var commit = "unknown"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	for _, arg := range args {
		switch arg {
		case "--version", "-version", "version":
			fmt.Fprintf(stdout, "vault-plugin-pagero %s (commit %s, %s, %s/%s)\n",
				backend.Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return 0
		case "--help", "-help", "-h", "help":
			fmt.Fprintf(stdout, usage, backend.Version)
			return 0
		}
	}
	if os.Getenv(plugin.HandshakeConfig.MagicCookieKey) != plugin.HandshakeConfig.MagicCookieValue {
		fmt.Fprintf(stderr, usage, backend.Version)
		return 1
	}
	return serve(args, stderr)
}

// serve runs until Vault ends the plugin. It serves one mount: it calls Serve, not
// ServeMultiplex, because a reload of one mount kills a multiplexed process while the
// exchanges of the other mounts are in progress.
func serve(args []string, stderr io.Writer) int {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: stderr, JSONFormat: true})
	// A signal to Vault's process group must not end the plugin during an exchange.
	// Vault ends the plugin over RPC.
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)

	meta := &api.PluginAPIClientMeta{}
	if err := meta.FlagSet().Parse(args); err != nil {
		logger.Error("unknown argument", "error", err)
		return 1
	}
	go exitWithParent(logger)
	err := plugin.Serve(&plugin.ServeOpts{
		BackendFactoryFunc: backend.Factory,
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		Logger:             logger,
	})
	if err != nil {
		logger.Error("plugin ended", "error", err)
		return 1
	}
	return 0
}
