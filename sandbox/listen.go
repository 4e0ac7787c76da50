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

// Listen listens on a TCP address that a listener of this process may just have left. A child
// process that is being started has that one open, too, until it runs its own program: for a
// moment the address is in use still. It waits 10 s at most, or until ctx ends.
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
