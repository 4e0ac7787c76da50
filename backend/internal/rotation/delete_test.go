package rotation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestDeleteRevokesWhatTheServerHasNotRejected(t *testing.T) {
	for name, c := range map[string]struct {
		revoke  bool
		server  []func(context.Context, string) oauth.Result // of the revocations
		dead    bool
		want    []string
		warning string
	}{
		"grant and spare":     {true, nil, false, []string{"rt-0", "spare-0"}, ""},
		"not wanted":          {false, nil, false, nil, ""},
		"dead, the spare too": {true, nil, true, nil, ""},
		"server is away":      {true, []func(context.Context, string) oauth.Result{unreachable, unreachable}, false, []string{"rt-0", "spare-0"}, "was not revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.enrol("acme", withSpare)
				if c.dead {
					f.server.next(invalidGrant, invalidGrant)
					f.refused("acme", account.KindDead)
				}
				f.server.next(c.server...)
				warnings, err := f.Delete(t.Context(), "acme", c.revoke)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(f.server.revoked, c.want) {
					t.Errorf("revoked %q, want %q", f.server.revoked, c.want)
				}
				if (c.warning != "") != (len(warnings) > 0) || !strings.Contains(strings.Join(warnings, "\n"), c.warning) {
					t.Errorf("warnings %q, want %q", warnings, c.warning)
				}
				f.refused("acme", account.KindNotFound)
			})
		})
	}
}

func TestNothingIsRevokedWhereTheAccountCannotBeDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.readOnly.Store(true)
		if _, err := f.Delete(t.Context(), "acme", true); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%v", err)
		}
		f.readOnly.Store(false)
		f.logins.err = errors.New("the disk is full")
		if _, err := f.Delete(t.Context(), "acme", true); err == nil || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%v", err)
		}
		if len(f.server.revoked) > 0 {
			t.Errorf("revoked %q", f.server.revoked)
		}
		f.token("acme")
	})
}
