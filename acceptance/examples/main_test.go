// Package examples runs the files of the folder examples as they are printed, except for addresses, paths and times.
package examples

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
