// Package security attacks the callback, and looks for secrets in logs, pages and Vault's storage.
package security

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
