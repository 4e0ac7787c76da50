package backend

import (
	"context"
	"time"
)

// cleanupInterval is how often expired logins are looked for. Nothing depends on it,
// because an expired login does not work.
const cleanupInterval = 10 * time.Minute

// startCleanup removes expired logins in the background, unless a cleanup is running
// or ran a short time ago, or this node must not write.
func (b *backend) startCleanup() {
	b.cleanup.Start(func(ctx context.Context) {
		if now().Sub(b.lastCleanup) < cleanupInterval || b.writable() != nil {
			return
		}
		b.lastCleanup = now()
		removed, err := b.logins.RemoveExpired(ctx)
		if err != nil && ctx.Err() == nil {
			b.Logger().Warn("expired logins could not be removed; the removal is retried", "error", err)
		}
		if removed > 0 {
			b.Logger().Info("logins that were never completed have expired", "logins", removed)
		}
	})
}
