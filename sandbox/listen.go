package sandbox

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

const (
	portTimeout = 10 * time.Second
	portPoll    = 5 * time.Millisecond
)

// Listen listens on a TCP address. If the address is in use it tries again, for 10 s at most or
// until ctx ends: when this process closes a listener, its port can remain in use for a moment,
// because a child process that is just being started inherits the listener and keeps it open
// until it executes its own program.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, portTimeout)
	defer cancel()
	for {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return listener, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(portPoll):
		}
	}
}
