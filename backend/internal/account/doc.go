// Package account is the heart of the plugin: what an account is, when its
// refresh token is exchanged, and what is written to storage before and after,
// so that a refresh token that works once is never lost and never presented
// twice.
//
// The data flow of a read:
//
//	name, Ask -> Manager.Token -> Account (cached) -> Decide -> answer
//	                                            |
//	                                            v where a refresh is due
//	flight: lock -> read again -> Decide -> intent Put -> POST -> settle -> Put -> answer
//
// The parts, each in its file: the account and its states (account.go), the
// pure transitions between them (transitions.go), the pure policy
// (policy.go), the stored form (stored.go), the store (store.go), the slots
// that hold what memory knows of an account (slot.go), the flights that run
// exchanges (flight.go), what comes before and around one POST (post.go), the
// logins that begin grants (login.go), and the Manager that ties them together.
//
// What the plugin does by itself is in three files: what is due when, which is
// pure (chore.go), what memory knows of all accounts (census.go), and who does what
// is due (tend.go). An exchange of a spare is in keepalive.go.
//
// # Locks
//
// Each account has one lock. Every mutator holds it, for all of its work:
// an exchange from the second read to the saved answer, a write, a delete. A
// read takes none: it loads an immutable Account through an atomic pointer.
// slot.mu guards a slot's fields for a few instructions; it is taken inside
// the account's lock or without it. Within it come tender.mu, Manager.mu and, the
// innermost, census.mu, each for a few instructions. Two accounts' locks are never
// held together.
//
// # Time
//
// Pure functions are given the time. Goroutines use package time, which tests
// replace as a whole with testing/synctest.
package account
