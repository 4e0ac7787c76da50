// Package faults tests what the plugin does if the token endpoint fails, gives false answers or is down.
package faults

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
