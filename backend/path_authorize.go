package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/pendinglogin"
)

const (
	defaultLoginTTL = 10 * time.Minute
	maxLoginTTL     = 24 * time.Hour

	modeQuery    = "query"
	modeFormPost = "form_post"

	// formPostState is the prefix of the states of logins with response_mode=form_post.
	// A browser posts their callback, so the answer must be a page, even if the login is
	// no longer known. A random state contains no full stop.
	formPostState = modeFormPost + "."
)

func (b *backend) pathAuthorize() []*framework.Path {
	return []*framework.Path{{
		Pattern: named("authorize/"),
		Fields:  authorizeFields(),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: operation{
				handler: b.authorize, verb: "authorize", suffix: "account",
				summary: "Begin a login at Pagero.",
				description: "Returns a URL to open in a browser. The login ends at callback, which gives the account its grant and shows no token. " +
					"Until then nothing changes.",
				responses: ok("The login has begun.", map[string]*framework.FieldSchema{
					fieldAuthorizationURL: {Type: framework.TypeString, Required: true, Description: "URL to open in a browser (RFC 6749, section 4.1.1)."},
					fieldState:            {Type: framework.TypeString, Required: true, Description: "State of the login, as in the URL."},
					fieldExpireTime:       {Type: framework.TypeTime, Required: true, Description: "When the login expires. RFC 3339, UTC."},
				}),
			}.build(),
		},
		HelpSynopsis: "Begin a login at Pagero for an account.",
		HelpDescription: `
Returns a URL. The Pagero user who opens it in a browser and logs in is connected
to the account: Pagero sends the browser to the redirect URI, which is "callback"
of this mount, and the engine gets the tokens from Pagero itself. The URL works
once. Send it only to the person who is to log in.

    vault write -f pagero/authorize/acme
    vault write pagero/authorize/acme spare=true ttl=24h`,
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix},
	}}
}

func authorizeFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldName: nameField("account"),
		fieldClient: {
			Type: framework.TypeString, Description: `Name of the OAuth client. By default the account's, or "default" for a new one.`,
			DisplayAttrs: &framework.DisplayAttributes{Name: "Client"},
		},
		fieldRedirectURI: {
			Type: framework.TypeString, Description: "One of the client's redirect_uris. It is optional if the client has only one.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Redirect URI"},
		},
		fieldScope: {
			Type: framework.TypeString, Description: "Scope to ask for, separated by spaces. By default the client's scopes.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Scope"},
		},
		fieldPrompt: {
			Type: framework.TypeString, AllowedValues: []any{"", "login", "consent", "select_account", "none"},
			Description:  "What the server asks the user (OpenID Connect Core, section 3.1.2.1): login makes it ask for the password even if the browser has a session.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Prompt"},
		},
		fieldSpare: {
			Type: framework.TypeBool, Description: "Get a spare grant in the same visit. It takes over when the first one dies.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Spare"},
		},
		fieldResponseMode: {
			Type: framework.TypeString, Default: modeQuery, AllowedValues: []any{modeQuery, modeFormPost},
			Description:  "How the browser delivers the code: query (in the URL) or form_post (in a form, which no log shows).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Response mode"},
		},
		fieldTTL: {
			Type: framework.TypeDurationSecond, Default: int(defaultLoginTTL / time.Second), Description: "How long the login is valid, at most 24h.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "TTL"},
		},
	}
}

func (b *backend) authorize(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	if err := b.writable(); err != nil {
		return nil, err
	}
	name := data.Get(fieldName).(string)
	l, err := b.decodeLogin(ctx, name, data)
	if err != nil {
		return nil, err
	}
	c, err := b.clients.load(ctx, l.Client)
	if err != nil {
		return nil, aboutAccount(name, err)
	}
	if c == nil && data.Get(fieldClient).(string) != "" {
		return nil, &notFoundError{fmt.Sprintf("account %q: the client that the request names does not exist; create it with a write to clients/<name>", name)}
	}
	if c == nil {
		return nil, &notFoundError{fmt.Sprintf("account %q: the client %q does not exist; create it with a write to clients/%s", name, l.Client, l.Client)}
	}
	if l.RedirectURI, err = c.redirectURI(l.Client, l.RedirectURI); err != nil {
		return nil, aboutAccount(name, err)
	}
	if l.Scope == "" {
		l.Scope = strings.Join(c.Scopes, " ")
	}
	begun, err := b.beginLogin(ctx, c, l, data.Get(fieldPrompt).(string))
	if err != nil {
		return nil, err
	}
	b.Logger().Info("login begun", "account", name, "client", l.Client, "spare", l.AndSpare, "expires", formatTime(l.Expires))
	return &logical.Response{Data: begun}, nil
}

// decodeLogin reads the request. The redirect URI and the scope are not checked yet.
func (b *backend) decodeLogin(ctx context.Context, name string, data *framework.FieldData) (pendinglogin.Login, error) {
	ttl := defaultLoginTTL
	given(data, fieldTTL, &ttl)
	if ttl < time.Second || ttl > maxLoginTTL {
		return pendinglogin.Login{}, invalid("account %q: ttl must be between 1s and %s", name, maxLoginTTL)
	}
	mode, prompt := data.Get(fieldResponseMode).(string), data.Get(fieldPrompt).(string)
	schema := authorizeFields()
	if !slices.Contains(schema[fieldResponseMode].AllowedValues, any(mode)) {
		return pendinglogin.Login{}, invalid("account %q: response_mode must be query or form_post", name)
	}
	if !slices.Contains(schema[fieldPrompt].AllowedValues, any(prompt)) {
		return pendinglogin.Login{}, invalid("account %q: prompt must be login, consent, select_account or none", name)
	}
	client := data.Get(fieldClient).(string)
	if client == "" {
		client = account.DefaultClient
		a, err := b.accounts.Get(ctx, name)
		var e *account.Error
		switch {
		case err == nil:
			client = a.Client
		case !errors.As(err, &e) || e.Kind != account.KindNotFound:
			return pendinglogin.Login{}, err
		}
	}
	if err := checkClientName(client); err != nil {
		return pendinglogin.Login{}, aboutAccount(name, fmt.Errorf("client: %w", err))
	}
	return pendinglogin.Login{
		Account: name, Client: client,
		RedirectURI: data.Get(fieldRedirectURI).(string), Scope: strings.TrimSpace(data.Get(fieldScope).(string)), ResponseMode: mode,
		Expires: now().Add(ttl), AndSpare: data.Get(fieldSpare).(bool),
	}, nil
}

// redirectURI returns the wanted URI, which must be one of the client's, or the
// client's only one if none is wanted.
func (c *client) redirectURI(name, wanted string) (string, error) {
	switch {
	case len(c.RedirectURIs) == 0:
		return "", invalid("client %q has no redirect_uris; write the one that is registered at Pagero to clients/%s, such as https://vault.example.com/v1/pagero/callback", name, name)
	case wanted == "" && len(c.RedirectURIs) == 1:
		return c.RedirectURIs[0], nil
	case wanted == "":
		return "", invalid("client %q has several redirect_uris; say which one with redirect_uri: %s", name, strings.Join(c.RedirectURIs, ", "))
	case !slices.Contains(c.RedirectURIs, wanted):
		return "", invalid("redirect_uri is not one of the redirect_uris of client %q: %s", name, strings.Join(c.RedirectURIs, ", "))
	}
	return wanted, nil
}

// beginLogin stores a login and returns the data for its browser.
func (b *backend) beginLogin(ctx context.Context, c *client, l pendinglogin.Login, prompt string) (map[string]any, error) {
	cfg, err := b.config.load(ctx)
	if err != nil {
		return nil, aboutAccount(l.Account, err)
	}
	u, err := parseEndpoint(fieldAuthorizeURL, c.AuthorizeURL)
	if err != nil {
		return nil, aboutAccount(l.Account, err)
	}
	if !hostAllowed(u, cfg.AllowedHosts) {
		return nil, invalid("account %q: the host %q of authorize_url of client %q is not one of the allowed_hosts; correct config (allowed_hosts) or clients/%s",
			l.Account, u.Hostname(), l.Client, l.Client)
	}
	state := oauth.NewRandom()
	mode := ""
	if l.ResponseMode == modeFormPost {
		state, mode = oauth.NewSecret(formPostState+state.Reveal()), modeFormPost
	}
	l.Verifier = oauth.NewRandom()
	address, err := oauth.AuthorizationRequest{
		ClientID: c.ID, RedirectURI: l.RedirectURI, Scope: l.Scope, State: state, Verifier: l.Verifier, Prompt: prompt, ResponseMode: mode,
	}.URL(c.AuthorizeURL)
	if err != nil {
		return nil, aboutAccount(l.Account, err)
	}
	if err := b.logins.Begin(ctx, state, l); err != nil {
		return nil, storageFailed(l.Account, "writing the login", err)
	}
	return map[string]any{
		fieldAuthorizationURL: address,
		fieldState:            state.Reveal(),
		fieldExpireTime:       formatTime(l.Expires),
	}, nil
}
