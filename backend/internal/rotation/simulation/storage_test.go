package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
)

var errStorage = errors.New("storage failed")

// storage is Vault's storage, the same for all processes.
type storage struct {
	entries map[string][]byte
	// down means that all writes fail.
	down bool
}

// storageFault is what becomes of one operation.
type storageFault int

const (
	goesWell storageFault = iota
	failsBefore
	failsAfter
	hangsBefore // longer than the caller waits
	hangsAfter
	crashBefore
	crashAfter
	storageFaults
)

// view is the storage as one process sees it. Only the active process writes:
// the storage refuses all others, as raft does.
type view struct{ *process }

// do runs one operation with what becomes of it.
func (v view) do(ctx context.Context, verb, key string, effect func()) error {
	w, name := v.world, strings.TrimPrefix(key, rotation.StoragePrefix)
	w.mu.Lock()
	if v.dead {
		w.mu.Unlock()
		w.end()
		return errStorage
	}
	stream := w.stream(verb + " " + name + " for " + whoAsks(ctx, v.process))
	f := goesWell
	if !w.calm && stream.IntN(100) < 8 {
		f = storageFault(stream.IntN(int(storageFaults)))
	}
	if w.storage.down && verb != "get" && verb != "list" {
		f = failsBefore
	}
	delay := time.Duration(1 + stream.Int64N(int64(20*time.Millisecond)))
	w.mu.Unlock()

	if f == hangsBefore || f == hangsAfter {
		delay += 30 * time.Second
	}
	timedOut := false
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		timedOut = true
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	writes := verb == "put" || verb == "delete"
	switch {
	case v.dead:
		w.mu.Unlock()
		w.end()
		w.mu.Lock()
		return errStorage
	case writes && w.active != v.process:
		return rotation.ErrReadOnly
	case f == crashBefore:
		w.die(v.process, "before a "+verb)
	case f == failsBefore || f == hangsBefore:
		w.log("%s: %s %s fails", v.id, verb, name)
		return errStorage
	}
	if !v.dead {
		effect()
	}
	switch {
	case f == crashAfter:
		w.die(v.process, "after a "+verb)
	case f == failsAfter || f == hangsAfter:
		w.log("%s: %s %s holds, but fails", v.id, verb, name)
		return errStorage
	case timedOut:
		return ctx.Err()
	}
	if v.dead {
		w.mu.Unlock()
		w.end()
		w.mu.Lock()
		return errStorage
	}
	return nil
}

func (v view) Get(ctx context.Context, key string) (value []byte, err error) {
	err = v.do(ctx, "get", key, func() { value = v.world.storage.entries[key] })
	if err != nil {
		return nil, err
	}
	return value, nil
}

func (v view) Put(ctx context.Context, key string, value []byte) error {
	return v.do(ctx, "put", key, func() {
		v.world.storage.entries[key] = slices.Clone(value)
		if strings.HasPrefix(key, rotation.StoragePrefix) {
			v.world.saved(value)
		}
	})
}

func (v view) Delete(ctx context.Context, key string) error {
	return v.do(ctx, "delete", key, func() {
		delete(v.world.storage.entries, key)
		delete(v.world.enrolled, strings.TrimPrefix(key, rotation.StoragePrefix))
	})
}

func (v view) List(ctx context.Context, prefix string) (names []string, err error) {
	err = v.do(ctx, "list", prefix, func() {
		for _, key := range slices.Sorted(maps.Keys(v.world.storage.entries)) {
			if name, below := strings.CutPrefix(key, prefix); below {
				names = append(names, name)
			}
		}
	})
	return names, err
}

// entry is what the simulation looks at in a stored account. It does not use the
// code under test to read it.
type entry struct {
	Grants []storedGrant `json:"grants"`
}

type storedGrant struct {
	RefreshToken string    `json:"refresh_token"`
	Death        *struct{} `json:"death"`
	Replaced     bool      `json:"replaced"`
}

// saved notes which tokens are in the storage now.
func (w *world) saved(value []byte) {
	var e entry
	if err := json.Unmarshal(value, &e); err != nil {
		w.violated("an entry that is not JSON was stored")
		return
	}
	for i, g := range e.Grants {
		t := w.server.tokens[g.RefreshToken]
		if t == nil && strings.HasPrefix(g.RefreshToken, "typo") {
			continue
		}
		if t == nil {
			w.violated("a refresh token that was never issued was stored")
			continue
		}
		if i > 0 {
			t.grant.freshOf = nil // another grant is in use: its access token was given up
		}
		t.durable = true
		t.buried = t.buried || g.Death != nil
		for _, p := range w.processes {
			delete(p.received, t.text)
		}
	}
}

func (w *world) stored(name string) (entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var e entry
	value, found := w.storage.entries[rotation.StoragePrefix+name]
	if found {
		_ = json.Unmarshal(value, &e)
	}
	return e, found
}
