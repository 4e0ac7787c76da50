package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Limits of a visit. A login with a spare needs five pages at most.
const (
	maxPages    = 10
	maxPageSize = 1 << 20 // bytes
)

// Visitor does what a person with a browser does at an authorization URL. It
// fills in the sandbox's login page, keeps cookies, follows redirects, submits
// forms that post themselves, and follows pages that refresh to another address.
type Visitor struct {
	// Client sends the requests and decides on redirects; see [Server.Client].
	// Visit gives it a cookie jar if it has none. A later visit with the same client
	// is in the same browser session, also with another Username.
	Client             *http.Client
	Username, Password string
	// Cancel makes the visitor press Cancel on the login page.
	Cancel bool
}

// Page is a page that a visitor received.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
}

// Visit opens the address and returns all pages that it received, in order. The
// last one is where the visit ended. Visit sends the password once, and only to the
// server of the address.
func (v *Visitor) Visit(ctx context.Context, address string) ([]Page, error) {
	if v.Client.Jar == nil {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return nil, err
		}
		v.Client.Jar = jar
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	origin := request.URL
	var pages []Page
	for loggedIn := false; request != nil; {
		if len(pages) == maxPages {
			return pages, fmt.Errorf("the visit did not end after %d pages", maxPages)
		}
		page, err := v.get(request)
		if err != nil {
			return pages, err
		}
		pages = append(pages, page)
		parsed, err := page.parse()
		if err != nil {
			return pages, err
		}
		switch form := parsed.form; {
		case form == nil && parsed.next == "":
			request = nil
		case form == nil:
			request, err = page.open(ctx, parsed.next)
		case !form.login:
			request, err = page.submit(ctx, form)
		case loggedIn:
			return pages, errors.New("the login page came again: the username or the password is wrong")
		default:
			loggedIn = true
			v.fillIn(form)
			if request, err = page.submit(ctx, form); err == nil && (request.URL.Scheme != origin.Scheme || request.URL.Host != origin.Host) {
				err = fmt.Errorf("the login page of %s sends the password to %s", origin.Host, request.URL.Host)
			}
		}
		if err != nil {
			return pages, err
		}
	}
	return pages, nil
}

func (v *Visitor) get(r *http.Request) (Page, error) {
	answer, err := v.Client.Do(r)
	if err != nil {
		return Page{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxPageSize))
	if err != nil {
		return Page{}, err
	}
	return Page{URL: answer.Request.URL, Status: answer.StatusCode, Header: answer.Header, Body: string(body)}, nil
}

func (v *Visitor) fillIn(f *pageForm) {
	if v.Cancel {
		f.values.Set(fieldButton, buttonCancel)
		return
	}
	f.values.Set(fieldUsername, v.Username)
	f.values.Set(fieldPassword, v.Password)
	f.values.Set(fieldButton, buttonLogIn)
}

// open returns the request for a link on the page.
func (p Page) open(ctx context.Context, link string) (*http.Request, error) {
	target, err := p.URL.Parse(link)
	if err != nil {
		return nil, err
	}
	return http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
}

// submit returns the request that submits a form.
func (p Page) submit(ctx context.Context, f *pageForm) (*http.Request, error) {
	target, err := p.URL.Parse(f.action)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(f.values.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r, nil
}

// pageForm is a form to submit.
type pageForm struct {
	action string
	values url.Values
	login  bool // it asks for a password
}

// parsedPage is what a visitor needs to know of a page.
type parsedPage struct {
	form *pageForm // nil if there is none
	next string    // where the page refreshes to; "" if it stays
	text []string  // its headings and paragraphs
}

// parse reads a page. If it is not HTML, there is nothing to do on it.
func (p Page) parse() (parsedPage, error) {
	var parsed parsedPage
	if !strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
		return parsed, nil
	}
	root, err := html.Parse(strings.NewReader(p.Body))
	if err != nil {
		return parsed, err
	}
	for node := range root.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		switch node.DataAtom {
		case atom.Form:
			parsed.form = &pageForm{action: attribute(node, "action"), values: url.Values{}}
		case atom.Input:
			if f := parsed.form; f != nil {
				f.values.Set(attribute(node, "name"), attribute(node, "value"))
				f.login = f.login || attribute(node, "type") == "password"
			}
		case atom.Meta:
			if strings.EqualFold(attribute(node, "http-equiv"), "refresh") {
				_, parsed.next, _ = strings.Cut(attribute(node, "content"), "url=")
			}
		case atom.H1, atom.P:
			parsed.text = append(parsed.text, textOf(node))
		}
	}
	return parsed, nil
}

// Text returns the text of the page, with one line for each heading and paragraph.
func (p Page) Text() string {
	parsed, err := p.parse()
	if err != nil || len(parsed.text) == 0 {
		return p.Body
	}
	return strings.Join(parsed.text, "\n")
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(node *html.Node) string {
	var text strings.Builder
	for inner := range node.Descendants() {
		if inner.Type == html.TextNode {
			text.WriteString(inner.Data)
		}
	}
	return strings.Join(strings.Fields(text.String()), " ")
}
