package rotation

import (
	"errors"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

// Other processes trust an intent until its deadline. A POST that follows an intent which
// took too long could be in progress after it.
func TestNoPostFollowsAnIntentThatWasWrittenTooLate(t *testing.T) {
	for _, took := range []time.Duration{intentTimeout + time.Millisecond, intentTimeout + time.Minute} {
		inBubble(t, func(t *testing.T, f *fixture) {
			f.enrol("acme")
			f.storage.faulty("put", fault{delay: took, deaf: true}) // it succeeds
			f.refused("acme", account.KindStorage)
			f.wantPosts()
			f.storage.setFault(nil)
			time.Sleep(time.Minute)
			f.token("acme")
			f.wantPosts("rt-0")
			if g := f.stored("acme").Current(); g.Intent != nil || !g.DoubtSince.IsZero() {
				t.Errorf("%+v", g)
			}
		})
	}
}

func TestAPostFollowsAnIntentThatWasWrittenInTime(t *testing.T) {
	inBubble(t, func(_ *testing.T, f *fixture) {
		f.enrol("acme")
		f.storage.faulty("put", fault{delay: intentTimeout - time.Millisecond, deaf: true})
		f.token("acme")
		f.wantPosts("rt-0")
	})
}

// The last token of a dead grant works to its end. Its ttl must bring readers back before
// then, and soon enough to notice a new login.
func TestTTLOfADeadGrantsLastTokenEndsWithTheToken(t *testing.T) {
	for name, lifetime := range map[string]time.Duration{"long": 24 * time.Hour, "short": 40 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.server.lifetime = lifetime
				f.enrol("acme")
				expires := f.token("acme").Token.Expires
				f.server.next(invalidGrant)
				if _, err := f.Refresh(t.Context(), "acme"); err == nil {
					t.Fatal("the grant lives")
				}
				reads := 0
				for left := time.Until(expires); left >= 3*time.Second; left = time.Until(expires) {
					a := f.token("acme")
					if a.TTL > left || len(a.Warnings) == 0 {
						t.Fatalf("%s before the end of the token ttl is %s, and the warnings are %q", left, a.TTL, a.Warnings)
					}
					reads++
					time.Sleep(min(a.TTL, left-2*time.Second))
				}
				if reads < 2 {
					t.Errorf("there were only %d reads", reads)
				}
				time.Sleep(time.Until(expires))
				var e *account.Error
				if _, err := f.Token(t.Context(), "acme", account.ReadRequest{}); !errors.As(err, &e) || e.Kind != account.KindDead {
					t.Errorf("%v", err)
				}
				f.server.next(invalidGrant)
				f.wantPosts("rt-0", "rt-1")
			})
		})
	}
}
