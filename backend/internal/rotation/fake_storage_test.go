package rotation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// memory is a Storage in memory. fault, where set, is asked before each
// operation.
type memory struct {
	mu      sync.Mutex
	entries map[string][]byte
	calls   map[string]int // by verb
	fault   func(verb, key string) fault
}

// fault is what goes wrong with a storage operation.
type fault struct {
	delay time.Duration
	err   error
	// late means that the operation took effect all the same.
	late bool
	// deaf means that the operation goes on although its context has ended.
	deaf bool
}

var errDisk = errors.New("disk on fire")

func newMemory() *memory { return &memory{entries: map[string][]byte{}, calls: map[string]int{}} }

func (m *memory) do(ctx context.Context, verb, key string, effect func()) error {
	m.mu.Lock()
	m.calls[verb]++
	ask := m.fault
	m.mu.Unlock()
	var f fault
	if ask != nil {
		f = ask(verb, key)
	}
	switch {
	case f.deaf:
		<-time.After(f.delay)
	case f.delay > 0:
		select {
		case <-time.After(f.delay):
		case <-ctx.Done():
			if f.err == nil {
				f.err = ctx.Err()
			}
		}
	}
	if f.err == nil || f.late {
		m.mu.Lock()
		effect()
		m.mu.Unlock()
	}
	return f.err
}

func (m *memory) Get(ctx context.Context, key string) (value []byte, err error) {
	err = m.do(ctx, "get", key, func() { value = m.entries[key] })
	if err != nil {
		return nil, err
	}
	return value, nil
}

func (m *memory) Put(ctx context.Context, key string, value []byte) error {
	return m.do(ctx, "put", key, func() { m.entries[key] = slices.Clone(value) })
}

func (m *memory) Delete(ctx context.Context, key string) error {
	return m.do(ctx, "delete", key, func() { delete(m.entries, key) })
}

func (m *memory) List(ctx context.Context, prefix string) (names []string, err error) {
	err = m.do(ctx, "list", prefix, func() {
		for key := range m.entries {
			if name, below := strings.CutPrefix(key, prefix); below {
				names = append(names, name)
			}
		}
	})
	slices.Sort(names)
	return names, err
}

func (m *memory) count(verb string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[verb]
}

// failing makes all operations of some verbs fail until mended.
func (m *memory) failing(err error, verbs ...string) {
	m.setFault(func(verb, _ string) fault {
		if slices.Contains(verbs, verb) {
			return fault{err: err}
		}
		return fault{}
	})
}

// faulty gives all operations of one verb the same fault until mended.
func (m *memory) faulty(verb string, f fault) {
	m.setFault(func(v, _ string) fault {
		if v == verb {
			return f
		}
		return fault{}
	})
}

func (m *memory) setFault(f func(verb, key string) fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}
