package oauth

import "time"

// Outcome tells what became of a request.
type Outcome int

// The outcomes. The zero Outcome is InDoubt: what nothing is known of is in
// doubt.
const (
	// InDoubt means that the request may have reached the server and that its
	// outcome is not known: a time-out or a reset after the connection stood, a
	// cut or unreadable 2xx answer, a redirect, a 4xx without an OAuth error
	// code, a 5xx.
	InDoubt Outcome = iota
	// NotSent means that no connection was ever had; the refresh token is
	// untouched.
	NotSent
	// Rejected means that the server refused with a complete 4xx answer that
	// carries an OAuth error code, or with 429.
	Rejected
	// Succeeded means that a 2xx answer carries a new refresh token, or is
	// complete and carries a usable access token.
	Succeeded
)

// String returns the outcome in words, for logs.
func (o Outcome) String() string {
	switch o {
	case NotSent:
		return "not sent"
	case Rejected:
		return "rejected"
	case Succeeded:
		return "succeeded"
	default:
		return "in doubt"
	}
}

// ErrorCode is one of the error codes that OAuth registers, or "" for none. A
// code that is not registered becomes [CodeOther], so that no text of a server
// gets further than here.
type ErrorCode string

// The codes of RFC 6749, sections 4.1.2.1 and 5.2, those of OpenID Connect Core,
// section 3.1.2.6, that a user can meet, slow_down of RFC 8628, section 3.5, which
// servers use at the token endpoint, too, and CodeOther.
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

// RegisteredCode returns the code that a server sent, [CodeOther] where it is
// none of those above, and "" for "".
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

// Tokens is what a token endpoint granted (RFC 6749, section 5.1).
type Tokens struct {
	// RefreshToken is the next refresh token. Unset means that the server
	// issued none, and that the one presented stays in force (section 6).
	RefreshToken Secret
	// AccessToken is unset where the answer held none that can be used.
	AccessToken Secret
	// ExpiresIn is the access token's lifetime, counted from [Result.SentAt];
	// at least 1 s, at most [MaxExpiresIn].
	ExpiresIn time.Duration
	// Scope is as issued, often "".
	Scope string
	// Claims is Pagero's extra member; HasClaims tells whether it was there.
	Claims    string
	HasClaims bool
}

// Result is what became of one request. Beside the tokens it holds no text of the
// server's.
type Result struct {
	Outcome    Outcome
	Tokens     Tokens        // where Succeeded
	Code       ErrorCode     // where Rejected; "" for a 429 without a code
	Status     int           // the HTTP status, 0 where there was none
	Reason     string        // a fixed phrase for people: what went wrong; "" where Succeeded
	RetryAfter time.Duration // the server's Retry-After, 0 where it sent none
	// SentAt is the moment before the request was sent. A token's life is
	// counted from it, so that a slow answer never makes a token look younger
	// than it is.
	SentAt time.Time
	// AnsweredAt is the moment at which the outcome was known.
	AnsweredAt time.Time
}
