// Package sandbox is a local stand-in for Pagero Online's authorization server
// and API, for demonstrations and tests.
//
// It speaks OAuth 2.0 (RFC 6749) over TLS on a loopback address: the refresh
// token, authorization code (with PKCE, RFC 7636) and password grants, token
// revocation (RFC 7009), and one protected API path that checks the access
// tokens. ory/fosite implements the protocol. This package adds what Pagero does
// and the library does not: refresh tokens that work exactly once, and answers in
// Pagero's form. For tests it adds a record of all requests, faults on demand, and
// modes in which it behaves as other authorization servers do.
//
// Everything is in memory and is lost when the server is closed. The users,
// clients and secrets are fixtures; nothing in here protects anything real.
package sandbox
