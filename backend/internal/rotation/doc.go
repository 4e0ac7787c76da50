// Package rotation acts on accounts: it answers reads, runs exchanges and logins,
// writes and deletes accounts, and does the background work. It keeps the promise
// that a refresh token, which works once, is never lost and never presented after
// its successor arrived. What to do, and what an outcome means, package account
// decides.
//
// The data flow of a read:
//
//	name, ReadRequest -> Manager.Cached, Shared, Token -> account (cached) -> Decide -> Answer
//	                                                          |
//	                                                          v if a refresh is due
//	exchange: lock -> load again -> Decide -> intent Put -> POST -> Settle -> Put -> Answer
//
// The files: manager.go (what a Manager needs, and its end), cache.go (what memory
// holds of one account), locked.go (the handle of an account's lock, and the one
// way to commit), store.go (the storage), read.go, exchange.go and request.go
// (reads, the exchanges that they wait for, and one POST), gate.go and gates.go (what
// may be in progress with one token endpoint), skew.go (the server's clock), write.go,
// login.go and delete.go (what people do), background.go and scan.go (what the plugin
// does by itself), index.go (what memory knows of all accounts, and which is due next),
// event.go and errors.go.
//
// # Locks
//
// Each account has one lock. Whoever changes the account holds it for all of the
// work, the calls to storage and server included: an exchange from the second load
// to the saved outcome, a login, a write, a delete, a rescue until the Put holds.
// [Manager.lock] returns a handle, *lockedAccount, which has the methods that only
// the holder may call. The locks of two accounts are never held together.
//
// A read that memory answers takes no lock: it loads an immutable account through
// an atomic pointer.
//
// All other locks are mutexes, held for a few instructions and never over a call to
// what the Manager was given. Nested, they are taken in this order:
//
//	account's lock -> entry.mu -> background.mu -> Manager.mu -> accountIndex.mu
//	account's lock -> gates.mu -> gate.mu -> the mu of a runner.Group
//
// What the Manager was given (the fields of [Options]) is called with an account's
// lock held, or with no lock. It may take locks of its own, and must not call the
// Manager.
//
// # Goroutines
//
// All exported methods may be called from any goroutine. An exchange, a login and a
// write run on goroutines or contexts of their own: the end of a caller's context
// ends its waiting and nothing else. A panic on one of the package's goroutines does
// not end the process. Close waits for all work that has begun.
//
// # Time
//
// Waits use the monotonic clock of package time, which tests replace as a whole with
// testing/synctest. Times that are stored, or compared with stored ones, come from
// Options.Now, the wall clock, which may step and may differ between machines.
package rotation
