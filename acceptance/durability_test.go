package acceptance

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestAReloadOfThePluginKeepsEverything(t *testing.T) {
	t.Parallel()
	s := newEnrolledStage(t)
	s.wantKept(func(ctx context.Context) error {
		return s.node.Reload(ctx, s.mount+"/")
	})
}

func TestARestartAndASealOfVaultKeepEverything(t *testing.T) {
	t.Parallel()
	s := newEnrolledStageInOwnVault(t)
	s.wantKept(s.node.Restart)
	s.wantKept(func(ctx context.Context) error {
		return errors.Join(s.node.Seal(ctx), s.node.Unseal(ctx))
	})
}

// newEnrolledStageInOwnVault is newEnrolledStage in a Vault that no other test uses.
func newEnrolledStageInOwnVault(t *testing.T) *stage {
	t.Helper()
	s := newStageIn(t, newVault(t, 1), sandbox.Config{Faults: true})
	s.enrol()
	return s
}

// wantKept asserts that an interruption loses nothing: the access token is still there without an
// exchange, the settings are the same, and the saved refresh token is the newest.
func (s *stage) wantKept(interrupt func(context.Context) error) {
	s.t.Helper()
	paths := []string{"config", "clients/default", "accounts/acme"}
	token := s.accessToken("acme")
	var before []string
	for _, path := range paths {
		before = append(before, canonical(s.t, s.read(path).Data))
	}
	exchanges := s.exchanges()

	must(s.t, interrupt(s.ctx))

	if got := s.accessToken("acme"); got != token {
		s.t.Error("the access token was lost")
	}
	s.wantExchanges(exchanges)
	for i, path := range paths {
		if after := canonical(s.t, s.read(path).Data); after != before[i] {
			s.t.Errorf("%s was\n%s\nand is\n%s", path, before[i], after)
		}
	}
	s.write("refresh/acme", nil)
	s.wantAPIAccepts(s.accessToken("acme"))
	s.wantExchanges(exchanges + 1)
}

func TestAKilledPluginProcessIsReplacedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	s := newEnrolledStageInOwnVault(t)
	s.wantKept(func(ctx context.Context) error {
		if err := s.pluginProcess().Kill(); err != nil {
			return err
		}
		// Vault notices at the next request and runs it once more in a new process.
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return harness.Until(ctx, "the plugin to answer again", func(context.Context) (bool, error) {
			return s.do(http.MethodGet, "config", nil).status == http.StatusOK, nil
		})
	})
}
