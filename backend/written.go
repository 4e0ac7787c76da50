package backend

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/vault/sdk/framework"
)

// textKind is what kind of text a field holds that a person, a script or an editor has
// written. Such a text is looked at before it takes the place of one that works.
type textKind int

const (
	tokenText    textKind = iota // RFC 6749, appendix A.17, but without spaces
	passwordText                 // may have spaces, even at its ends
	labelText                    // may have spaces inside
)

// givenText decodes a field, if the request has it, and cleans it. The error names the
// field, and never repeats its value.
func givenText(data *framework.FieldData, field string, kind textKind) (text string, ok bool, err error) {
	if !given(data, field, &text) {
		return "", false, nil
	}
	text, err = clean(text, kind)
	if err != nil {
		return "", true, fmt.Errorf("%s %w; nothing was changed", field, err)
	}
	return text, true, nil
}

// clean removes what files add to a text: a byte-order mark, and the end of the line. It
// refuses a text that cannot be what was meant.
func clean(text string, kind textKind) (string, error) {
	switch {
	case strings.ContainsRune(text, 0), hasUTF16Mark(text):
		return "", invalid("looks like UTF-16: save the file as UTF-8 and write it again")
	case !utf8.ValidString(text), strings.ContainsRune(text, utf8.RuneError): // JSON encoders replace invalid bytes
		return "", invalid("is not valid UTF-8: save the file as UTF-8 and write it again")
	}
	text = strings.TrimLeft(text, byteOrderMark)
	if kind == passwordText {
		text = strings.TrimRight(text, "\r\n")
	} else {
		text = strings.TrimSpace(text)
	}
	switch {
	case isJSON(text, kind):
		return "", invalid("is JSON: write the value in it, without quotation marks and braces")
	case strings.ContainsAny(text, "\r\n"):
		return "", invalid("has more than one line: write the value only")
	case strings.ContainsFunc(text, unicode.IsControl) && kind != tokenText:
		return "", invalid("contains a control character: copy the value again")
	case kind == tokenText && strings.ContainsFunc(text, unicode.IsSpace):
		return "", invalid("contains white space, which no token has: write the value only")
	case kind == tokenText && strings.ContainsFunc(text, notVisibleASCII):
		return "", invalid("contains a character that no token has: copy the value again")
	}
	return text, nil
}

const byteOrderMark = "\ufeff"

// hasUTF16Mark reports whether a text begins with the byte-order mark of UTF-16, also
// after a JSON encoder has replaced its two bytes.
func hasUTF16Mark(text string) bool {
	return strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") || strings.HasPrefix(text, "\ufffd\ufffd")
}

// isJSON recognizes the answer of a token endpoint, or a string in quotation marks, in
// place of a token. A password may begin with any character.
func isJSON(text string, kind textKind) bool {
	if kind == tokenText {
		return text != "" && strings.ContainsRune(`{["`, rune(text[0]))
	}
	return strings.HasPrefix(text, "{") && json.Valid([]byte(text))
}

func notVisibleASCII(r rune) bool { return r <= ' ' || r > '~' }
