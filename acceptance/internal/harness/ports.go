package harness

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken below the range from which systems choose the source ports of connections, so that a stopped node
// finds its port free when it is restarted.
const (
	firstPort = 20000
	lastPort  = 30000
)

// reservations keeps the sockets that reserve ports open until this process ends.
var reservations struct {
	sync.Mutex
	sockets []net.PacketConn
}

// FreeAddress returns a loopback address for a TCP listener. Nothing listens there, and no other test process gets the
// same address, not even while its listener is stopped: the UDP port of the same number is bound until this process
// ends.
func FreeAddress(ctx context.Context) (string, error) {
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // a port is no secret
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		var config net.ListenConfig
		reservation, err := config.ListenPacket(ctx, "udp", address)
		if err != nil {
			continue
		}
		listener, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			_ = reservation.Close()
			continue
		}
		if err := listener.Close(); err != nil {
			return "", err
		}
		reservations.Lock()
		reservations.sockets = append(reservations.sockets, reservation)
		reservations.Unlock()
		return address, nil
	}
	return "", errors.New("no free loopback port was found")
}
