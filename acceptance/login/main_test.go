// Package login tests how accounts are enrolled: with a login in a browser, with the vault command, and with a password.
package login

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
