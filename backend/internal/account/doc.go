// Package account is the heart of the plugin: what an account is, when its
// refresh token is exchanged, and what is written to storage before and after,
// so that a refresh token that works once is never lost and never presented
// twice.
//
// The data flow of a read:
//
//	name, Ask -> Manager.Cached, Shared, Token -> Account (cached) -> Decide -> Answer
//	                                                  |
//	                                                  v where a refresh is due
//	flight: lock -> read again -> Decide -> intent Put -> POST -> settle -> Put -> Answer
//
// What is pure, each part in its file: the account and its states (account.go), the
// transitions between them (transitions.go, spare.go), the policy (policy.go), what a
// write asks for (enrol.go), what is due when (chore.go), the errors (errors.go), and
// the stored form (stored.go).
//
// What acts: the Manager that ties all together (manager.go), reads (read.go), the
// flights that run exchanges (flight.go), what comes before and around one POST
// (post.go), what becomes of new tokens that the storage refuses (rescue.go), the
// exchanges of spares (spare.go), logins (login.go), deletes (delete.go), and what
// the plugin does by itself (tend.go).
//
// What remembers: the store (store.go), the slots that hold what memory knows of one
// account (slot.go), and the census of all accounts (census.go).
//
// # Locks
//
// Each account has one lock, slot.lock. Every mutator holds it for all of its work,
// the calls to storage and server included: an exchange from the second read to the
// saved answer, a login, a write, a delete, a rescue until it holds. Its holder alone
// touches slot.ahead and calls the Manager's methods that take a *slot; fly, which
// takes the lock, is the exception. Two accounts' locks are never held together.
//
// A read that memory answers takes no lock: it loads an immutable Account through an
// atomic pointer.
//
// All other locks are mutexes, held for a few instructions and never over a call to
// what the Manager was given. Where one is taken within another, it is in this
// order:
//
//	slot.lock -> slot.mu -> tender.mu -> Manager.mu -> census.mu
//
// What the Manager was given is called with slot.lock held, or with no lock: Storage,
// Clients, Exchanger, Settings, Writable, Observe, Notify, and the functions that a
// Login, an Update and a Delete come with. They may take locks of their own, and must
// not call the Manager for an account.
//
// # Goroutines
//
// All exported methods may be called from any goroutine. A request's own reads and
// waits; Update and Delete work on it, too. A flight has a goroutine of its own, which
// may ask Vault for two things at once on two more, and so has a login: no caller's
// context reaches them. Tend starts one that surveys and one that looks for what is due; that one
// starts up to maxChores more, which join flights as readers do. A panic on one of the
// package's own goroutines does not end the process. Flights, logins, deletes and the
// background work are counted by enter, so that Close waits for them.
//
// # Time
//
// Pure functions are given the time. Goroutines use package time, which tests
// replace as a whole with testing/synctest.
package account
