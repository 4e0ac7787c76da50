package sandbox

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// at reports whether the fault strikes at this point of the request. A nil handle
// means that there is no fault.
func (h *FaultHandle) at(when FaultTime) bool { return h != nil && h.fault.When == when }

// replacesAnswer reports whether the fault's action replaces the right answer.
func (h *FaultHandle) replacesAnswer() bool {
	return h.fault.Action != ActionNone && h.fault.Action != ActionHold
}

func (h *FaultHandle) action() FaultAction {
	if h == nil {
		return ActionNone
	}
	return h.fault.Action
}

// describe names the fault for the log, such as "after:drop".
func (h *FaultHandle) describe() string {
	action := string(h.fault.Action)
	if h.fault.Action == ActionNone {
		action = "delay"
	}
	return string(h.fault.When) + ":" + action
}

// strike wakes the callers of Wait. Then it waits for the delay and, with ActionHold,
// until the fault is cleared. It returns early when closing is closed.
func (h *FaultHandle) strike(closing <-chan struct{}) {
	t := h.table
	t.mu.Lock()
	h.hits++
	close(t.changed)
	t.changed = make(chan struct{})
	t.mu.Unlock()

	if h.fault.Delay > 0 {
		timer := time.NewTimer(h.delay())
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-closing:
		}
	}
	if h.fault.Action == ActionHold {
		select {
		case <-h.released:
		case <-closing:
		}
	}
}

// delay returns the delay for one request.
func (h *FaultHandle) delay() time.Duration {
	d := h.fault.Delay - h.fault.Jitter
	return d + time.Duration(rand.Int64N(int64(2*h.fault.Jitter)+1)) //nolint:gosec // nothing secret
}

// answer returns the answer that the fault sends, or nil if it sends none. a is the
// right answer, or nil if the request was not processed.
func (h *FaultHandle) answer(a *answer, c *call) *answer {
	f := h.fault
	out := newAnswer()
	switch f.Action {
	case ActionTruncate, ActionStatus, ActionBody:
	default:
		return nil
	}
	out.Header().Set("Content-Type", "application/json;charset=UTF-8")
	noStore(out.Header())
	if a != nil && f.Action != ActionStatus {
		out.status, out.header = a.status, a.header
	}
	if f.Status != 0 {
		out.status = f.Status
	}
	for name, value := range f.Headers {
		if value == "" {
			out.header.Del(name)
		} else {
			out.header.Set(name, value)
		}
	}
	if f.Action == ActionTruncate && f.Body == "" {
		if a != nil {
			out.body = a.body
		}
		return out
	}
	filled := strings.NewReplacer(
		PlaceholderAccessToken, c.accessToken,
		PlaceholderRefreshToken, c.refreshToken,
	).Replace(f.Body)
	out.body.WriteString(filled)
	return out
}

// cut returns the part of the body that the fault sends.
func (f Fault) cut(body []byte) []byte {
	if f.Action != ActionTruncate {
		return body
	}
	return body[:min(f.Bytes, len(body))]
}

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
