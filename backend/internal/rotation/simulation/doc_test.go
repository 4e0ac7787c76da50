// Package simulation runs the real account code, not a model of it, against a
// simulated storage, a simulated authorization server and a simulated clock,
// with faults everywhere, and checks after each step that nothing is lost.
//
// A seed decides everything: which accounts there are, what readers, operators
// and the cluster do and when, and what becomes of each Put, Get and POST. Each
// of these can fail before or after it took effect, be delayed, or be the last
// thing that its process does. A seed that fails is printed and replays exactly:
//
//	go test ./backend/internal/rotation/simulation -run 'TestSimulation$' -seed 1234 -v
//
// The parts: world_test.go (the cluster, its processes and the clock),
// server_test.go (the authorization server), wire_test.go (the network on the way to
// it), storage_test.go (Vault's storage), driver_test.go (who does what when),
// invariants_test.go (what must hold), simulation_test.go (the tests),
// defects_test.go (the defects that it has to find, written for the package mutate).
//
// One lock, world.mu, guards all of the simulated world; clients has a lock of its own,
// which is taken within it or without it. No simulated time passes under either.
//
// Events are spread over the simulated time so that hardly any two happen at the
// same instant, and each goroutine has random numbers of its own: so goroutines
// cannot get in each other's way, and a seed means one history.
package simulation
