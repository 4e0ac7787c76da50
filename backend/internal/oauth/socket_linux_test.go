package oauth

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// The test of the abandoned POST cuts the way to the server, so it runs in a
// network namespace: this test binary again, with this variable set.
const namespaceVariable = "OAUTH_TEST_NAMESPACE"

// inNamespace runs the calling test in a process and a network namespace of its
// own, which needs root. Without it the test is skipped, or fails if
// REQUIRE_NETNS=1.
func inNamespace(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceVariable+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatalf("no network namespace: %v", err)
		}
		t.Skipf("NOT TESTED: that an abandoned POST does not arrive later. It needs a network namespace, and so root: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Fatalf("the test did not run in its namespace\n%s", &out)
	}
}

// setLoopback brings the loopback interface up or down.
func setLoopback(up bool) error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(socket) }()
	request := struct { // struct ifreq of <linux/if.h>
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{name: [syscall.IFNAMSIZ]byte{'l', 'o'}}
	if up {
		request.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), syscall.SIOCSIFFLAGS,
		uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("SIOCSIFFLAGS: %w", errno)
	}
	return nil
}

// The way to the server goes away in the moment in which the connection stands,
// and comes back after the exchange has timed out. The POST must not arrive then:
// the next one has been answered, so its refresh token is spent.
func TestAbandonedPOSTDoesNotArriveLater(t *testing.T) {
	if os.Getenv(namespaceVariable) == "" {
		inNamespace(t)
		return
	}
	if err := setLoopback(true); err != nil {
		t.Fatal(err)
	}
	plain := newRawServer(t, nil, answering(httpAnswer(200, normalAnswer)))
	config, caCert := newCertificate(t, "127.0.0.1", farHost)
	secure := newRawServer(t, config, answering(httpAnswer(200, normalAnswer)))
	behind := newRawServer(t, config, answering(httpAnswer(200, normalAnswer)))
	proxy, _ := newTunnel(t, behind.addr)
	t.Setenv("HTTPS_PROXY", "http://"+proxy.addr) // loopback addresses go past it
	t.Setenv("NO_PROXY", "")
	ways := []struct {
		server *rawServer
		url    string
	}{
		{plain, plain.url},
		{secure, secure.url},
		{behind, "https://" + farHost + "/oauth/v2/oauth-token"},
	}

	// A context that ends, but does not say so before: TCP_USER_TIMEOUT stays unset,
	// and would help here if SO_LINGER did not.
	ctx, pass := deadline(t)
	// The last of the connections to stand cuts the way of all.
	var connected, ended sync.WaitGroup
	connected.Add(len(ways))
	cut := sync.OnceValue(func() error { return setLoopback(false) })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		connected.Done()
		connected.Wait()
		if err := cut(); err != nil {
			t.Error(err)
		}
		time.AfterFunc(time.Second, pass)
	}})
	exchanger := Exchanger{}
	for _, way := range ways {
		client := testClient(way.url)
		client.CACert = caCert
		ended.Go(func() {
			if r := exchanger.Refresh(ctx, client, NewSecret("the-abandoned-one")); r.Outcome != InDoubt || r.Reason != timedOut {
				t.Errorf("%s: %v, %s, want a time-out", way.url, r.Outcome, r.Reason)
			}
		})
	}
	ended.Wait()
	if err := setLoopback(true); err != nil {
		t.Fatal(err)
	}
	for _, way := range ways {
		client := testClient(way.url)
		client.CACert = caCert
		if r := exchanger.Refresh(t.Context(), client, NewSecret("the-next-one")); r.Outcome != Succeeded {
			t.Errorf("%s: %v, %s", way.url, r.Outcome, r.Reason)
		}
	}
	// The kernel would have tried again after 0.2, 0.4, 0.8 … seconds.
	<-time.After(3 * time.Second)
	for _, way := range ways {
		way.server.mu.Lock()
		if connections, requests := way.server.connections, way.server.requests; connections != 2 || len(requests) != 1 ||
			!bytes.Contains(requests[0], []byte("the-next-one")) {
			t.Errorf("%s: %d connections; the requests that arrived: %s", way.url, connections, requests)
		}
		way.server.mu.Unlock()
	}
}

func TestKernelKnowsTheDeadline(t *testing.T) {
	server := newRawServer(t, nil, (*peer).untilClosed)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := newSockets(ctx)
	defer s.close(true)
	conn, err := s.dial(t.Context(), "tcp", server.addr)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var milliseconds int
	var optionErr error
	if err := raw.Control(func(fd uintptr) {
		milliseconds, optionErr = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
	}); err != nil || optionErr != nil {
		t.Fatal(err, optionErr)
	}
	if got := time.Duration(milliseconds) * time.Millisecond; got <= 50*time.Second || got > time.Minute {
		t.Errorf("TCP_USER_TIMEOUT is %v, want what is left of a minute", got)
	}
}
