package sandbox

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// breakConnection closes the connection as the fault demands: after the beginning of
// the answer a, or without an answer if a is nil.
func breakConnection(w http.ResponseWriter, f Fault, a *answer) error {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return errors.New("the connection cannot be taken over")
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	if f.Action == ActionReset {
		return reset(conn)
	}
	if a == nil {
		return nil
	}
	a.header.Set("Content-Length", strconv.Itoa(a.body.Len()))
	var head strings.Builder
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	if err := a.header.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	_, err = conn.Write(append([]byte(head.String()), f.cut(a.body.Bytes())...))
	return err
}

// reset closes the connection with an RST. It does so below TLS, which would send a
// close message first.
func reset(conn net.Conn) error {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("a %T cannot be reset", conn)
	}
	if err := tcp.SetLinger(0); err != nil {
		return err
	}
	return tcp.Close()
}
