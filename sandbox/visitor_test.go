package sandbox_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// callback stands in for the server that the browser is redirected to.
type callback struct {
	*httptest.Server
	mu     sync.Mutex
	got    []url.Values // the parameters of the requests
	second string       // where the first page refreshes to; "" if it stays
}

func startCallback(t *testing.T) *callback {
	t.Helper()
	c := &callback{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.got = append(c.got, r.Form)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if len(c.got) == 1 && c.second != "" {
			fmt.Fprintf(w, `<meta http-equiv="refresh" content="0; url=%s"><h1>One moment</h1>`, html.EscapeString(c.second))
			return
		}
		fmt.Fprintf(w, "<title>not read</title><h1>%s &amp;\n more</h1><p>code <b>%t</b></p>", r.Form.Get("error"), r.Form.Has("code"))
	}))
	t.Cleanup(c.Close)
	return c
}

// authorizeURL leads to the sandbox, and from there to the callback.
func (c *callback) authorizeURL(srv *sandbox.Server, more url.Values) string {
	query := authorizeQuery()
	query.Set("redirect_uri", c.URL+"/v1/pagero/callback")
	for name, values := range more {
		query[name] = values
	}
	return srv.AuthorizeURL() + "?" + query.Encode()
}

func newVisitor(t *testing.T, srv *sandbox.Server) *sandbox.Visitor {
	t.Helper()
	v := &sandbox.Visitor{Client: srv.Client(), Username: sandbox.DefaultUsername, Password: sandbox.DefaultPassword}
	t.Cleanup(v.Client.CloseIdleConnections)
	return v
}

func TestVisitorEndsAtTheCallback(t *testing.T) {
	srv, back := start(t, sandbox.Config{}), startCallback(t)
	for mode, wantPages := range map[string]int{"query": 2, "form_post": 3} {
		back.got = nil
		pages, err := newVisitor(t, srv).Visit(testContext(t), back.authorizeURL(srv, url.Values{"response_mode": {mode}}))
		if err != nil || len(pages) != wantPages {
			t.Fatalf("%s: %d pages, %v", mode, len(pages), err)
		}
		last := pages[len(pages)-1]
		if text := last.Text(); text != "& more\ncode true" || last.Status != http.StatusOK || last.URL.Host != strings.TrimPrefix(back.URL, "http://") {
			t.Errorf("%s: the visit ended at %s with %q", mode, last.URL, text)
		}
		if tokens := exchangeAt(t, srv, back); tokens.status != http.StatusOK {
			t.Errorf("%s: the code is answered with HTTP %d, error %q", mode, tokens.status, tokens.Error)
		}
	}
}

// exchangeAt exchanges the code that the callback received last.
func exchangeAt(t *testing.T, srv *sandbox.Server, back *callback) reply {
	t.Helper()
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {back.got[len(back.got)-1].Get("code")},
		"redirect_uri": {back.URL + "/v1/pagero/callback"}, "code_verifier": {verifier},
	}
	got, err := post(testContext(t), client(t, srv), srv.TokenURL(), form, byDefault)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestVisitorLogsInOnceAndFollowsAPageThatSendsItOn(t *testing.T) {
	srv, back := start(t, sandbox.Config{}), startCallback(t)
	back.second = back.authorizeURL(srv, url.Values{"state": {"the second"}})
	pages, err := newVisitor(t, srv).Visit(testContext(t), back.authorizeURL(srv, nil))
	if err != nil || len(pages) != 3 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	if len(back.got) != 2 || back.got[1].Get("state") != "the second" || back.got[0].Get("code") == back.got[1].Get("code") {
		t.Errorf("the callback got %v", back.got)
	}
	if n := len(srv.RequestsTo(sandbox.EndpointAuthorize)); n != 3 { // the page, its form, and once more
		t.Errorf("%d requests to the authorization endpoint", n)
	}
}

func TestVisitorCancels(t *testing.T) {
	srv, back := start(t, sandbox.Config{}), startCallback(t)
	v := newVisitor(t, srv)
	v.Cancel = true
	pages, err := v.Visit(testContext(t), back.authorizeURL(srv, nil))
	if err != nil || pages[len(pages)-1].Text() != "access_denied & more\ncode false" {
		t.Errorf("%v, %v", pages, err)
	}
}

func TestVisitorTriesAPasswordOnce(t *testing.T) {
	srv, back := start(t, sandbox.Config{}), startCallback(t)
	v := newVisitor(t, srv)
	v.Password = "wrong"
	_, err := v.Visit(testContext(t), back.authorizeURL(srv, nil))
	if err == nil || !strings.Contains(err.Error(), "password is wrong") || len(back.got) != 0 {
		t.Errorf("%v, %v", back.got, err)
	}
	if n := len(srv.RequestsTo(sandbox.EndpointAuthorize)); n != 2 {
		t.Errorf("%d requests to the authorization endpoint", n)
	}
}

func TestVisitorKeepsThePasswordFromOtherServers(t *testing.T) {
	srv, back := start(t, sandbox.Config{}), startCallback(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method="post" action="%s"><input name="username"><input name="password" type="password"></form>`, back.URL)
	}))
	t.Cleanup(page.Close)
	if _, err := newVisitor(t, srv).Visit(testContext(t), page.URL); err == nil || len(back.got) != 0 {
		t.Errorf("the other server got %v, %v", back.got, err)
	}
}

func TestVisitorGivesUpOnPagesWithoutEnd(t *testing.T) {
	srv := start(t, sandbox.Config{})
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<meta http-equiv="refresh" content="0; url=/again">`)
	}))
	t.Cleanup(page.Close)
	pages, err := newVisitor(t, srv).Visit(testContext(t), page.URL)
	if err == nil || len(pages) != 10 {
		t.Errorf("%d pages, %v", len(pages), err)
	}
}
