package rotation

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

func TestCloseWaitsForExchangesAndRefusesNewOnes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.enrol("beta")
		f.server.next(grantAfter(10 * time.Second))
		go f.Token(context.Background(), "acme", account.ReadRequest{}) //nolint:errcheck // its answer is not the point
		synctest.Wait()
		f.Close()
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("Close did not wait: stored %s", got)
		}
		f.refused("beta", account.KindUnavailable)
		f.wantPosts("rt-0")
	})
}

// With a previous secret one exchange is two POSTs.
func TestCloseWaitsForTheSecondPOSTOfAnExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.clients.set(&Client{
			Client: oauth.Client{ID: "id", Secret: oauth.NewSecret("new")}, PreviousSecret: oauth.NewSecret("old"), Revision: "r2",
		})
		f.enrol("acme")
		f.server.next(func(ctx context.Context, presented string) oauth.Result {
			time.Sleep(13 * time.Second)
			return invalidClient(ctx, presented)
		}, grantAfter(14*time.Second))
		go f.Token(context.Background(), "acme", account.ReadRequest{}) //nolint:errcheck // its answer is not the point
		synctest.Wait()
		f.Close()
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-2" {
			t.Errorf("Close did not wait: stored %s", got)
		}
	})
}

// The POST of an exchange that was announced when Close began comes after it.
func TestCloseWaitsForAPOSTThatIsAnnounced(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.storage.faulty("put", fault{delay: 4 * time.Second})
		f.server.next(grantAfter(14 * time.Second))
		go f.Token(context.Background(), "acme", account.ReadRequest{}) //nolint:errcheck // its answer is not the point
		synctest.Wait()
		f.Close()
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("Close did not wait: stored %s", got)
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.afterPost(errDisk, false)
		f.token("acme") // from the rescue copy
		start := time.Now()
		f.Close()
		if d := time.Since(start); d > intentTimeout+f.settings.ExchangeTimeout+closeMargin {
			t.Errorf("Close took %s", d)
		}
		synctest.Wait()
		if !strings.Contains(f.log.String(), "ends before a new refresh token was saved") {
			t.Error("the loss is not logged")
		}
	})
}

func TestCloseSavesARescueCopy(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.afterPost(errDisk, false)
		f.token("acme")
		time.AfterFunc(4*time.Second, func() { f.storage.setFault(nil) })
		f.Close()
		if got := f.stored("acme").Grants[0].RefreshToken.Reveal(); got != "rt-1" {
			t.Errorf("stored refresh token %s, want rt-1", got)
		}
	})
}

func TestLoginThatWaitsForItsAccountEndsWithClose(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.enrol("acme")
		f.server.next(grantAfter(10 * time.Second))
		go f.Token(context.Background(), "acme", account.ReadRequest{}) //nolint:errcheck // its answer is not the point
		synctest.Wait()
		ended := make(chan error, 1)
		go func() {
			_, _, err := f.LogIn(context.Background(), "acme", byCode())
			ended <- err
		}()
		synctest.Wait()
		f.Close()
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "stopped or reloaded") {
			t.Errorf("error %v", err)
		}
		f.wantPosts("rt-0")
	})
}
