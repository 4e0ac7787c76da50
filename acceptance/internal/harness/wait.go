package harness

import (
	"context"
	"fmt"
	"time"
)

// pollInterval is the time between two calls of a condition by Until.
const pollInterval = 20 * time.Millisecond

// Until calls cond until it returns true without an error, or ctx ends. An error of cond does not end the wait. If ctx ends,
// the error contains what Until waited for and the last error of cond.
func Until(ctx context.Context, what string, cond func(context.Context) (bool, error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		ok, err := cond(ctx)
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("waiting for %s: %w (last: %w)", what, ctx.Err(), err)
			}
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
}
