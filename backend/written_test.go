package backend

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// inUTF16 is what Windows writes: little-endian, with a byte-order mark.
func inUTF16(text string) string {
	var b strings.Builder
	b.WriteString("\xff\xfe")
	for _, unit := range utf16.Encode([]rune(text)) {
		b.WriteByte(byte(unit))
		b.WriteByte(byte(unit >> 8))
	}
	return b.String()
}

func TestTextsThatArePutRight(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind        textKind
		given, want string
	}{
		{tokenText, "abc", "abc"},
		{tokenText, "\ufeffabc\r\n", "abc"},
		{tokenText, " \tabc \n", "abc"},
		{tokenText, "a{b}[c]\"d", "a{b}[c]\"d"},
		{tokenText, "~!#$%&'()*+,-./:;<=>?@\\^_`|", "~!#$%&'()*+,-./:;<=>?@\\^_`|"},
		{tokenText, "\ufeff", ""},
		{passwordText, "\ufeff abc \r\n", " abc "},
		{passwordText, " two words ", " two words "},
		{passwordText, "{not JSON", "{not JSON"},
		{passwordText, "[1]", "[1]"},
		{passwordText, "pässwörd 日本", "pässwörd 日本"},
		{passwordText, "\n", ""},
		{labelText, "\ufeff jane doe \n", "jane doe"},
		{labelText, "jürgen@example.com", "jürgen@example.com"},
	} {
		if got, err := clean(test.given, test.kind); got != test.want || err != nil {
			t.Errorf("%q becomes %q, %v", test.given, got, err)
		}
	}
}

// misfiled are texts that cannot be what was meant, and what is said about them.
func misfiled(value string) map[string]string {
	return map[string]string{
		inUTF16(value):                             "looks like UTF-16: save the file as UTF-8",
		strings.ReplaceAll(value, "-", "\x00-"):    "looks like UTF-16: save the file as UTF-8",
		value + "\xff":                             "is not valid UTF-8",
		"\xff" + value:                             "is not valid UTF-8",
		value + "\n" + value:                       "has more than one line",
		value + "\n\n" + value + "\n":              "has more than one line",
		value + "\x1b[0m":                          "contains a c", // a control character, or one that no token has
		`{"access_token":"x","x":"` + value + `"}`: "is JSON",
	}
}

func TestTextsThatCannotBeWhatWasMeantAreRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.withLogins()
		m.enrol()
		before := m.stored("account/acme") + m.stored("client/default")
		refuse := func(path, field string, more fields, value, part string) {
			t.Helper()
			what := `account "acme": `
			if path == "clients/default" {
				what = `client "default": `
			}
			a := m.want(m.write(path, with(more, fields{field: value})), 400, what+field, part)
			if strings.Contains(a.text, "nothing was changed") != true {
				t.Errorf("%s", a)
			}
		}
		for value, part := range misfiled("rt-" + canary + "-acme-new") {
			refuse("accounts/acme", "refresh_token", nil, value, part)
			refuse("accounts/acme", "spare_refresh_token", nil, value, part)
			refuse("accounts/acme", "username", fields{"password": thePassword}, value, part)
			refuse("accounts/acme", "password", fields{"username": "alice"}, value, part)
			refuse("clients/default", "client_secret", nil, value, part)
			refuse("clients/default", "client_id", fields{"client_secret": newSecret}, value, part)
		}
		for value, part := range map[string]string{
			"rt-" + canary + "-acme 2":            "contains white space",
			"rt-" + canary + "\t-acme":            "contains white space",
			"rt-" + canary + "\u00a0-acme":        "contains white space",
			"Bearer rt-" + canary:                 "contains white space",
			"rt-" + canary + "\u200b-acme":        "contains a character that no token has",
			"rt-" + canary + "-acme…":             "contains a character that no token has",
			`"rt-` + canary + `-acme"`:            "is JSON",
			`["rt-` + canary + `-acme"]`:          "is JSON",
			"{\n \"x\": \"rt-" + canary + "\"\n}": "is JSON",
		} {
			refuse("accounts/acme", "refresh_token", nil, value, part)
			refuse("accounts/acme", "spare_refresh_token", nil, value, part)
		}
		refuse("clients/default", "client_secret", nil, `{"client_secret":"`+newSecret+`"}`, "is JSON")
		m.wantPosts(0)
		if m.stored("account/acme")+m.stored("client/default") != before {
			t.Error("a refused write has changed something")
		}
		m.want(m.read("token/acme"), 200)
	})
}

func TestByteOrderMarkOfAFileIsRemoved(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		ca := newCACert(t)
		m.want(m.write("clients/default", fields{"client_id": "\ufeffour-app\r\n", "client_secret": "\ufeff" + clientSecret + "\r\n", "ca_cert": "\ufeff" + ca}), 204)
		m.want(m.write("accounts/acme", fields{"refresh_token": "\ufeff" + firstToken + "\r\n", "spare_refresh_token": "\ufeff" + spareToken + "\n"}), 204)
		m.want(m.read("token/acme"), 200)
		p := m.wantPosts(1)[0]
		if p.client.ID != "our-app" || p.secret() != clientSecret || p.token != firstToken || string(p.client.CACert) != ca {
			t.Errorf("sent %q, %q, %q", p.client.ID, p.secret(), p.token)
		}
		m.want(m.write("accounts/acme", fields{"username": "\ufeffalice\r\n", "password": "\ufeff" + thePassword + "\r\n"}), 204)
		if p := m.wantPosts(2)[0]; p.username != "alice" || p.token != thePassword {
			t.Errorf("sent %q, %q", p.username, p.token)
		}
	})
}

func TestPasswordAndClientSecretKeepTheirSpaces(t *testing.T) {
	t.Parallel()
	for _, form := range []string{" %s", "%s ", "  %s  ", "%s two words", "\u00a0%s\u00a0"} {
		inBubble(t, func(t *testing.T, m *mount) {
			password, secret := fmt.Sprintf(form, thePassword), fmt.Sprintf(form, clientSecret)
			m.want(m.write("clients/default", fields{"client_id": "our-app", "client_secret": secret + "\n"}), 204)
			m.want(m.write("accounts/acme", fields{"username": "alice", "password": password + "\n", "keep_password": true}), 204)
			for _, p := range m.wantPosts(2) {
				if p.token != password || p.secret() != secret {
					t.Errorf("%q and %q were sent as %q and %q", password, secret, p.token, p.secret())
				}
			}
			// The one that is kept is the same.
			m.pagero.set(func(sent post) oauth.Result {
				if sent.username == "" {
					return isDead(sent)
				}
				return m.pagero.grant(sent)
			})
			m.restart()
			m.want(m.write("refresh/acme", nil), 200)
			posts := m.pagero.take()
			if p := posts[len(posts)-1]; p.username != "alice" || p.token != password {
				t.Errorf("%q was kept as %q", password, p.token)
			}
		})
	}
}
