package oauth

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// sockets holds the TCP connections of one exchange. There is one connection,
// unless a dial was still running when the exchange ended.
//
// close(2) leaves what is in the send buffer to the kernel. The kernel goes on
// delivering it for minutes, even if the process was killed: an abandoned POST
// could arrive after the answer to its successor was saved. SO_LINGER with a
// time of zero makes the kernel discard the buffer and reset the connection. It
// is set from the dial until the whole answer has been read. TCP_USER_TIMEOUT
// bounds the delivery as well, also while the process stands still. Bytes that a
// proxy or the server already holds cannot be taken back.
//
// A sockets is safe for concurrent use.
type sockets struct {
	deadline time.Time // of the exchange; zero if there is none

	mu     sync.Mutex
	open   []*net.TCPConn
	closed bool
}

func newSockets(ctx context.Context) *sockets {
	deadline, _ := ctx.Deadline()
	return &sockets{deadline: deadline}
}

// dial is the [http.Transport.DialContext] of the exchange.
func (s *sockets) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("%T is not a TCP connection", conn)
	}
	if err := tcp.SetLinger(0); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	if !s.deadline.IsZero() {
		setUserTimeout(tcp, max(time.Until(s.deadline), time.Millisecond))
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = tcp.Close()
		return nil, net.ErrClosed
	}
	s.open = append(s.open, tcp)
	return &socket{tcp}, nil
}

// close ends the exchange's connections. If the whole answer was read, it puts
// SO_LINGER back first, so that the connection closes in the ordinary way;
// otherwise the kernel discards what it has not delivered.
func (s *sockets) close(answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, tcp := range s.open {
		if answered {
			_ = tcp.SetLinger(-1)
		}
		_ = tcp.Close()
	}
}

// socket is a connection whose Close stops all reads and writes but leaves the
// TCP connection to [sockets.close]. net/http closes a connection as soon as it
// has handed over the last byte of the answer, before anybody can know that the
// answer is whole.
type socket struct{ *net.TCPConn }

// Close makes every read and write return at once.
func (s *socket) Close() error { return s.SetDeadline(time.Unix(1, 0)) }
