package harness

import (
	"context"
	"fmt"
	"time"
)

// pollInterval is how often Until asks; a loopback server does not mind.
const pollInterval = 20 * time.Millisecond

// Until asks cond again and again until it says true or ctx ends. An error from cond is not the
// end: it is reported, should the time run out. What is waited for is said in the error.
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
