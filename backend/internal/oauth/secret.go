package oauth

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds a token or a password. Everything that prints it (fmt with any
// verb, encoding/json, slog, hclog) shows "[redacted]". Only [Secret.Reveal]
// returns the text. The text is behind a pointer, because fmt cannot call the
// methods of a Secret in an unexported field: it shows an address instead.
//
// The zero Secret is unset. A Secret is immutable; compare with
// [Secret.Equal], not ==.
type Secret struct {
	text *string
}

// NewSecret returns a Secret that holds text. An empty text gives the zero
// Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text, "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether the Secret holds a text.
func (s Secret) IsSet() bool { return s.text != nil }

// Equal compares the texts in a time that depends on their lengths only.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String implements [fmt.Stringer].
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return redacted
}

// Format implements [fmt.Formatter], for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements [encoding.TextMarshaler] and so covers encoding/json.
// Stored forms must call Reveal, so nothing leaks if they forget to.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
