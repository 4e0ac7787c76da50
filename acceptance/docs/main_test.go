// Package docs compares the documents with the code and with the running plugin.
package docs

import (
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

func TestMain(m *testing.M) { fixture.Main(m) }
