package crashfixture

import (
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// ProcessEnd is the end of a process that may have been waiting for an answer.
type ProcessEnd struct {
	What          string        // completes "a kill …" in the log of lost answers
	before, after time.Time     // the process ended between these two
	Began         time.Time     // the earliest start of the interrupted exchanges; zero if it is not known
	takenOver     time.Time     // when another process had taken over; zero if it is not known
	Orderly       bool          // the process had time to save its tokens, so its end excuses no loss
	Frozen        *harness.Node // the node, if it was frozen instead of killed
}

// RecordEnd calls stop, which ends a process, and records the time. An answer that was in transit may be lost then.
func (f *Fixture) RecordEnd(end ProcessEnd, stop func() error) error {
	end.before = time.Now()
	err := stop()
	end.after = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends = append(f.ends, end)
	return err
}

// RecordTakeover records that another process has taken over from the one that ended last.
func (f *Fixture) RecordTakeover() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends[len(f.ends)-1].takenOver = time.Now()
}
