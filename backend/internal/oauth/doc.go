// Package oauth is the plugin's OAuth 2.0 client (RFC 6749). It does what refresh
// tokens and codes that work once need: it sends one request to the token
// endpoint, at most once, and says honestly what is known about it. It calls the
// revocation endpoint (RFC 7009) in the same way, and builds the URL of the
// authorization endpoint to which a browser is sent.
//
// The data flow of one exchange:
//
//	Client, grant -> request -> one POST -> trail + answer -> Result
//
// A Result has one of six outcomes. [NotSent] comes from the trail of the
// connection, as net/http/httptrace shows it, never from the text of an error.
// The others come from the answer, by the table at the function classify.
//
// Nothing here retries, follows a redirect, keeps a connection or reads Vault's
// storage. No text from a server gets into a Result or an error, except the error
// codes that [RegisteredCode] knows and what a field of [Result] says. The package
// uses the standard library only. All of it is safe for concurrent use.
package oauth
