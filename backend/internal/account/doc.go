// Package account is the pure core of the plugin. It says what an account is, how
// the outcome of an exchange changes it, whether a read may have its access token
// or needs an exchange first, and what the plugin has to do next. All of it is
// plain data and functions: no clock, no randomness, no locks, no storage and no
// network. Package rotation acts on it.
//
// The files: account.go (the account, its grants and its states), grants.go (the
// order in which grants are used), transitions.go (what an outcome changes),
// failure.go (failures and the waits after them), policy.go (what to do for a
// reader), schedule.go (what to do next in the background), change.go (what a
// write asks for), login.go (what a login changes), attention.go (which accounts
// need a person), errors.go (errors about one account) and stored.go (the entry in
// the storage).
//
// # Grants
//
// An account has a list of grants. The first living one is in use, and the others
// wait. If the grant in use dies, or is refused twice while another is ready, the
// next exchange uses the next grant. When that succeeds, the grant moves to the
// front of the list.
//
// # Transitions
//
// An [Account] is immutable once it is shared. A transition has a value receiver
// and returns a changed copy, in which it replaces what pointers and slices point
// to.
//
// # Time
//
// Functions are given the time: the wall clock in UTC. Stored times may come from
// another machine, whose clock may be wrong. So no stored time counts for longer
// than the longest wait of its kind, and an access token that was issued in the
// future counts as expired.
package account
