// Package operate tests what operators do: register, upgrade and roll back the plugin, and restore a snapshot.
package operate

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
