package main

import (
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
)

// parentPoll is how often the plugin checks that its Vault is still running.
const parentPoll = time.Second

// exitWithParent ends the process if its parent, Vault, was killed or crashed: then
// nothing else ends the plugin over RPC, and there is no storage to save to.
func exitWithParent(logger hclog.Logger) {
	vault := os.Getppid()
	for range time.Tick(parentPoll) {
		if os.Getppid() != vault {
			logger.Error("Vault is gone; the plugin exits", "vault_pid", vault)
			os.Exit(1)
		}
	}
}
