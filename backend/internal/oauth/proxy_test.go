package oauth

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// farHost is not a loopback host: those never go through a proxy.
const farHost = "sso.pageroonline.invalid"

// net/http reads the environment's proxy only once in a process, so each exchange
// behind a proxy runs in a process of its own. It is this test binary with this
// variable set, and it reads its task from standard input.
const childVariable = "OAUTH_TEST_CHILD"

type childTask struct {
	URL        string
	CACert     []byte
	ReportFile string
}

type childReport struct {
	Outcome      Outcome
	Reason       string
	RefreshToken string
}

func TestChildOfTheProxyTests(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Skip("this is one half of the proxy tests: they run it in a process of its own")
	}
	var task childTask
	if err := json.NewDecoder(os.Stdin).Decode(&task); err != nil {
		t.Fatal(err)
	}
	client := testClient(task.URL)
	client.CACert = task.CACert
	result := exchange(t, client)
	report, err := json.Marshal(childReport{result.Outcome, result.Reason, result.Tokens.RefreshToken.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(task.ReportFile, report, 0o600); err != nil {
		t.Fatal(err)
	}
}

// exchangeInChild runs one exchange in a process that has the proxy in its
// environment.
func exchangeInChild(t *testing.T, proxy, url string, caCert []byte) childReport {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report")
	task, err := json.Marshal(childTask{url, caCert, file})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildOfTheProxyTests$")
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy, childVariable+"=1",
		"GORACE=atexit_sleep_ms=0") // or the race detector holds each process for a second
	cmd.Stdin = bytes.NewReader(task)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report childReport
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	return report
}

// newTunnel is a proxy that answers every CONNECT with a tunnel to addr. It keeps
// what the client sent, including the bytes in the tunnel.
func newTunnel(t *testing.T, addr string) (proxy *rawServer, seen func() string) {
	t.Helper()
	var mu sync.Mutex
	var wire bytes.Buffer
	proxy = newRawServer(t, nil, func(p *peer) {
		p.Conn = &recorded{p.Conn, &mu, &wire}
		reader := bufio.NewReader(p)
		req, err := http.ReadRequest(reader)
		if err != nil || req.Method != http.MethodConnect {
			return
		}
		server, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer server.Close()
		_, _ = io.WriteString(p, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			_, _ = io.Copy(server, reader)
			server.Close()
		}()
		_, _ = io.Copy(p, server)
	})
	return proxy, func() string {
		mu.Lock()
		defer mu.Unlock()
		return wire.String()
	}
}

// recorded is a connection that keeps what is read from it.
type recorded struct {
	net.Conn
	mu   *sync.Mutex
	wire *bytes.Buffer
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wire.Write(p[:n])
	return n, err
}

// hidesEverything fails the test if the proxy saw more than CONNECT and TLS.
func hidesEverything(t *testing.T, wire string) {
	t.Helper()
	for _, text := range []string{"POST", "canary", "refresh_token", "Authorization"} {
		if strings.Contains(wire, text) {
			t.Errorf("the proxy saw %q in %q", text, wire)
		}
	}
}

func TestProxyIsUsedByCONNECT(t *testing.T) {
	config, caCert := newCertificate(t, farHost)
	server := newRawServer(t, config, answering(httpAnswer(200, normalAnswer)))
	proxy, seen := newTunnel(t, server.addr)
	report := exchangeInChild(t, "http://"+proxy.addr, "https://"+farHost+"/oauth/v2/oauth-token", caCert)
	if report.Outcome != Succeeded || report.RefreshToken != next {
		t.Errorf("got %+v", report)
	}
	server.sees(t, 1, 1)
	if !strings.HasPrefix(string(server.requests[0]), "POST /oauth/v2/oauth-token HTTP/1.1\r\nHost: "+farHost+"\r\n") {
		t.Errorf("the server got %q", server.requests[0])
	}
	if connections, _ := proxy.counts(); connections != 1 {
		t.Errorf("the proxy saw %d connections", connections)
	}
	if want := "CONNECT " + farHost + ":443 HTTP/1.1\r\nHost: " + farHost + ":443\r\n"; !strings.HasPrefix(seen(), want) {
		t.Errorf("the proxy got %.200q, want %q", seen(), want)
	}
	hidesEverything(t, seen())
}

// A proxy could read the refresh token in plain HTTP.
func TestPlainHTTPGoesThroughNoProxy(t *testing.T) {
	proxy := newRawServer(t, nil, answering(httpAnswer(200, normalAnswer)))
	report := exchangeInChild(t, "http://"+proxy.addr, "http://"+farHost+"/", nil)
	if report.Outcome != NotSent {
		t.Errorf("got %+v", report)
	}
	proxy.sees(t, 0, 0)
}

func TestLoopbackGoesThroughNoProxy(t *testing.T) {
	config, caCert := newCertificate(t, "127.0.0.1")
	server := newRawServer(t, config, answering(httpAnswer(200, normalAnswer)))
	proxy := newRawServer(t, nil, answering(httpAnswer(200, normalAnswer)))
	report := exchangeInChild(t, "http://"+proxy.addr, server.url, caCert)
	if report.Outcome != Succeeded {
		t.Errorf("got %+v", report)
	}
	proxy.sees(t, 0, 0)
	server.sees(t, 1, 1)
}

func TestNothingIsSentWithoutATunnel(t *testing.T) {
	nobody := offline(t)
	answered := func(status int) string {
		return fmt.Sprintf("the proxy {proxy} answered HTTP status %d instead of connecting to %s:443", status, farHost)
	}
	for _, c := range []struct {
		name   string
		proxy  string        // "": a proxy that runs script
		script func(p *peer) // after the CONNECT
		reason string
	}{
		{name: "dead proxy", proxy: "http://canary:canary@" + nobody, reason: "the proxy " + nobody + " refused the connection"},
		{
			name: "proxy that cannot be resolved", proxy: "http://proxy.pageroonline.invalid:3128",
			reason: "the host name of the proxy proxy.pageroonline.invalid:3128 could not be resolved",
		},
		{name: "proxy that wants a password", script: refusal("407 Proxy Authentication Required"), reason: answered(407)},
		{name: "proxy that forbids", script: refusal("403 canary"), reason: answered(403)},
		{name: "proxy that finds no server", script: refusal("502 Bad Gateway"), reason: answered(502)},
		{name: "proxy that redirects", script: refusal("302 Found"), reason: answered(302)},
		{name: "proxy that hangs up", script: func(*peer) {}, reason: "the proxy {proxy} closed the connection"},
		{
			name: "proxy that answers itself", reason: farHost + ":443 does not speak TLS (is the port right?)",
			script: func(p *peer) {
				_, _ = io.WriteString(p, "HTTP/1.1 200 OK\r\n\r\n")
				_, _ = io.ReadFull(p, make([]byte, 10))
				_, _ = io.WriteString(p, httpAnswer(200, normalAnswer))
				p.untilClosed()
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var wire bytes.Buffer
			proxy := newRawServer(t, nil, func(p *peer) {
				p.Conn = &recorded{p.Conn, &mu, &wire}
				if _, err := http.ReadRequest(bufio.NewReader(p)); err == nil {
					c.script(p)
				}
			})
			url := c.proxy
			if url == "" {
				url = "http://" + proxy.addr
			}
			report := exchangeInChild(t, url, "https://"+farHost+"/", nil)
			if reason := strings.ReplaceAll(c.reason, "{proxy}", proxy.addr); report.Outcome != NotSent || report.Reason != reason {
				t.Errorf("got %+v, want %v, %q", report, NotSent, reason)
			}
			mu.Lock()
			defer mu.Unlock()
			hidesEverything(t, wire.String())
		})
	}
	t.Run("server behind the proxy that is not trusted", func(t *testing.T) {
		config, _ := newCertificate(t, farHost)
		server := newRawServer(t, config, answering(httpAnswer(200, normalAnswer)))
		proxy, seen := newTunnel(t, server.addr)
		report := exchangeInChild(t, "http://"+proxy.addr, "https://"+farHost+"/", nil)
		if report.Outcome != NotSent || report.Reason != "the certificate of "+farHost+":443 comes from an unknown authority (is ca_cert right?)" {
			t.Errorf("got %+v", report)
		}
		server.sees(t, 1, 0)
		hidesEverything(t, seen())
	})
}

func refusal(status string) func(*peer) {
	return func(p *peer) {
		_, _ = io.WriteString(p, "HTTP/1.1 "+status+"\r\nLocation: https://canary.example/\r\nContent-Length: 0\r\n\r\n")
	}
}
