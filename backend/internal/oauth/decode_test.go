package oauth

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"
)

// codings put a coding on a body.
var codings = map[string]func([]byte) []byte{
	"gzip": func(b []byte) []byte {
		return compressed(b, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	},
	"zlib": func(b []byte) []byte {
		return compressed(b, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
	},
	"deflate":              func(b []byte) []byte { return compressed(b, newDeflate(flate.DefaultCompression)) },
	"stored":               func(b []byte) []byte { return compressed(b, newDeflate(flate.NoCompression)) },
	"utf-16le":             func(b []byte) []byte { return encodedUTF16(b, binary.LittleEndian, "") },
	"utf-16be":             func(b []byte) []byte { return encodedUTF16(b, binary.BigEndian, "") },
	"utf-16le with a mark": func(b []byte) []byte { return encodedUTF16(b, binary.LittleEndian, "\ufeff") },
	"utf-16be with a mark": func(b []byte) []byte { return encodedUTF16(b, binary.BigEndian, "\ufeff") },
}

func newDeflate(level int) func(io.Writer) io.WriteCloser {
	return func(w io.Writer) io.WriteCloser {
		compressor, err := flate.NewWriter(w, level)
		if err != nil {
			panic(err)
		}
		return compressor
	}
}

func compressed(b []byte, open func(io.Writer) io.WriteCloser) []byte {
	var out bytes.Buffer
	w := open(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func encodedUTF16(b []byte, order binary.AppendByteOrder, mark string) (out []byte) {
	for _, unit := range utf16.Encode([]rune(mark + string(b))) {
		out = order.AppendUint16(out, unit)
	}
	return out
}

// Proxies compress although the request asks for identity, and say so or not.
func TestCodedAnswerIsRead(t *testing.T) {
	for name, code := range codings {
		for _, header := range []string{"X-A: b", "Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Encoding: br"} {
			t.Run(name+", "+header, func(t *testing.T) {
				body := string(code([]byte(normalAnswer)))
				server := newRawServer(t, nil, answering(httpAnswer(200, body, header)))
				hasSucceeded(t, exchange(t, testClient(server.url)), normal)
			})
		}
		t.Run(name+", with a byte-order mark inside", func(t *testing.T) {
			server := newRawServer(t, nil, answering(httpAnswer(200, string(code([]byte("\xef\xbb\xbf"+normalAnswer))))))
			if strings.HasPrefix(name, "utf") {
				t.Skip("two marks")
			}
			hasSucceeded(t, exchange(t, testClient(server.url)), normal)
		})
		t.Run(name+", a rejection", func(t *testing.T) {
			server := newRawServer(t, nil, answering(httpAnswer(400, string(code([]byte(`{"error":"invalid_grant"}`))))))
			isRejected(t, exchange(t, testClient(server.url)), 400, CodeInvalidGrant)
		})
		t.Run(name+", a page", func(t *testing.T) {
			server := newRawServer(t, nil, answering(httpAnswer(200, string(code([]byte(`<html>canary</html>`))))))
			if result := exchange(t, testClient(server.url)); result.Outcome != Unreadable {
				t.Errorf("got %v", result.Outcome)
			}
		})
		for inner, codeFirst := range codings {
			t.Run(inner+" within "+name, func(t *testing.T) {
				body := string(code(codeFirst([]byte(normalAnswer))))
				if strings.HasPrefix(name, "utf") {
					t.Skip("UTF-16 is for text")
				}
				server := newRawServer(t, nil, answering(httpAnswer(200, body, "Content-Encoding: "+inner+", "+name)))
				hasSucceeded(t, exchange(t, testClient(server.url)), normal)
			})
		}
	}
}

// What stands behind the refresh token takes nothing of it away, compressed or not.
func TestRefreshTokenOfABrokenCodedAnswerIsKept(t *testing.T) {
	pad := make([]byte, 20_000) // that does not compress
	random := rand.New(rand.NewPCG(1, 2))
	for i := range pad {
		pad[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[random.IntN(36)]
	}
	text := []byte(`{"refresh_token":"` + next + `","pad":"` + string(pad) + `"}`)
	only := granted{refresh: next, expiresIn: DefaultExpiresIn}
	for name, code := range codings {
		body := code(text)
		for how, answer := range map[string]string{
			"cut by the connection": cutAnswer(200, string(body[:len(body)/2])),
			"cut by the server":     httpAnswer(200, string(body[:len(body)/2])),
			"cut in its checksum":   httpAnswer(200, string(body[:len(body)-1])),
			"garbled":               httpAnswer(200, string(body[:len(body)/2])+strings.Repeat("\xff", 500)),
			"followed by garbage":   httpAnswer(200, string(body)+"<!-- canary -->"),
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				server := newRawServer(t, nil, answering(answer))
				hasSucceeded(t, exchange(t, testClient(server.url)), only)
			})
		}
	}
}

func TestCutCodedAnswerLeavesInDoubt(t *testing.T) {
	for name, code := range codings {
		t.Run(name, func(t *testing.T) {
			body := code([]byte(`{"access_token":"a","token_type":"Bearer","scope":"the end of it is missing"}`))
			result := resultOfBody(body[:len(body)*2/3])
			if result.Outcome != InDoubt {
				t.Errorf("got %v, %s", result.Outcome, result.Reason)
			}
		})
	}
}

// A bomb is an answer that is small until it is decompressed.
func TestDecompressionIsBounded(t *testing.T) {
	bomb := []byte(`{"refresh_token":"` + next + `","pad":"` + strings.Repeat("x", 64<<20))
	for range maxCodings {
		bomb = codings["gzip"](bomb)
		t.Run(fmt.Sprintf("%d bytes", len(bomb)), func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			result := resultOfBody(bomb)
			runtime.ReadMemStats(&after)
			if result.Tokens.RefreshToken.Reveal() != next {
				t.Errorf("got %v, %s", result.Outcome, result.Reason)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
		})
	}
	t.Run("more codings than are undone", func(t *testing.T) {
		text := []byte(normalAnswer)
		for range maxCodings + 1 {
			text = codings["gzip"](text)
		}
		if result := resultOfBody(text); result.Outcome != Unreadable {
			t.Errorf("got %v", result.Outcome)
		}
	})
}
