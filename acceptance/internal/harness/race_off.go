//go:build !race

package harness

// raceEnabled says that this program was built with the race detector; the plugins then are too.
const raceEnabled = false
