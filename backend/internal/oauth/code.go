package oauth

// ErrorCode is one of the error codes that OAuth registers, or "" for none. A
// code that is not registered becomes [CodeOther], so that no text from a server
// gets further than this package.
type ErrorCode string

// The codes of RFC 6749, sections 4.1.2.1 and 5.2; the codes of OpenID Connect
// Core, section 3.1.2.6, that a user can meet; slow_down of RFC 8628, section 3.5,
// which servers use at the token endpoint, too; and CodeOther.
const (
	CodeInvalidRequest          ErrorCode = "invalid_request"
	CodeInvalidClient           ErrorCode = "invalid_client"
	CodeInvalidGrant            ErrorCode = "invalid_grant"
	CodeUnauthorizedClient      ErrorCode = "unauthorized_client"
	CodeUnsupportedGrantType    ErrorCode = "unsupported_grant_type"
	CodeUnsupportedResponseType ErrorCode = "unsupported_response_type"
	CodeLoginRequired           ErrorCode = "login_required"
	CodeConsentRequired         ErrorCode = "consent_required"
	CodeInteractionRequired     ErrorCode = "interaction_required"
	CodeInvalidScope            ErrorCode = "invalid_scope"
	CodeAccessDenied            ErrorCode = "access_denied"
	CodeServerError             ErrorCode = "server_error"
	CodeTemporarilyUnavailable  ErrorCode = "temporarily_unavailable"
	CodeSlowDown                ErrorCode = "slow_down"
	CodeOther                   ErrorCode = "unregistered_error_code"
)

// RegisteredCode returns the code that a server sent, [CodeOther] if it is none
// of those above, and "" for "".
func RegisteredCode(text string) ErrorCode {
	switch code := ErrorCode(text); code {
	case "", CodeInvalidRequest, CodeInvalidClient, CodeInvalidGrant, CodeUnauthorizedClient, CodeUnsupportedGrantType,
		CodeUnsupportedResponseType, CodeLoginRequired, CodeConsentRequired, CodeInteractionRequired,
		CodeInvalidScope, CodeAccessDenied, CodeServerError, CodeTemporarilyUnavailable, CodeSlowDown:
		return code
	default:
		return CodeOther
	}
}

// registered reports whether there is a code, and OAuth registers it.
func (c ErrorCode) registered() bool { return c != "" && c != CodeOther }
