// Package token tests how access tokens are read: through the HTTP API and the vault command, by one reader and by many.
package token

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
