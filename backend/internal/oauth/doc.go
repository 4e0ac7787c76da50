// Package oauth is the OAuth 2.0 client of the plugin (RFC 6749), reduced to
// what refresh tokens and codes that work once need: one request to the token
// endpoint, sent at most once, and an honest account of what became of it. The
// revocation endpoint (RFC 7009) is called in the same way; of the
// authorization endpoint there is the URL that a browser is sent to.
//
// The data flow of one exchange:
//
//	Client, grant -> request -> one POST -> evidence + answer -> Result
//
// A Result has one of four outcomes. [Succeeded]: the server's answer carries
// the tokens. [NotSent]: no connection was ever had, so the refresh token is
// untouched. [Rejected]: the server refused with a complete 4xx answer.
// [InDoubt]: everything else; the refresh token may or may not be spent. The
// difference between NotSent and InDoubt comes from net/http/httptrace, never
// from the text of an error.
//
// Nothing here retries, follows a redirect, keeps a connection or reads
// Vault's storage, and no text of a server's gets into a Result or an error but
// the error codes that [RegisteredCode] knows. There are no locks and no state. The
// package uses the standard library only. All of it is safe for concurrent use.
package oauth
