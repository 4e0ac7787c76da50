package sandbox_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestReplayWithinTheGracePeriod(t *testing.T) {
	const grace = 20 * time.Second
	for name, test := range map[string]struct {
		wait    time.Duration
		useNext bool // before the used token is presented again
		auth    authorization
		status  int
		lives   bool // the grant, afterwards
	}{
		"in time":                {wait: grace - time.Second, auth: byDefault, status: http.StatusOK, lives: true},
		"too late":               {wait: grace, auth: byDefault, status: http.StatusBadRequest},
		"the next token is used": {useNext: true, auth: byDefault, status: http.StatusBadRequest},
		"wrong client secret":    {auth: basic(sandbox.DefaultClientID, "wrong"), status: http.StatusUnauthorized, lives: true},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			srv := start(t, sandbox.Config{Replay: sandbox.ReplayGrace, ReplayGrace: grace, Now: clock.now})
			token := login(t, srv, "alice")
			first := mustRefresh(t, srv, token)
			newest := first.Refresh
			if test.useNext {
				newest = mustRefresh(t, srv, newest).Refresh
			}
			clock.advance(test.wait)
			again, err := post(testContext(t), client(t, srv), srv.TokenURL(), refreshForm(token), test.auth)
			if err != nil || again.status != test.status {
				t.Fatalf("presented again, it is answered HTTP %d, want %d; error %v", again.status, test.status, err)
			}
			if test.status == http.StatusOK {
				if again.Refresh != first.Refresh || again.Access != first.Access || again.Expires != first.Expires-int(test.wait.Seconds()) {
					t.Errorf("the second answer differs, or expires_in is %d", again.Expires)
				}
				if recorded := srv.Requests(); !recorded[1].Repeated || srv.Stats().Replays != 0 {
					t.Errorf("repeated: %t, %d replays", recorded[1].Repeated, srv.Stats().Replays)
				}
			}
			if got := refresh(t, srv, newest); (got.status == http.StatusOK) != test.lives {
				t.Errorf("afterwards the newest token is answered HTTP %d", got.status)
			}
		})
	}
}
