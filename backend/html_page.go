package backend

import (
	"errors"
	"html/template"
	"net/http"
	"strings"
)

// htmlPage is the page that a person sees at the end of a login. It has no script and
// loads nothing. html/template escapes what is filled in.
type htmlPage struct {
	Title   string
	Tone    string   // "good", "bad" or ""
	Text    []string // paragraphs
	Details string   // for the administrator
	Next    string   // the URL that the browser opens by itself; "" if the page stays
}

func connectedPage(done *completed) htmlPage {
	p := htmlPage{Title: "Connected", Tone: "good", Text: []string{"The account " + done.account + " is connected."}}
	switch {
	case len(done.warnings) > 0:
		p.Text = append(p.Text, "Something has to be looked at. Please tell the person who sent you here.")
		p.Details = strings.Join(done.warnings, " ")
	case done.asSpare:
		p.Text[0] = "The account " + done.account + " is connected, with a spare grant."
	}
	p.Text = append(p.Text, "You can close this page.")
	return p
}

func nextPage(done *completed, next string) htmlPage {
	return htmlPage{
		Title: "One moment", Tone: "good", Next: next,
		Text: []string{"The account " + done.account + " is connected. Pagero asks once more, for a spare grant."},
	}
}

func failedPage(err error) htmlPage {
	p := htmlPage{
		Title: "Not completed", Tone: "bad",
		Text:    []string{"The login could not be completed.", "Please ask the person who sent you here for a new link."},
		Details: err.Error(),
	}
	var spare *spareError
	switch {
	case errors.Is(err, errNoLogin):
		// Browsers reload pages by themselves: the user may have seen already that the
		// login succeeded.
		p.Title, p.Tone = "This login has ended", ""
		p.Text = []string{
			"It was completed before, or it took too long.",
			"If you have been told that the account is connected, all is well. If not, please ask the person who sent you here for a new link.",
		}
	case errors.As(err, &spare):
		p.Title, p.Tone = "Connected", "good"
		p.Text = []string{
			"The account " + spare.account + " is connected, but without a spare grant.",
			"Please tell the person who sent you here. You can close this page.",
		}
	case statusOf(err) >= http.StatusInternalServerError:
		p.Text[0] = "The login could not be completed, because something does not work at the moment."
	}
	return p
}

func (p htmlPage) render() (string, error) {
	var b strings.Builder
	err := pageTemplate.Execute(&b, p)
	return b.String(), err
}

// The content security policy is in the page, because a plugin cannot choose its
// headers. frame-ancestors has no effect in a page; that does no harm, because the
// only thing to click on is the link to the next page.
var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
{{with .Next}}<meta http-equiv="refresh" content="0; url={{.}}">
{{end}}<title>{{.Title}}</title>
<style>
:root { color-scheme: light dark; }
body { margin: 0; font: 1.05rem/1.5 system-ui, sans-serif; }
main { max-width: 32rem; margin: 0 auto; padding: 2.5rem 1.25rem; }
h1 { margin: 0 0 1rem; padding-left: .75rem; border-left: .35rem solid #8888; font-size: 1.6rem; line-height: 1.2; }
h1.good { border-color: #2e7d32; }
h1.bad { border-color: #c62828; }
a { display: inline-block; padding: .6rem 0; }
p { overflow-wrap: anywhere; }
.details { margin-top: 2rem; padding-top: 1rem; border-top: 1px solid #8888; font-size: .85rem; opacity: .8; }
</style>
</head>
<body>
<main>
<h1 class="{{.Tone}}">{{.Title}}</h1>
{{range .Text}}<p>{{.}}</p>
{{end}}{{with .Next}}<p><a href="{{.}}">Go on</a></p>
{{end}}{{with .Details}}<p class="details">For the administrator: {{.}}</p>
{{end}}</main>
</body>
</html>
`))
