// Package cluster tests a Vault of three nodes whose active node changes in the middle of exchanges.
package cluster

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
