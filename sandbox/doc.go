// Package sandbox is a local stand-in for Pagero Online's authorization server
// and API, for demonstrations and tests.
//
// It speaks OAuth 2.0 (RFC 6749) over TLS on a loopback address: the refresh
// token, authorization code (with PKCE, RFC 7636) and password grants, token
// revocation (RFC 7009), and one protected API path that checks the access
// tokens. The protocol is ory/fosite's; what is added here is what Pagero does
// and a library does not: refresh tokens that work exactly once, answers in
// Pagero's form, a record of what was asked, and faults on demand.
//
// Everything is in memory and gone when the server is closed. The users,
// clients and secrets are fixtures; nothing in here protects anything real.
package sandbox
