package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// verb is one of the things that can be done to a storage.
type verb string

const (
	get    verb = "Get"
	put    verb = "Put"
	remove verb = "Delete"
	list   verb = "List"
)

var (
	errStorage = errors.New("simulated storage failure")
	// errReadOnlyText is logical.ErrReadOnly as it arrives over gRPC: its text
	// and nothing else.
	errReadOnlyText = errors.New(logical.ErrReadOnly.Error())
)

// fault makes one verb fail.
type fault struct {
	verb  verb
	key   string // prefix of the keys that it hits; "" for all
	err   error  // nil for errStorage
	after bool   // the operation takes effect, and then it fails
	skip  int    // the number of operations that succeed before
	panic bool   // it does not fail, it panics
}

func (f fault) String() string {
	when := "before"
	if f.after {
		when = "after"
	}
	return fmt.Sprintf("%s %s fails %s it takes effect", f.verb, f.key, when)
}

// faultyStorage is a storage in memory with switches that make one verb fail,
// and counters. Like Vault's, it refuses to work for a context that has ended.
type faultyStorage struct {
	logical.InmemStorage
	mu     sync.Mutex
	faults []fault
	counts map[verb]int
}

var _ logical.Storage = (*faultyStorage)(nil)

func (s *faultyStorage) fail(faults ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

func (s *faultyStorage) heal() { s.fail() }

// snapshot returns a storage with the same entries, and without faults.
func (s *faultyStorage) snapshot(t *testing.T) *faultyStorage {
	t.Helper()
	keys, err := logical.CollectKeys(t.Context(), &s.InmemStorage)
	if err != nil {
		t.Fatal(err)
	}
	copied := &faultyStorage{}
	for _, key := range keys {
		entry, err := s.InmemStorage.Get(t.Context(), key)
		if err == nil {
			err = copied.InmemStorage.Put(t.Context(), entry)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// count returns how many operations there were.
func (s *faultyStorage) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for _, n := range s.counts {
		sum += n
	}
	return sum
}

func (s *faultyStorage) run(ctx context.Context, v verb, key string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	failure := s.begin(v, key)
	if failure != nil && failure.panic {
		panic("simulated panic")
	}
	if failure != nil && !failure.after {
		return failure.err
	}
	if err := do(); err != nil {
		return err
	}
	if failure != nil {
		return failure.err
	}
	return nil
}

func (s *faultyStorage) begin(v verb, key string) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[verb]int{}
	}
	s.counts[v]++
	for i := range s.faults {
		f := &s.faults[i]
		if f.verb != v || !strings.HasPrefix(key, f.key) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		hit := *f
		if hit.err == nil {
			hit.err = errStorage
		}
		return &hit
	}
	return nil
}

func (s *faultyStorage) Get(ctx context.Context, key string) (entry *logical.StorageEntry, err error) {
	err = s.run(ctx, get, key, func() (err error) {
		entry, err = s.InmemStorage.Get(ctx, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return entry, nil
}

func (s *faultyStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return s.run(ctx, put, entry.Key, func() error { return s.InmemStorage.Put(ctx, entry) })
}

func (s *faultyStorage) Delete(ctx context.Context, key string) error {
	return s.run(ctx, remove, key, func() error { return s.InmemStorage.Delete(ctx, key) })
}

func (s *faultyStorage) List(ctx context.Context, prefix string) (names []string, err error) {
	err = s.run(ctx, list, prefix, func() (err error) {
		names, err = s.InmemStorage.List(ctx, prefix)
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// entryOf is an entry of the storage.
func entryOf(key, value string) *logical.StorageEntry {
	return &logical.StorageEntry{Key: key, Value: []byte(value)}
}
