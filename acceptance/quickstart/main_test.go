// Package quickstart runs what a newcomer runs first: the demo, the development server and the scripts that get tools.
package quickstart

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
