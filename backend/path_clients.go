package backend

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const clientsPrefix = "clients/"

func (b *backend) pathClients() []*framework.Path {
	write := operation{
		handler: b.writeClient, verb: "write", suffix: "client",
		summary: "Create or change an OAuth client.",
		description: "Changes the given fields only. The secret that a new client_secret replaces is a fallback " +
			"until the new one has worked once. A change of client_id, ca_cert or an endpoint's host must come with the client_secret.",
		responses: noContent("The client is stored."),
	}.build()
	return []*framework.Path{
		{
			Pattern: clientsPrefix + "?$",
			Fields:  listFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: operation{
					handler: b.listClients, verb: "list", suffix: "clients",
					summary:     "List the names of the OAuth clients.",
					description: "Returns the names in order. Use after and limit to get them in parts.",
					responses:   ok("The names.", keysField()),
				}.build(),
			},
			HelpSynopsis:    "The OAuth clients of this mount.",
			HelpDescription: "List the names of the OAuth clients; see clients/<name>.",
			DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, ItemType: "Client", Navigation: true},
		},
		{
			Pattern:        named(clientsPrefix),
			Fields:         clientFields(),
			ExistenceCheck: b.clientExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.CreateOperation: write,
				logical.UpdateOperation: write,
				logical.ReadOperation: operation{
					handler: b.readClient, verb: "read", suffix: "client",
					summary:     "Read an OAuth client, without its secret.",
					description: "client_secret_set says whether there is a secret; the secret itself is never returned.",
					responses:   ok("The client.", clientResponseFields()),
				}.build(),
				logical.DeleteOperation: operation{
					handler: b.deleteClient, verb: "delete", suffix: "client",
					summary:     "Delete an OAuth client.",
					description: "Accounts that use it stay; their tokens cannot be refreshed until the client is written again.",
					responses:   noContent("The client is deleted."),
				}.build(),
			},
			HelpSynopsis: "An OAuth client registered at Pagero.",
			HelpDescription: `
A client is the client_id and the client_secret that Pagero gave you for your
application. The default endpoints are Pagero's. Accounts that name no client use
the client named "default".`,
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, ItemType: "Client"},
		},
	}
}

func clientFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldName:     nameField("client"),
		fieldClientID: {Type: framework.TypeString, Description: "Client id (RFC 6749, section 2.2).", DisplayAttrs: &framework.DisplayAttributes{Name: "Client ID"}},
		fieldClientSecret: {
			Type: framework.TypeString, Description: "Client secret. Write only.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Client secret", Sensitive: true},
		},
		fieldAuthMethod: {
			Type: framework.TypeString, Default: string(oauth.AuthBasic), AllowedValues: authMethods,
			Description:  "How the client authenticates: client_secret_basic (HTTP Basic) or client_secret_post (in the form).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Authentication method"},
		},
		fieldTokenURL: {
			Type: framework.TypeString, Default: defaultTokenURL, Description: "Token endpoint.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Token endpoint", Group: "Endpoints"},
		},
		fieldAuthorizeURL: {
			Type: framework.TypeString, Default: defaultAuthorizeURL, Description: "Authorization endpoint.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Authorization endpoint", Group: "Endpoints"},
		},
		fieldRevokeURL: {
			Type: framework.TypeString, Default: defaultRevokeURL, Description: "Revocation endpoint (RFC 7009).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Revocation endpoint", Group: "Endpoints"},
		},
		fieldRedirectURIs: {
			Type: framework.TypeCommaStringSlice, Description: "Redirect URIs that are registered at Pagero.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Redirect URIs"},
		},
		fieldScopes: {
			Type: framework.TypeCommaStringSlice, Description: "Scopes that a login asks for.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Scopes"},
		},
		fieldIssuer: {
			Type: framework.TypeString, Description: "Issuer of the authorization server (RFC 8414). If it is set, the answer to a login must name it as iss (RFC 9207).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Issuer", Group: "Endpoints"},
		},
		fieldCACert: {
			Type: framework.TypeString, Description: "Certificates in PEM that are trusted instead of the system's for this client's endpoints.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "CA certificate", EditType: "file"},
		},
	}
}

func clientResponseFields() map[string]*framework.FieldSchema {
	fields := clientFields()
	delete(fields, fieldName)
	delete(fields, fieldClientSecret)
	fields[fieldClientSecretSet] = &framework.FieldSchema{Type: framework.TypeBool, Required: true, Description: "Whether there is a client secret."}
	return fields
}

func (b *backend) clientExists(ctx context.Context, _ *logical.Request, data *framework.FieldData) (bool, error) {
	name := data.Get(fieldName).(string)
	if !isClientName(name) {
		return false, nil // the write refuses it, without a line in Vault's log
	}
	exists, err := b.clients.Exists(ctx, name)
	var unreadable *entry.UnreadableError
	if errors.As(err, &unreadable) {
		return true, nil // Vault hides an error from here; the write returns it again
	}
	return exists, err
}

func (b *backend) listClients(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	names, err := b.clients.list(ctx)
	if err != nil {
		return nil, err
	}
	return listResponse(names, data)
}

func (b *backend) readClient(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(fieldName).(string)
	c, err := b.clients.load(ctx, name)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, noSuchClient(name)
	}
	// In JSON an empty list must be [], not null.
	return &logical.Response{Data: map[string]any{
		fieldClientID:        c.ID,
		fieldClientSecretSet: c.Secret.IsSet(),
		fieldAuthMethod:      c.AuthMethod,
		fieldTokenURL:        c.TokenURL,
		fieldAuthorizeURL:    c.AuthorizeURL,
		fieldRevokeURL:       c.RevokeURL,
		fieldRedirectURIs:    append([]string{}, c.RedirectURIs...),
		fieldScopes:          append([]string{}, c.Scopes...),
		fieldCACert:          c.CACert,
		fieldIssuer:          c.Issuer,
	}}, nil
}

func noSuchClient(name string) error {
	return &notFoundError{fmt.Sprintf("client %q does not exist; create it with a write of client_id and client_secret to clients/%s", name, name)}
}

func (b *backend) writeClient(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(fieldName).(string)
	cfg, err := b.config.load(ctx)
	if err != nil {
		return nil, err
	}
	var newSecret bool
	err = b.clients.update(ctx, name, func(old *client) (c *client, err error) {
		c, newSecret, err = changeClient(name, old, data, cfg.AllowedHosts)
		return c, err
	})
	if err != nil {
		return nil, err
	}
	b.accounts.ClientWritten(name)
	b.Logger().Info("client written", "client", name, "new_secret", newSecret)
	return nil, nil
}

// changeClient returns the client as a write wants it, and whether the write brought
// a client_secret. old is nil if there is no such client.
func changeClient(name string, old *client, data *framework.FieldData, allowedHosts []string) (c *client, newSecret bool, err error) {
	c = newClient()
	if old != nil {
		changed := *old
		c = &changed
	}
	newSecret, err = c.decode(data)
	if err != nil {
		return nil, false, fmt.Errorf("client %q: %w", name, err)
	}
	if err := c.validate(name, allowedHosts); err != nil {
		return nil, false, err
	}
	if old != nil {
		if err := c.replace(name, old, newSecret); err != nil {
			return nil, false, err
		}
	}
	c.Revision = rand.Text()
	return c, newSecret, nil
}

// decode takes over the fields that are given, and reports whether client_secret is.
func (c *client) decode(data *framework.FieldData) (newSecret bool, err error) {
	id, ok, err := givenText(data, fieldClientID, labelText)
	if err != nil {
		return false, err
	}
	if ok {
		c.ID = id
	}
	secret, newSecret, err := givenText(data, fieldClientSecret, passwordText)
	if err != nil {
		return false, err
	}
	if newSecret {
		c.Secret = oauth.NewSecret(secret)
	}
	given(data, fieldAuthMethod, &c.AuthMethod)
	given(data, fieldTokenURL, &c.TokenURL)
	given(data, fieldAuthorizeURL, &c.AuthorizeURL)
	given(data, fieldRevokeURL, &c.RevokeURL)
	given(data, fieldRedirectURIs, &c.RedirectURIs)
	given(data, fieldScopes, &c.Scopes)
	given(data, fieldIssuer, &c.Issuer)
	if given(data, fieldCACert, &c.CACert) {
		c.CACert = strings.TrimLeft(c.CACert, byteOrderMark)
	}
	return newSecret, nil
}

func (b *backend) deleteClient(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(fieldName).(string)
	if err := b.clients.delete(ctx, name); err != nil {
		return nil, err
	}
	b.accounts.ClientWritten(name)
	b.Logger().Info("client deleted", "client", name)
	return nil, nil
}
