//go:build race

package harness

// raceEnabled is true if this program was built with the race detector. It then builds plugins with it, too.
const raceEnabled = true
