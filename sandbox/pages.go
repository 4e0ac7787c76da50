package sandbox

import (
	"html/template"
	"net/http"
)

// Content security policies: a page loads nothing from anywhere. They do not set
// form-action, because browsers apply it to the redirect that follows the form, too.
const (
	pagePolicy     = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
	formPostPolicy = pagePolicy + "; script-src 'unsafe-inline'"
)

// loginPageData fills the login page.
type loginPageData struct {
	Action       string
	ClientID     string
	RedirectHost string
	LoggedIn     string // the user of the browser session, "" if there is none
	Username     string // to fill in
	Failed       bool
}

var pages = template.Must(template.New("head").Parse(`{{define "head"}}<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 24rem; margin: 0 auto; padding: 2rem 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
label { display: block; margin: 1rem 0 .25rem; font-weight: 600; }
input { box-sizing: border-box; width: 100%; padding: .6rem; font: inherit; }
button { min-height: 2.75rem; padding: 0 1.25rem; font: inherit; }
.buttons { display: flex; gap: .75rem; margin-top: 1.5rem; }
.note { opacity: .75; font-size: .9rem; }
.error { border-left: .25rem solid #c62828; padding-left: .75rem; }
code { overflow-wrap: anywhere; }
</style>{{end}}
{{define "login"}}{{template "head"}}
<title>Log in - Pagero sandbox</title>
</head>
<body>
<main>
<h1>Log in</h1>
<p><code>{{.ClientID}}</code> asks to act for you at Pagero. After the login you are sent to <code>{{.RedirectHost}}</code>.</p>
{{with .LoggedIn}}<p>You are logged in as <strong>{{.}}</strong>. Log in again to go on, or log in as another user.</p>{{end}}
{{if .Failed}}<p class="error" role="alert">The username or the password is wrong.</p>{{end}}
<form method="post" action="{{.Action}}">
<label for="username">Username</label>
<input id="username" name="username" value="{{.Username}}" autocomplete="username" autocapitalize="none" spellcheck="false" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<div class="buttons">
<button name="button" value="login">Log in</button>
<button name="button" value="cancel" formnovalidate>Cancel</button>
</div>
</form>
<p class="note">This is a sandbox on your own machine, not Pagero. Do not enter real credentials.</p>
</main>
</body>
</html>
{{end}}
{{define "error"}}{{template "head"}}
<title>Error - Pagero sandbox</title>
</head>
<body>
<main>
<h1>The authorization cannot begin</h1>
<p class="error" role="alert"><code>{{.ErrorField}}</code><br>{{.GetDescription}}</p>
<p class="note">This is a sandbox on your own machine, not Pagero.</p>
</main>
</body>
</html>
{{end}}
{{define "form_post"}}{{template "head"}}
<title>Continue - Pagero sandbox</title>
</head>
<body onload="document.forms[0].submit()">
<main>
<form method="post" action="{{.RedirURL}}">
{{range $name, $values := .Parameters}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">
{{end}}{{end}}<button>Continue</button>
</form>
</main>
</body>
</html>
{{end}}`))

var (
	loginPage    = pages.Lookup("login")
	errorPage    = pages.Lookup("error")
	formPostPage = pages.Lookup("form_post") // OAuth 2.0 Form Post Response Mode
)

// showPage writes one of the sandbox's pages.
func showPage(a *answer, status int, page *template.Template, data any) {
	a.Header().Set("Content-Type", "text/html; charset=utf-8")
	a.Header().Set("Content-Security-Policy", pagePolicy)
	a.Header().Set("X-Content-Type-Options", "nosniff")
	a.Header().Set("Referrer-Policy", "no-referrer")
	a.WriteHeader(status)
	if err := page.Execute(a, data); err != nil {
		a.body.Reset()
		a.WriteHeader(http.StatusInternalServerError)
	}
}
