package main

import (
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
)

// parentPoll is how often the plugin looks whether its Vault is still there.
const parentPoll = time.Second

// exitWithParent ends the process when its parent, Vault, is gone: killed, or
// crashed, so that nobody will end the plugin over RPC. Without Vault there is
// no storage to save anything to.
func exitWithParent(logger hclog.Logger) {
	vault := os.Getppid()
	for range time.Tick(parentPoll) {
		if os.Getppid() != vault {
			logger.Error("Vault is gone; the plugin exits", "vault_pid", vault)
			os.Exit(1)
		}
	}
}
