package sandbox

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// answer returns the answer that the fault sends, or nil if it sends none. It also
// reports whether that answer tells the client the whole next refresh token. right
// is the right answer, or nil if the request was not processed.
func (f Fault) answer(right *answer, c *call) (out *answer, told bool) {
	switch f.Action {
	case ActionTruncate, ActionStatus, ActionBody, ActionAlter:
	default:
		return nil, false
	}
	out = newAnswer()
	out.header.Set("Content-Type", "application/json;charset=UTF-8")
	noStore(out.header)
	if right != nil && f.Action != ActionStatus {
		out.status, out.header = right.status, right.header
	}
	if f.Status != 0 {
		out.status = f.Status
	}
	body := f.body(right, c)
	told = c.nextTokenIn(f.cut(body))
	out.body.Write(f.compress(out.header, body))
	f.addHeaders(out.header)
	return out, told
}

// body returns the fault's body before it is compressed or cut.
func (f Fault) body(right *answer, c *call) []byte {
	switch {
	case f.Action == ActionAlter:
		return f.alter(right.body.Bytes())
	case f.Action == ActionTruncate && f.Body == "" && right != nil:
		return right.body.Bytes()
	}
	filled := strings.NewReplacer(
		PlaceholderAccessToken, c.accessToken,
		PlaceholderRefreshToken, c.refreshToken,
	).Replace(f.Body)
	return []byte(filled)
}

// alter changes the members of a body. It leaves a body that is not a JSON object as
// it is.
func (f Fault) alter(body []byte) []byte {
	var members map[string]any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if len(f.Members) == 0 || decoder.Decode(&members) != nil {
		return body
	}
	for name, value := range f.Members {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = value
		}
	}
	altered, err := json.Marshal(members)
	if err != nil {
		return body // validate has encoded the members before
	}
	return altered
}

// compress compresses the body and says so in the headers.
func (f Fault) compress(header http.Header, body []byte) []byte {
	var (
		out    bytes.Buffer
		writer io.WriteCloser
	)
	switch f.Encoding {
	case EncodingNone:
		return body
	case EncodingGzip:
		writer = gzip.NewWriter(&out)
		header.Set("Content-Encoding", "gzip")
	case EncodingDeflate:
		writer = zlib.NewWriter(&out)
		header.Set("Content-Encoding", "deflate")
	case EncodingRawDeflate:
		writer, _ = flate.NewWriter(&out, flate.DefaultCompression) // fails only for an unknown level
		header.Set("Content-Encoding", "deflate")
	}
	_, _ = writer.Write(body) // a bytes.Buffer takes everything
	_ = writer.Close()
	return out.Bytes()
}

// addHeaders adds the headers that the fault asks for.
func (f Fault) addHeaders(header http.Header) {
	const cookie = 4096 // bytes, as many as browsers accept
	for left := f.HeaderBytes; left > 0; left -= cookie {
		name := fmt.Sprintf("padding-%d=", left)
		header.Add("Set-Cookie", name+strings.Repeat("x", max(0, min(left, cookie)-len("Set-Cookie: ")-len(name)-len("\r\n"))))
	}
	if f.DateSkew != 0 {
		header.Set("Date", time.Now().Add(f.DateSkew).UTC().Format(http.TimeFormat))
	}
	for name, value := range f.Headers {
		if value == "" {
			header.Del(name)
		} else {
			header.Set(name, value)
		}
	}
}

// cut returns the part of the body that the fault sends.
func (f Fault) cut(body []byte) []byte {
	if f.Action != ActionTruncate {
		return body
	}
	return body[:min(f.Bytes, len(body))]
}
