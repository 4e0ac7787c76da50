package rotation

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// tolerableSkew is the difference between the server's clock and ours that nobody has to
// know of.
const tolerableSkew = time.Minute

// clockSkew compares the server's clock with ours, by the Date of its answers. The zero
// value is ready.
type clockSkew struct {
	mu   sync.Mutex
	skew time.Duration // 0 if it is tolerable
}

// observe takes over the Date of an answer, and logs when the difference becomes too
// large, and when it is tolerable again.
func (c *clockSkew) observe(r oauth.Result, log hclog.Logger) {
	if r.Date.IsZero() {
		return
	}
	skew := r.ClockSkew()
	if skew.Abs() <= tolerableSkew {
		skew = 0
	}
	c.mu.Lock()
	before := c.skew
	c.skew = skew
	c.mu.Unlock()
	switch {
	case before == 0 && skew != 0:
		log.Warn("the token endpoint's clock differs from this machine's; check both", "ahead", skew.Round(time.Second).String())
	case before != 0 && skew == 0:
		log.Info("the token endpoint's clock agrees with this machine's again")
	}
}

// get returns how far the server's clock is ahead of ours, 0 if that is tolerable.
func (c *clockSkew) get() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew
}
