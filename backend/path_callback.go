package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/pendinglogin"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

const callbackPath = "callback"

func (b *backend) pathCallback() []*framework.Path {
	read := operation{
		handler: b.callbackPage, verb: "complete", suffix: "login",
		summary:     "Complete a login, for a browser.",
		description: "This is the redirect URI. The answer is a page with the result of the login.",
		responses: map[int][]framework.Response{
			http.StatusOK:         {{Description: "The account is connected.", MediaType: pageType}},
			http.StatusBadRequest: {{Description: "The login failed; the page says why and what to do.", MediaType: pageType}},
		},
		unknown: ignoreUnknown,
	}
	update := operation{
		handler: b.callback, verb: "complete-with-parameters", suffix: "login",
		summary: "Complete a login, for a command or for a browser that posts a form.",
		description: "For installations whose redirect URI is not Vault: the server that receives the browser passes state and code on. " +
			"If the login began with response_mode=form_post, the answer is a page.",
		responses: ok("The account is connected.", callbackResponseFields()),
		unknown:   ignoreUnknown,
	}
	return []*framework.Path{{
		Pattern: callbackPath + "$",
		Fields:  callbackFields(),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   read.build(),
			logical.UpdateOperation: update.build(),
		},
		HelpSynopsis: "The end of a login at Pagero.",
		HelpDescription: `
Pagero sends the browser here after a login that authorize/<account> began. No
Vault token is needed: the state, which only that browser has, identifies the
login. It works once, and only with the code that belongs to it.`,
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix},
	}}
}

func callbackFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldState: {Type: framework.TypeString, Query: true, Description: "State of the login.", DisplayAttrs: &framework.DisplayAttributes{Name: "State"}},
		fieldCode: {
			Type: framework.TypeString, Query: true, Description: "Authorization code (RFC 6749, section 4.1.2).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Code", Sensitive: true},
		},
		fieldIss: {Type: framework.TypeString, Query: true, Description: "Issuer (RFC 9207).", DisplayAttrs: &framework.DisplayAttributes{Name: "Issuer"}},
		fieldError: {
			Type: framework.TypeString, Query: true, Description: "Error code instead of a code (RFC 6749, section 4.1.2.1).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Error"},
		},
	}
}

func callbackResponseFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAccount:          {Type: framework.TypeString, Required: true, Description: "Name of the account that is connected."},
		fieldSpare:            {Type: framework.TypeString, Required: true, Description: "The spare grant: none, ready or used."},
		fieldAuthorizationURL: {Type: framework.TypeString, Description: "URL to open next, for the spare grant; absent if there is nothing more to do."},
		fieldState:            {Type: framework.TypeString, Description: "State of that login."},
		fieldExpireTime:       {Type: framework.TypeTime, Description: "When that login expires. RFC 3339, UTC."},
	}
}

// callback answers an update: with a page if a browser posts, or else with data.
func (b *backend) callback(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	if strings.HasPrefix(data.Get(fieldState).(string), formPostState) {
		return b.callbackPage(ctx, req, data)
	}
	done, err := b.completeLogin(ctx, data)
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: map[string]any{fieldAccount: done.account, fieldSpare: string(done.spare)}, Warnings: done.warnings}
	maps.Copy(resp.Data, done.next)
	return resp, nil
}

// callbackPage answers a browser.
func (b *backend) callbackPage(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	done, err := b.completeLogin(ctx, data)
	switch {
	case errors.Is(err, rotation.ErrReadOnly):
		return nil, err // Vault forwards the request
	case err != nil:
		return showPage(statusOf(err), failedPage(err))
	case done.next != nil:
		next, _ := done.next[fieldAuthorizationURL].(string)
		return showPage(http.StatusOK, nextPage(done, next))
	default:
		return showPage(http.StatusOK, connectedPage(done))
	}
}

// completed is a login that succeeded.
type completed struct {
	account  string
	spare    account.SpareState
	asSpare  bool
	warnings []string
	next     map[string]any // the login for the spare grant; nil if there is none
}

// errNoLogin is the only answer to an invalid state. It does not reveal whether the
// login existed.
var errNoLogin = invalid("this login is not known here any more: it was completed before, it took too long, or it never began; " +
	"nothing was changed; begin a new one with a write to authorize/<account>")

// spareError reports that the login for a spare grant failed. The account has its
// first grant by then.
type spareError struct {
	account string
	err     error
}

func (e *spareError) Error() string { return e.err.Error() }
func (e *spareError) Unwrap() error { return e.err }

// maxParameterBytes bounds what a stranger may send as one parameter.
const maxParameterBytes = 4 << 10

// checkLengths refuses a callback with a long parameter, before anything is done with it.
func checkLengths(data *framework.FieldData) error {
	if len(data.Get(fieldState).(string)) > maxParameterBytes {
		return errNoLogin
	}
	for _, field := range []string{fieldCode, fieldIss, fieldError} {
		if len(data.Get(field).(string)) > maxParameterBytes {
			return invalid("%s is longer than %d bytes, so this answer to a login is not taken; nothing was changed; begin a new login with a write to authorize/<account>",
				field, maxParameterBytes)
		}
	}
	return nil
}

// errLookingUp is all that a stranger learns of a failure of the storage.
var errLookingUp = errors.New("the login could not be looked up, because Vault's storage failed; nothing was changed; try again")

// withoutCause logs an error that is about Vault, and returns one for the person in the
// browser, who need not know how Vault stores its data.
func (b *backend) withoutCause(l *pendinglogin.Login, err error) error {
	if errors.Is(err, rotation.ErrReadOnly) || statusOf(err) != http.StatusInternalServerError {
		return err
	}
	b.Logger().Error("a login could not be completed", "account", l.Account, "client", l.Client, "error", err)
	return aboutAccount(l.Account, errCompleting)
}

var errCompleting = errors.New("the login could not be completed, because Vault's storage failed or the plugin has a defect; Vault's log says why; try again")

func (b *backend) completeLogin(ctx context.Context, data *framework.FieldData) (*completed, error) {
	if err := checkLengths(data); err != nil {
		return nil, err
	}
	if err := b.writable(); err != nil {
		return nil, err
	}
	state := oauth.NewSecret(data.Get(fieldState).(string))
	l, err := b.logins.Find(ctx, state)
	if errors.Is(err, pendinglogin.ErrNotFound) {
		return nil, errNoLogin
	}
	if err != nil {
		b.Logger().Error("a login could not be looked up", "error", err)
		return nil, errLookingUp
	}
	done, err := b.completeKnownLogin(ctx, state, l, data)
	if err != nil {
		err = b.withoutCause(l, err)
	}
	if err != nil && l.AsSpare && !errors.Is(err, errNoLogin) {
		err = &spareError{l.Account, err}
	}
	return done, err
}

func (b *backend) completeKnownLogin(ctx context.Context, state oauth.Secret, l *pendinglogin.Login, data *framework.FieldData) (*completed, error) {
	c, err := b.clients.load(ctx, l.Client)
	if err != nil {
		return nil, aboutAccount(l.Account, err)
	}
	if c == nil {
		return nil, &notFoundError{fmt.Sprintf("account %q: the client %q of this login does not exist any more; nothing was changed; "+
			"create it with a write to clients/%s, or begin a new login with a write to authorize/%s", l.Account, l.Client, l.Client, l.Account)}
	}
	if err := b.checkIssuer(c.Issuer, data.Get(fieldIss).(string), l); err != nil {
		return nil, err
	}
	if text := data.Get(fieldError).(string); text != "" {
		return nil, b.endLogin(ctx, state, l, oauth.RegisteredCode(text))
	}
	code := oauth.NewSecret(data.Get(fieldCode).(string))
	if !code.IsSet() {
		return nil, invalid("account %q: the answer contains no code; nothing was changed; begin a new login with a write to authorize/%s", l.Account, l.Account)
	}
	a, warnings, err := b.accounts.LogIn(ctx, l.Account, rotation.Login{
		Code:    &oauth.Code{Code: code, RedirectURI: l.RedirectURI, Verifier: l.Verifier},
		State:   state,
		Client:  l.Client,
		AsSpare: l.AsSpare,
	})
	if errors.Is(err, account.ErrUnknownLogin) {
		return nil, errNoLogin
	}
	if err != nil {
		return nil, err
	}
	done := &completed{account: l.Account, spare: a.SpareState(), asSpare: l.AsSpare, warnings: warnings}
	if l.AndSpare {
		b.beginSpare(ctx, c, l, done)
	}
	return done, nil
}

// checkIssuer refuses an answer of another authorization server than the client's (RFC
// 9207, section 2.4). wanted is "" if the client does not say which.
func (b *backend) checkIssuer(wanted, iss string, l *pendinglogin.Login) error {
	switch {
	case wanted == "" || iss == wanted:
		return nil
	case iss == "":
		b.Logger().Warn("the answer to a login names no issuer", "account", l.Account, "client", l.Client)
		return invalid("account %q: the answer names no issuer (iss), but client %q has one; nothing was changed; "+
			"if the server sends none, empty the issuer with a write of issuer= to clients/%s", l.Account, l.Client, l.Client)
	default:
		b.Logger().Warn("the answer to a login names another issuer", "account", l.Account, "client", l.Client)
		return invalid("account %q: the answer does not come from the issuer of client %q (iss); nothing was changed; "+
			"if the server is the right one, correct clients/%s (issuer)", l.Account, l.Client, l.Client)
	}
}

// claimLogin makes a login used that the server has ended with an error.
func (b *backend) claimLogin(ctx context.Context, state oauth.Secret, l *pendinglogin.Login) error {
	claimed, err := b.logins.Claim(ctx, state)
	switch {
	case err != nil:
		return storageFailed(l.Account, "marking the login as used", err)
	case !claimed:
		return errNoLogin
	default:
		return nil
	}
}

// endLogin ends a login that the server answered with an error.
func (b *backend) endLogin(ctx context.Context, state oauth.Secret, l *pendinglogin.Login, code oauth.ErrorCode) error {
	if err := b.claimLogin(ctx, state, l); err != nil {
		return err
	}
	b.Logger().Warn("login ended with an error", "account", l.Account, "client", l.Client, "code", code)
	what := fmt.Sprintf("the server ended the login with %s", code)
	if code == oauth.CodeAccessDenied {
		what = "the login was cancelled (access_denied)"
	}
	if l.AsSpare {
		return invalid("account %q: it is connected, but without a spare grant: %s; begin another login with a write of spare=true to authorize/%s", l.Account, what, l.Account)
	}
	return invalid("account %q: %s; nothing was changed; begin a new login with a write to authorize/%s", l.Account, what, l.Account)
}

// beginSpare begins the login for the spare grant. A failure is a warning only, because
// the account has its first grant already.
func (b *backend) beginSpare(ctx context.Context, c *client, first *pendinglogin.Login, done *completed) {
	l := *first
	l.AndSpare, l.AsSpare, l.Expires = false, true, now().Add(defaultLoginTTL)
	next, err := b.beginLogin(ctx, c, l, "") // without a prompt: the user has a session at the server
	if err != nil {
		done.warnings = append(done.warnings, "the login for the spare grant could not begin: "+b.withoutCause(&l, err).Error())
		return
	}
	done.next = next
}

const pageType = "text/html; charset=utf-8"

// showPage answers with a page. No cache may keep it, because its URL contains a code.
func showPage(status int, p htmlPage) (*logical.Response, error) {
	html, err := p.render()
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode:         status,
		logical.HTTPContentType:        pageType,
		logical.HTTPRawBody:            html,
		logical.HTTPCacheControlHeader: "no-store",
	}}, nil
}
