package harness

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken below the range from which systems choose the source ports of connections, so
// that a node that is stopped finds its port free again when it is restarted.
const (
	firstPort = 20000
	lastPort  = 30000
)

// takenPorts are those given out in this process.
var takenPorts sync.Map

// FreeAddress returns a loopback address that nothing listens on.
func FreeAddress(ctx context.Context) (string, error) {
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // a port is no secret
		if _, taken := takenPorts.LoadOrStore(port, true); taken {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return "", err
		}
		return address, nil
	}
	return "", errors.New("no free loopback port was found")
}
