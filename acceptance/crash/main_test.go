// Package crash ends the plugin, Vault and clients in the middle of exchanges, and restarts them.
package crash

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
