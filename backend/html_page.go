package backend

import (
	"errors"
	"html/template"
	"net/http"
	"strings"
)

// htmlPage is what a person sees at the end of a login. It has no script, loads
// nothing, and html/template escapes whatever is filled in.
type htmlPage struct {
	Title   string
	Tone    string   // "good", "bad" or ""
	Text    []string // paragraphs
	Details string   // for the administrator
	Next    string   // where the browser goes by itself; "" for a page that stays
}

func connectedPage(done *completed) htmlPage {
	p := htmlPage{Title: "Connected", Tone: "good", Text: []string{"The account " + done.account + " is connected."}}
	switch {
	case len(done.warnings) > 0:
		p.Text = append(p.Text, "Something has to be looked at. Please tell whoever sent you here.")
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
		Text: []string{"The account " + done.account + " is connected. Pagero is asked once more, for a spare grant."},
	}
}

func failedPage(err error) htmlPage {
	p := htmlPage{
		Title: "Not completed", Tone: "bad",
		Text:    []string{"The login could not be completed.", "Please ask whoever sent you here for a new link."},
		Details: err.Error(),
	}
	var spare *spareError
	switch {
	case errors.Is(err, errNoLogin):
		// Browsers load a page again by themselves: who sees this may have seen that
		// all went well.
		p.Title, p.Tone = "This login has ended", ""
		p.Text = []string{
			"It was completed before, or it took too long.",
			"If you have been told that the account is connected, all is well. If not, please ask whoever sent you here for a new link.",
		}
	case errors.As(err, &spare):
		p.Title, p.Tone = "Connected", "good"
		p.Text = []string{
			"The account " + spare.account + " is connected, but without a spare grant.",
			"Please tell whoever sent you here. You can close this page.",
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

// The policy stands in the page, because Vault sends no header of a plugin's
// choice. frame-ancestors cannot stand there: nothing on the page can be clicked
// but the way onwards.
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
