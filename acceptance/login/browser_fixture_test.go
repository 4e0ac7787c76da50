package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// The window of a phone, in CSS pixels.
const (
	phoneWidth  = 390
	phoneHeight = 844
)

// browser is a headless Chromium without cookies or cache. It records its requests and complaints, which are checked when
// the test ends.
type browser struct {
	s   *fixture.Fixture
	ctx context.Context

	mu         sync.Mutex
	requests   []string // "GET https://…"
	types      []network.ResourceType
	posted     []string // forms, each after the address it was sent to
	documents  []document
	complaints []string // by the browser, about a page
}

// document is a page that the browser received.
type document struct {
	url    string
	status int64
}

// newBrowser starts a browser. It ends with the test.
func newBrowser(f *fixture.Fixture) *browser {
	f.T.Helper()
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(fixture.OptionalProgram(f.T, harness.ChromiumBinary, "REQUIRE_BROWSER", "the login in a browser")),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.UserDataDir(f.T.TempDir()),
		chromedp.WindowSize(phoneWidth, phoneHeight),
		// The browser does not know the sandbox's certificate authority. It trusts the sandbox's key, and no other.
		chromedp.Flag("ignore-certificate-errors-spki-list", keyOfSandbox(f)),
		// The browser must not reach any other host, neither for a page nor for itself.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-dev-shm-usage", "disable-extensions", "disable-default-apps", "metrics-recording-only",
	} {
		flags = append(flags, chromedp.Flag(flag, true))
	}
	b := &browser{s: f}
	allocator, end := chromedp.NewExecAllocator(f.Ctx, flags...)
	f.T.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithListener(b.note), chromedp.WithErrorf(f.T.Logf))
	f.T.Cleanup(cancel)
	b.ctx = ctx
	fixture.Must(f.T, chromedp.Do(ctx, emulate(phoneWidth, phoneHeight), call(audits.Enable, cdp.Empty{})))
	f.T.Cleanup(b.wantNothingElse)
	return b
}

// call returns an action that runs a command and ignores the result.
func call[P, R any](command cdp.Command[P, R], parameters P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, parameters)
		return err
	})
}

// emulate returns an action that emulates a phone with this window size.
func emulate(width, height int64) chromedp.Action[chromedp.Void] {
	return call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 2, Mobile: true,
	})
}

// keyOfSandbox returns the SHA-256 sum of the sandbox's public key, in the form of Chromium's flag.
func keyOfSandbox(f *fixture.Fixture) string {
	f.T.Helper()
	client := f.Sandbox.Client()
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(f.Ctx, http.MethodHead, f.Sandbox.URL(), http.NoBody)
	fixture.Must(f.T, err)
	response, err := client.Do(request)
	fixture.Must(f.T, err)
	fixture.Must(f.T, response.Body.Close())
	sum := sha256.Sum256(response.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// note records an event of the browser.
func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.Method+" "+e.Request.URL)
		b.types = append(b.types, e.Type)
		for _, entry := range e.Request.PostDataEntries {
			b.posted = append(b.posted, e.Request.URL+" "+string(entry.Bytes))
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			b.documents = append(b.documents, document{e.Response.URL, e.Response.Status})
		}
	case *log.EventEntryAdded:
		// These tests expect pages with a status of 400 and more.
		if e.Entry.Source != log.EntrySourceNetwork || !strings.HasPrefix(e.Entry.Text, "Failed to load resource: the server responded with a status of") {
			b.complaints = append(b.complaints, fmt.Sprintf("%s %s: %s %s", e.Entry.Level, e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, "a script wrote to the console: "+string(e.Type))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, "a script failed: "+e.ExceptionDetails.Text)
	case *audits.EventIssueAdded:
		// The server's cookie is meant for the server alone.
		if e.Issue.Code != audits.InspectorIssueCodeCookieIssue {
			b.complaints = append(b.complaints, "issue: "+string(e.Issue.Code))
		}
	}
}

// wantNothingElse asserts that the browser requested only pages of the sandbox and the callback, and that it had no
// complaints.
func (b *browser) wantNothingElse() {
	b.s.T.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, request := range b.requests {
		_, address, _ := strings.Cut(request, " ")
		address, _, _ = strings.Cut(address, "?")
		if b.types[i] != network.ResourceTypeDocument || (address != b.s.Sandbox.AuthorizeURL() && address != b.s.CallbackURL()) {
			b.s.T.Errorf("the browser requested something else, a %s: %s", b.types[i], request)
		}
		b.s.WantNoLoginSecretIn("the address", request)
	}
	for _, form := range b.posted {
		if strings.HasPrefix(form, b.s.Node.Address) {
			b.s.WantNoLoginSecretIn("the form", form)
		}
	}
	for _, complaint := range b.complaints {
		b.s.T.Errorf("the browser complains: %s", complaint)
	}
}

// open opens an address, as a click on a link does.
func (b *browser) open(address string) {
	b.s.T.Helper()
	fixture.Must(b.s.T, chromedp.Do(b.ctx, chromedp.Navigate(address)))
}

// reload loads the page again, as a browser does with the tabs of its last session.
func (b *browser) reload() {
	b.s.T.Helper()
	fixture.Must(b.s.T, chromedp.Do(b.ctx, chromedp.Reload()))
}

// logIn fills in the sandbox's login form and submits it.
func (b *browser) logIn(username, password string) {
	b.s.T.Helper()
	b.fillIn(username, password)
	b.press("login")
}

// fillIn types into the fields of the login form.
func (b *browser) fillIn(username, password string) {
	b.s.T.Helper()
	fixture.Must(b.s.T, chromedp.Do(b.ctx,
		chromedp.SendKeys(chromedp.CSS("#username"), username),
		chromedp.SendKeys(chromedp.CSS("#password"), password),
	))
}

// press clicks a button of the login form.
func (b *browser) press(button string) {
	b.s.T.Helper()
	b.click(`button[value="` + button + `"]`)
}

// click clicks the element that the selector finds.
func (b *browser) click(selector string) {
	b.s.T.Helper()
	fixture.Must(b.s.T, chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS(selector))))
}

// address returns the address of the browser's page.
func (b *browser) address() string {
	b.s.T.Helper()
	address, err := chromedp.Run(b.ctx, chromedp.Location())
	fixture.Must(b.s.T, err)
	return address
}

// says reports whether a text is on the page now.
func (b *browser) says(text string) bool {
	seen, err := chromedp.Run(b.ctx, chromedp.Evaluate[pageState](readPage))
	return err == nil && strings.Contains(seen.Text, text)
}

// pageState is the state of a page.
type pageState struct {
	URL, Title, HTML, Text string
	Done                   bool
	Width                  float64 // of the page, which may exceed the window's
	SmallestFont           float64
}

// readPage is a script that the browser runs outside of the page's security policy.
const readPage = `({
	URL: location.href, Title: document.title, HTML: document.documentElement.outerHTML, Text: document.body.innerText,
	Done: document.readyState === "complete",
	Width: document.documentElement.scrollWidth,
	SmallestFont: Math.min(...[...document.querySelectorAll("h1, p, a")].map(e => parseFloat(getComputedStyle(e).fontSize))),
})`

// wantPage waits until the browser shows a page of the callback with this title. It asserts the status and the texts of the
// page, that it fits on a phone, and that it is harmless.
func (b *browser) wantPage(status int, title string, parts ...string) {
	b.s.T.Helper()
	var seen pageState
	err := harness.Until(b.s.Ctx, "a page with the title "+title, func(context.Context) (bool, error) {
		var err error
		seen, err = chromedp.Run(b.ctx, chromedp.Evaluate[pageState](readPage))
		return seen.Done && seen.Title == title && strings.HasPrefix(seen.URL, b.s.CallbackURL()), err
	})
	if err != nil {
		b.s.T.Fatalf("%v; the browser is at %s %q:\n%s", err, seen.URL, seen.Title, seen.Text)
	}
	if got := b.statusOf(seen.URL); got != int64(status) {
		b.s.T.Errorf("status %d, want %d, at %s", got, status, seen.URL)
	}
	for _, part := range parts {
		if !strings.Contains(seen.Text, part) {
			b.s.T.Errorf("the page does not say %q:\n%s", part, seen.Text)
		}
	}
	if seen.Width > phoneWidth {
		b.s.T.Errorf("the page is %v pixels wide, a phone is %d", seen.Width, phoneWidth)
	}
	if seen.SmallestFont < 13 {
		b.s.T.Errorf("a text has a size of %v pixels", seen.SmallestFont)
	}
	b.s.WantHarmless(seen.HTML)
}

// statusOf returns the status of the last response from an address.
func (b *browser) statusOf(address string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range slices.Backward(b.documents) {
		if d.url == address {
			return d.status
		}
	}
	return 0
}

// picture saves screenshots of the page in light and dark colours, for a person to look at.
func (b *browser) picture(name string) {
	b.s.T.Helper()
	dir := os.Getenv("SCREENSHOT_DIR")
	if dir == "" {
		dir = "../screenshots"
	}
	fixture.Must(b.s.T, os.MkdirAll(dir, 0o755))
	for _, scheme := range []string{"light", "dark"} {
		fixture.Must(b.s.T, chromedp.Do(b.ctx, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})))
		png, err := chromedp.Run(b.ctx, chromedp.Action[[]byte](func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
			answer, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{})
			return answer.Data, err
		}))
		fixture.Must(b.s.T, err)
		fixture.Must(b.s.T, os.WriteFile(filepath.Join(dir, name+"-"+scheme+".png"), png, 0o644))
	}
}
