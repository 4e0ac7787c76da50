package oauth

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultExpiresIn stands in for an expires_in that is missing or makes no
	// sense (RFC 6749, section 5.1, leaves the lifetime to the server's
	// documentation then). It is what Pagero documents.
	DefaultExpiresIn = 600 * time.Second
	// MaxExpiresIn bounds the lifetime that an answer may claim. Refreshing a
	// long-lived token more often than needed does no harm.
	MaxExpiresIn = 24 * time.Hour

	maxAnswerBytes = 1 << 20

	// What is longer than this is left out, so that what is stored stays far
	// below the size of an entry that Vault takes.
	maxAccessTokenBytes = 64 << 10
	maxExtraBytes       = 8 << 10 // of scope, and of claims
)

// answer is the wire form of a token endpoint's answer, success or error
// (RFC 6749, sections 5.1 and 5.2), as far as it could be read.
type answer struct {
	accessToken  string
	refreshToken string
	tokenType    string
	hasTokenType bool
	expiresIn    time.Duration
	scope        string
	claims       string
	hasClaims    bool
	errorCode    string
	// complete means that the JSON object was closed: all of it was read.
	complete bool
	// open means that the body ended within the object.
	open bool
	// cut means that the answer ended before it was whole.
	cut bool
}

// readAnswer reads and parses a body. It does not wait for anything behind a
// complete object. An object that ends before it is closed counts as cut, even if
// the connection ended in the ordinary way; a body over 1 MiB does not.
func readAnswer(body io.Reader) answer {
	limited := &io.LimitedReader{R: body, N: maxAnswerBytes}
	source := &untilCut{r: limited}
	a := parseAnswer(source)
	a.cut = !a.complete && (source.cut || a.open && limited.N > 0)
	return a
}

// parseAnswer reads a JSON object member by member and keeps every member that
// is whole, so that a new refresh token survives whatever is wrong behind it:
// a cut, an error, a body over 1 MiB. It stops where the object ends; what
// comes after that is not read. The content type counts for nothing.
func parseAnswer(body io.Reader) (a answer) {
	a.expiresIn = DefaultExpiresIn
	var seen bytes.Buffer
	all := io.TeeReader(body, &seen)
	r := bufio.NewReader(all)
	defer func() {
		if !a.complete && a.refreshToken == "" {
			_, _ = io.Copy(io.Discard, all)
			a.salvage(seen.Bytes())
		}
	}()
	if mark, _ := r.Peek(3); string(mark) == "\xef\xbb\xbf" { // byte-order mark
		_, _ = r.Discard(3)
	}
	err := a.parseObject(json.NewDecoder(r))
	a.complete = err == nil
	a.open = isEOF(err)
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

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// refreshTokenMember is a whole refresh_token member, wherever it stands. Within
// a JSON string its quotes would be escaped.
var refreshTokenMember = regexp.MustCompile(`"refresh_token"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)+")`)

// salvage looks for a refresh token behind what is no JSON: nothing that is odd
// in front of it makes it worth less.
func (a *answer) salvage(body []byte) {
	if member := refreshTokenMember.FindSubmatch(body); member != nil {
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

// set takes over one member. A member that is null or of the wrong type counts
// as missing and does not displace a good one of the same name; only a
// token_type that is there and no string is one that is not known.
func (a *answer) set(name string, value json.RawMessage) {
	if string(value) == "null" {
		return
	}
	switch name {
	case "access_token":
		setString(&a.accessToken, value)
	case "refresh_token":
		setString(&a.refreshToken, value)
	case "token_type":
		a.hasTokenType = true
		setString(&a.tokenType, value)
	case "scope":
		setString(&a.scope, value)
	case "error":
		setString(&a.errorCode, value)
		if a.errorCode == "" && (value[0] == '{' || string(value) == "true") {
			a.errorCode = string(CodeOther) // an error that is not OAuth's
		}
	case "expires_in":
		if d, ok := parseExpiresIn(value); ok {
			a.expiresIn = d
		}
	case "claims":
		a.hasClaims = true
		if json.Unmarshal(value, &a.claims) != nil {
			a.claims = string(value)
		}
	}
}

func setString(to *string, value json.RawMessage) {
	var s *string
	if json.Unmarshal(value, &s) == nil && s != nil && *s != "" {
		*to = *s
	}
}

// parseExpiresIn takes a number, whole or not, or a string that holds one, in
// seconds. What is not a number, or not above zero, makes no sense and is not
// ok; a fraction is cut off; more than MaxExpiresIn is cut to it.
func parseExpiresIn(value json.RawMessage) (d time.Duration, ok bool) {
	text := strings.TrimSpace(strings.Trim(string(value), `"`))
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	switch {
	case math.IsNaN(seconds) || seconds <= 0:
		return 0, false
	case seconds >= MaxExpiresIn.Seconds():
		return MaxExpiresIn, true
	}
	return max(time.Duration(seconds)*time.Second, time.Second), true
}

// grants reports whether the answer holds a new refresh token or, in a complete
// answer, a usable access token.
func (a *answer) grants() bool {
	return a.refreshToken != "" || (a.complete && a.accessTokenUsable())
}

// tokens returns what the answer grants.
func (a *answer) tokens() Tokens {
	t := Tokens{
		RefreshToken: NewSecret(a.refreshToken),
		ExpiresIn:    a.expiresIn,
		Scope:        a.scope,
		Claims:       a.claims,
		HasClaims:    a.hasClaims,
	}
	if len(t.Scope) > maxExtraBytes {
		t.Scope = ""
	}
	if len(t.Claims) > maxExtraBytes {
		t.Claims, t.HasClaims = "", false
	}
	if a.accessTokenUsable() {
		t.AccessToken = NewSecret(a.accessToken)
	}
	return t
}

// accessTokenUsable wants the characters of RFC 6749, appendix A.12, without
// which the token cannot travel in a header, and the token type Bearer
// (section 7.1: a type that a client does not know must not be used). A
// missing type is taken for Bearer.
func (a *answer) accessTokenUsable() bool {
	if a.accessToken == "" || len(a.accessToken) > maxAccessTokenBytes || (a.hasTokenType && !strings.EqualFold(a.tokenType, "bearer")) {
		return false
	}
	for i := range len(a.accessToken) {
		if c := a.accessToken[i]; c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

// code returns the error code of a complete answer, "" if there is none.
func (a *answer) code() ErrorCode {
	if !a.complete {
		return ""
	}
	return RegisteredCode(a.errorCode)
}
