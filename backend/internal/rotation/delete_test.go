package rotation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// An account that stays with a grant that is revoked is useless.
func TestDeleteGoesOnWithoutItsCallerOnceItRevokes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme", withSpare)
		f.storage.faulty("delete", fault{delay: time.Millisecond}) // it fails if its context has ended
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		revoking := 0
		for range 2 {
			f.server.next(func(ctx context.Context, _ string) oauth.Result {
				revoking++
				cancel()
				select {
				case <-ctx.Done():
					return oauth.Result{Outcome: oauth.InDoubt, Reason: "the context has ended"}
				case <-time.After(time.Second):
					return oauth.Result{Outcome: oauth.Succeeded}
				}
			})
		}
		warnings, err := f.Delete(ctx, "acme", true)
		if err != nil || len(warnings) > 0 || revoking != 2 {
			t.Errorf("%d revocations, %q, %v", revoking, warnings, err)
		}
		f.storage.setFault(nil)
		f.refused("acme", account.KindNotFound)
		f.restart("process-2")
		f.refused("acme", account.KindNotFound)
	})
}

// If the caller goes away before that, the account and its grant stay.
func TestDeleteChangesNothingIfItsCallerGoesAwayWhileItWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(grantAfter(10 * time.Second))
		go f.Token(t.Context(), "acme", account.ReadRequest{}) //nolint:errcheck // nobody gets its answer
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Delete(ctx, "acme", true); err == nil {
			t.Error("the account was deleted during an exchange")
		}
		time.Sleep(10 * time.Second)
		if len(f.server.revoked) > 0 {
			t.Errorf("revoked %q", f.server.revoked)
		}
		f.token("acme")
		f.wantPosts("rt-0")
	})
}
