package oauth

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
)

// stage is how far a connection has come.
type stage int

const (
	notBegun    stage = iota
	resolving         // a host name is being looked up
	connecting        // the TCP handshake is under way
	askingProxy       // the proxy has not yet opened the way to the server
	handshaking       // the TLS handshake with the server is under way
	connected         // the request may have been sent
)

// trail records what net/http was seen doing for one request. It is the evidence
// for what may have been sent; the text of an error never is. The hooks run on
// net/http's goroutines, so a trail is safe for concurrent use.
type trail struct {
	mu          sync.Mutex
	stage       stage
	proxy       string // host and port of the proxy, "" if there is none
	proxyStatus int    // the proxy's answer to CONNECT, 0 if none came
	answering   bool   // the first byte of an answer has come
}

// observed returns what the trail has recorded so far.
func (t *trail) observed() (reached stage, proxy string, proxyStatus int, answering bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stage, t.proxy, t.proxyStatus, t.answering
}

// reach records a stage. A trail never goes back: net/http may dial two addresses
// at once, and the slower one must not hide that the request was sent.
func (t *trail) reach(s stage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stage = max(t.stage, s)
}

// with returns a context under which net/http reports to the trail.
func (t *trail) with(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { t.reach(resolving) },
		ConnectStart: func(string, string) { t.reach(connecting) },
		ConnectDone: func(_, _ string, err error) {
			if _, proxy, _, _ := t.observed(); err == nil && proxy != "" {
				t.reach(askingProxy)
			}
		},
		TLSHandshakeStart: func() {
			if _, proxy, status, _ := t.observed(); proxy == "" || status != 0 { // not the handshake with the proxy itself
				t.reach(handshaking)
			}
		},
		GotConn:              func(httptrace.GotConnInfo) { t.reach(connected) },
		GotFirstResponseByte: t.answerBegan,
	})
}

func (t *trail) answerBegan() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answering = true
}

// findProxy is the [http.Transport.Proxy] of the request.
func (t *trail) findProxy(req *http.Request) (*url.URL, error) {
	proxy, err := connectProxy(req)
	if proxy != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.proxy = hostPort(proxy)
	}
	return proxy, err
}

// proxyAnswered is the [http.Transport.OnProxyConnectResponse] of the request.
func (t *trail) proxyAnswered(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proxyStatus = answer.StatusCode
	return nil
}

// hostPort returns a URL's host and port, and nothing else of it.
func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	switch u.Scheme {
	case "https":
		return u.Host + ":443"
	case "http":
		return u.Host + ":80"
	default:
		return u.Host
	}
}
