package oauth

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
)

// maxAnswerBytes bounds what is read of a body, and what it may grow to when it is
// decompressed.
const maxAnswerBytes = 1 << 20

// answer is the wire form of a token endpoint's answer, success or error (RFC
// 6749, sections 5.1 and 5.2), as far as it could be read.
type answer struct {
	accessToken  string
	refreshToken string
	tokenType    string
	oddTokenType bool    // there was a token_type that is not a string
	expiresIn    float64 // in seconds, as sent; 0 if it is missing or not above zero
	scope        string
	claims       string
	hasClaims    bool
	errorCode    string

	errorDescription string
	secrets          []string // tokens, usable or not

	// complete means that the JSON object was closed: all of it was read.
	complete bool
	// open means that the body ended within the object.
	open bool
	// cut means that the answer ended before it was whole.
	cut bool
}

// readAnswer reads and parses a body. It does not wait for anything behind a
// complete object. If the body is not one, it looks for a refresh token in it, and
// in what is left when its codings are undone.
//
// An object that ends before it is closed counts as cut, even if the connection
// ended in the ordinary way. A body over 1 MiB does not.
func readAnswer(body io.Reader) answer {
	source := &untilCut{r: io.LimitReader(body, maxAnswerBytes)}
	var seen bytes.Buffer
	all := io.TeeReader(source, &seen)
	a := parseAnswer(all)
	if !a.found() {
		_, _ = io.Copy(io.Discard, all)
	}
	texts := [][]byte{seen.Bytes()} // the body, and what is left of it with each coding undone
	for len(texts) <= maxCodings && !a.found() && !a.open {
		text := decode(texts[len(texts)-1])
		texts = append(texts, text)
		if decoded := parseAnswer(bytes.NewReader(text)); decoded.found() || decoded.open {
			a = decoded
		}
	}
	tooLong := false
	for _, text := range texts {
		a.salvage(text)
		tooLong = tooLong || len(text) == maxAnswerBytes
	}
	a.cut = !a.complete && (source.cut || a.open && !tooLong)
	return a
}

// found reports whether there is nothing more to look for.
func (a *answer) found() bool { return a.complete || a.refreshToken != "" }

// parseAnswer reads a JSON object member by member and keeps every member that is
// whole, so that a new refresh token survives whatever is wrong behind it: a cut,
// an error, a body over 1 MiB. It stops where the object ends and does not read
// what comes after that. It ignores the content type.
func parseAnswer(body io.Reader) (a answer) {
	r := bufio.NewReader(body)
	if mark, _ := r.Peek(3); string(mark) == "\xef\xbb\xbf" { // byte-order mark
		_, _ = r.Discard(3)
	}
	err := a.parseObject(json.NewDecoder(r))
	a.complete = err == nil
	a.open = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	return a
}

// errNotObject means that a body is not a JSON object.
var errNotObject = errors.New("not a JSON object")

// parseObject takes over every member that is whole. The error is an EOF if the
// text ends within the object.
func (a *answer) parseObject(dec *json.Decoder) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errNotObject
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		member, _ := name.(string)
		a.set(member, value)
	}
	_, err := dec.Token()
	return err
}

// refreshTokenMember is a whole refresh_token member, wherever it stands. Within
// a JSON string its quotes would be escaped.
var refreshTokenMember = regexp.MustCompile(`"refresh_token"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)+")`)

// salvage looks for a refresh token in a text that is not a complete object,
// whatever stands in front of the token.
func (a *answer) salvage(text []byte) {
	if a.found() {
		return
	}
	if member := refreshTokenMember.FindSubmatch(text); member != nil {
		setString(&a.refreshToken, member[1])
	}
}

// untilCut turns every read error into a plain end, and notes it. json.Decoder
// keeps the last value before an io.EOF but drops it before any other error, and
// that value may be the refresh token.
type untilCut struct {
	r   io.Reader
	cut bool
}

func (u *untilCut) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.cut, err = true, io.EOF
	}
	return n, err
}

// set takes over one member. A member that is null or of the wrong type counts as
// missing and does not displace a good one of the same name.
func (a *answer) set(name string, value json.RawMessage) {
	if string(value) == "null" {
		return
	}
	switch name {
	case "access_token":
		setString(&a.accessToken, value)
		a.keepSecret(value)
	case "refresh_token":
		setString(&a.refreshToken, value)
		a.keepSecret(value)
	case "id_token":
		a.keepSecret(value)
	case "token_type":
		setString(&a.tokenType, value)
		a.oddTokenType = a.oddTokenType || value[0] != '"'
	case "scope":
		setString(&a.scope, value)
	case "error":
		setString(&a.errorCode, value)
		if a.errorCode == "" && (value[0] == '{' || string(value) == "true") {
			a.errorCode = string(CodeOther) // an error that is not OAuth's
		}
	case "error_description":
		setString(&a.errorDescription, value)
	case "expires_in":
		if seconds := parseNumber(value); seconds > 0 {
			a.expiresIn = seconds
		}
	case "claims":
		a.hasClaims = true
		if json.Unmarshal(value, &a.claims) != nil {
			a.claims = string(value)
		}
	}
}

// keepSecret notes the value of a token, as JSON if it is not a string.
func (a *answer) keepSecret(value json.RawMessage) {
	secret := string(value)
	setString(&secret, value)
	a.secrets = append(a.secrets, secret)
}

func setString(to *string, value json.RawMessage) {
	var s *string
	if json.Unmarshal(value, &s) == nil && s != nil && *s != "" {
		*to = *s
	}
}

// code returns the error code of a complete answer, "" if there is none.
func (a *answer) code() ErrorCode {
	if !a.complete {
		return ""
	}
	return RegisteredCode(a.errorCode)
}
