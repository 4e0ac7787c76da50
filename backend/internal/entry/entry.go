// Package entry reads and writes the JSON entries that the plugin keeps in
// Vault's storage. Each entry carries the version of its form. An entry of a
// newer version is refused, so that an older plugin never drops fields that it
// does not know; the caller leaves it in the storage as it is.
//
// A stored form is a struct of its own, apart from the type that the code works
// with, and embeds [Header]:
//
//	type storedClient struct {
//		entry.Header
//		ID string `json:"client_id"`
//	}
//
// The JSON names of a released version never change. A new field needs a new
// version, unless an older plugin may drop it without harm.
package entry

import (
	"encoding/json"
	"fmt"
)

// Header is the part that all stored forms share. Embed it.
type Header struct {
	Version int `json:"version"`
}

func (h *Header) header() *Header { return h }

// Form is a pointer to a stored form: a struct that embeds [Header].
type Form interface{ header() *Header }

// Encode returns the entry of a form, marked with a version. Its only errors are
// those of json.Marshal, which a form of plain fields cannot cause unless a time
// lies outside of the years 0 to 9999.
func Encode(version int, form Form) ([]byte, error) {
	form.header().Version = version
	return json.Marshal(form)
}

// Decode reads an entry into form. newest is the newest version that the caller
// can read; the caller converts older ones. The error is an *[UnreadableError]
// and holds nothing of the entry.
func Decode(value []byte, newest int, form Form) error {
	if err := json.Unmarshal(value, form); err != nil {
		return &UnreadableError{Newest: newest}
	}
	if v := form.header().Version; v < 1 || v > newest {
		return &UnreadableError{Version: max(v, 0), Newest: newest}
	}
	return nil
}

// UnreadableError reports an entry that exists but that this version of the
// plugin cannot read. Trying again does not help.
type UnreadableError struct {
	Version int // the entry's version; 0 if the entry is damaged
	Newest  int // the newest version that this plugin reads
}

// Error says what is wrong with the entry. The caller adds which entry it is, and
// the remedy; see Newer.
func (e *UnreadableError) Error() string {
	if e.Newer() {
		return fmt.Sprintf("has version %d, and this plugin reads up to %d; it was left as it is", e.Version, e.Newest)
	}
	return "is not readable; it was left as it is"
}

// Newer reports whether a newer plugin wrote the entry, so that registering that
// plugin again is the remedy. Otherwise the entry is damaged.
func (e *UnreadableError) Newer() bool { return e.Version > e.Newest }
