//go:build !race

package harness

// raceEnabled is false if this program was built without the race detector. It then builds plugins without it, too.
const raceEnabled = false
