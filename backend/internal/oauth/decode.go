package oauth

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"io"
	"unicode/utf16"
)

// maxCodings bounds how many codings are undone one after the other, such as
// "Content-Encoding: deflate, gzip".
const maxCodings = 3

// decode undoes one coding that proxies and servers put on a body although the
// request asks for identity: gzip (RFC 1952), deflate with and without the zlib
// header (RFC 1950, RFC 1951), and UTF-16. It goes by the bytes alone, because
// Content-Encoding is missing or wrong as often as not. It returns what could be
// decoded before an error, at most maxAnswerBytes; nothing if the body has none of
// these codings.
func decode(body []byte) []byte {
	switch {
	case len(body) < 2:
		return nil
	case body[0] == 0x1f && body[1] == 0x8b:
		if r, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			return readable(r)
		}
		return nil
	case isUTF16(body, binary.BigEndian):
		return decodeUTF16(body, binary.BigEndian)
	case isUTF16(body, binary.LittleEndian):
		return decodeUTF16(body, binary.LittleEndian)
	}
	if r, err := zlib.NewReader(bytes.NewReader(body)); err == nil {
		if text := readable(r); len(text) > 0 {
			return text
		}
	}
	return readable(flate.NewReader(bytes.NewReader(body)))
}

// readable reads up to maxAnswerBytes, or up to the first error.
func readable(r io.Reader) []byte {
	text, _ := io.ReadAll(io.LimitReader(r, maxAnswerBytes))
	return text
}

// isUTF16 reports whether a body begins with a byte-order mark, or with a brace and
// another ASCII character, in this byte order.
func isUTF16(body []byte, order binary.ByteOrder) bool {
	first := order.Uint16(body)
	return first == 0xfeff || first == '{' && len(body) >= 4 && order.Uint16(body[2:]) < 0x80
}

// decodeUTF16 leaves out a byte-order mark.
func decodeUTF16(body []byte, order binary.ByteOrder) []byte {
	units := make([]uint16, 0, len(body)/2)
	for ; len(body) >= 2; body = body[2:] {
		units = append(units, order.Uint16(body))
	}
	if units[0] == 0xfeff {
		units = units[1:]
	}
	return []byte(string(utf16.Decode(units)))
}
