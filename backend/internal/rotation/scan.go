package rotation

import (
	"errors"
	"slices"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

const (
	// scanMinutes is in how many minutes the scan reads all accounts, and scanLeast how
	// many accounts it reads in a minute at least.
	scanMinutes = 30
	scanLeast   = 200
	// scanRate is how many accounts a second a scan of all at once reads.
	scanRate = 1000
	// runningKey is where the plugin marks that it runs. If the mark is there at the start,
	// the process before has ended without Close, perhaps during exchanges.
	runningKey = "running"
)

// scan is how far the scan of all accounts has come. The zero value has not begun.
type scan struct {
	begun bool
	all   bool     // all accounts are read at once
	left  []string // names that are not read yet
	share int      // how many are read in a minute
}

// finished reports whether all accounts have been read.
func (s *scan) finished() bool { return s.begun && len(s.left) == 0 }

// scanShare reads its share of the accounts that the index does not know yet: all that
// are refreshed in the background first, and at once.
func (b *background) scanShare() error {
	b.mu.Lock()
	s, generation := b.scan, b.generation
	b.mu.Unlock()
	share := s.share
	if !s.begun {
		first, err := b.m.store.list(b.m.open(), autoPrefix)
		if err != nil {
			return err
		}
		all, err := b.m.store.list(b.m.open(), StoragePrefix)
		if err != nil {
			return err
		}
		s = scan{begun: true, all: b.unclean, left: append(first, all...), share: max(scanLeast, (len(all)+scanMinutes-1)/scanMinutes)}
		share = s.share + len(first)
	}
	if s.all {
		share = len(s.left)
	}
	share = min(len(s.left), share)
	left := s.left[share:]
	var failed error
	for i, name := range s.left[:share] {
		if s.all && b.scanning.Wait(b.m.open()) != nil {
			return b.m.open().Err()
		}
		if failed = b.scanOne(name, generation); failed != nil {
			left = append(slices.Clone(s.left[i+1:]), name) // the others come first
			break
		}
	}
	s.left = left
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.generation == generation {
		b.scan = s
		b.complete = b.complete || s.finished()
		b.unclean = b.unclean && !s.finished()
	}
	return failed
}

// scanOne reads an account for the index and keeps nothing else of it.
func (b *background) scanOne(name string, generation int) error {
	if err := b.m.open().Err(); err != nil {
		return err
	}
	for !b.m.index.knows(name, generation) {
		epoch := b.m.cache.epoch.Load()
		a, err := b.m.peek(name)
		var e *account.Error
		if errors.As(err, &e) && e.Unreadable {
			b.m.opts.Logger.Warn("an account could not be scanned", "error", e)
			b.m.index.set(name, unreadable(name, e, generation, b.m.opts.Now()), account.Task{})
			return nil
		}
		if err != nil || a == nil {
			return err
		}
		s, next := b.summarize(name, a)
		b.m.index.setUnknown(name, s, next, func() bool { return b.m.cache.epoch.Load() == epoch })
	}
	return nil
}

// scanComplete reports whether all accounts have been read since the start. A later
// scan, after a change of the settings, does not make it false: nothing is forgotten.
func (b *background) scanComplete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.complete
}

// unreadable is what the index has to know of an account whose entry cannot be read.
func unreadable(name string, e *account.Error, settings int, now time.Time) summary {
	return summary{
		state: account.StateFailing, spare: account.SpareNone, settings: settings,
		attention: &account.Problem{Account: name, State: account.StateFailing, Since: now, Error: e.Text, Remedy: "see the error"},
	}
}

// markRunning marks that the plugin runs, once, and notes whether the process before has
// ended without Close. Then an account may be in doubt, and the scan reads all at once:
// a server with a grace period answers the same token again for some seconds only.
func (b *background) markRunning() error {
	b.mu.Lock()
	marked := b.marked
	b.mu.Unlock()
	if marked {
		return nil
	}
	unclean, err := b.m.store.markRunning(b.m.open())
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.marked, b.unclean = true, unclean
	return nil
}

// unmarkRunning removes the mark, because nothing is in progress any more.
func (b *background) unmarkRunning() {
	b.mu.Lock()
	marked := b.marked
	b.mu.Unlock()
	if marked {
		_ = b.m.store.unmarkRunning(b.m.ctx) // the next start reads all accounts at once then
	}
}
