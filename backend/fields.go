package backend

import (
	"time"

	"github.com/hashicorp/vault/sdk/framework"
)

// Field names, as in RFC 6749, RFC 8414 and Vault's own engines.
const (
	// Of several paths.
	fieldName         = "name"
	fieldClient       = "client"
	fieldAccount      = "account"
	fieldState        = "state"
	fieldSpare        = "spare"
	fieldMinTTL       = "min_ttl"
	fieldRefreshToken = "refresh_token"
	fieldExpireTime   = "expire_time"
	fieldScope        = "scope"
	fieldTTL          = "ttl"
	fieldError        = "error"

	// Of clients.
	fieldClientID        = "client_id"
	fieldClientSecret    = "client_secret"
	fieldClientSecretSet = "client_secret_set"
	fieldAuthMethod      = "auth_method"
	fieldTokenURL        = "token_url"
	fieldAuthorizeURL    = "authorize_url"
	fieldRevokeURL       = "revoke_url"
	fieldRedirectURIs    = "redirect_uris"
	fieldScopes          = "scopes"
	fieldCACert          = "ca_cert"
	fieldIssuer          = "issuer"

	// Of the config.
	fieldAllowedHosts          = "allowed_hosts"
	fieldExchangeTimeout       = "exchange_timeout"
	fieldKeepaliveInterval     = "keepalive_interval"
	fieldAuthorizationLifetime = "authorization_lifetime"
	fieldMaxExchanges          = "max_exchanges"
	fieldBackgroundRate        = "background_rate"

	// Of accounts.
	fieldSpareRefreshToken       = "spare_refresh_token"
	fieldRefreshOnRead           = "refresh_on_read"
	fieldAutoRefresh             = "auto_refresh"
	fieldUsername                = "username"
	fieldPassword                = "password"
	fieldKeepPassword            = "keep_password"
	fieldRevoke                  = "revoke"
	fieldRefreshCount            = "refresh_count"
	fieldAuthorizedTime          = "authorized_time"
	fieldAuthorizationExpireTime = "authorization_expire_time"
	fieldLastRefreshTime         = "last_refresh_time"
	fieldAccessTokenExpireTime   = "access_token_expire_time"
	fieldLastError               = "last_error"
	fieldLastErrorTime           = "last_error_time"
	fieldNextAttemptTime         = "next_attempt_time"

	// Of tokens.
	fieldAccessToken       = "access_token"
	fieldTokenType         = "token_type"
	fieldRotationPeriod    = "rotation_period"
	fieldLastVaultRotation = "last_vault_rotation"
	fieldClaims            = "claims"

	// Of logins.
	fieldRedirectURI      = "redirect_uri"
	fieldPrompt           = "prompt"
	fieldResponseMode     = "response_mode"
	fieldCode             = "code"
	fieldIss              = "iss"
	fieldAuthorizationURL = "authorization_url"

	// Of the status.
	fieldVersion    = "version"
	fieldComplete   = "complete"
	fieldAccounts   = "accounts"
	fieldStates     = "states"
	fieldSpares     = "spares"
	fieldUnsaved    = "unsaved"
	fieldAttention  = "attention"
	fieldEnding     = "ending"
	fieldClients    = "clients"
	fieldClockSkew  = "clock_skew"
	fieldBackground = "background"

	// Of lists.
	fieldAfter = "after"
	fieldLimit = "limit"
)

// nameField returns the schema of the name in a path.
func nameField(what string) *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeString,
		Description:  "Name of the " + what + ".",
		Required:     true,
		DisplayAttrs: &framework.DisplayAttributes{Name: "Name", Identifier: true},
	}
}

// listFields returns the parameters of every list.
func listFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAfter: {
			Type: framework.TypeString, Query: true,
			Description:  "Only names that sort after this one. Use the last name of a list with a limit to get the next names.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "After"},
		},
		fieldLimit: {
			Type: framework.TypeInt, Query: true,
			Description:  "The maximum number of names. 0, the default, is all.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Limit"},
		},
	}
}

// keysField returns the response of every list.
func keysField() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"keys": {Type: framework.TypeStringSlice, Required: true, Description: "The names, in order."},
	}
}

// fieldValue is a type that given decodes a field into. A pointer stays nil if the
// field is not given.
type fieldValue interface {
	string | bool | int | []string | time.Duration | *string | *bool | *time.Duration
}

// given decodes a field into *to if the request has the field, and reports whether it
// has. The type must be that of the field in the schema; TypeDurationSecond becomes a
// time.Duration.
func given[T fieldValue](data *framework.FieldData, field string, to *T) bool {
	if _, ok := data.Raw[field]; !ok {
		return false
	}
	switch to := any(to).(type) {
	case **string:
		return given(data, field, allocate(to))
	case **bool:
		return given(data, field, allocate(to))
	case **time.Duration:
		return given(data, field, allocate(to))
	case *time.Duration:
		*to = time.Duration(data.Get(field).(int)) * time.Second
	case *T:
		*to = data.Get(field).(T)
	}
	return true
}

func allocate[T any](to **T) *T {
	*to = new(T)
	return *to
}

// formatTime returns a time as the API shows it: RFC 3339, UTC.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// seconds returns a duration as the API shows it and as it is stored.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
