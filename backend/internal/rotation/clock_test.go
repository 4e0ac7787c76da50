package rotation

import "time"

// clock is the wall clock of the tests.
func clock() time.Time { return time.Now().UTC().Round(0) }
