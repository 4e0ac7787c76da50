package oauth

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const canary = "s3cr3t-canary"

type holder struct {
	Name  string
	Token Secret
}

type hider struct {
	name  string
	token Secret
	deep  struct{ tokens []Secret }
}

// showsNothing fails the test if shown holds the canary in any spelling.
func showsNothing(t *testing.T, shown string) {
	t.Helper()
	for _, spelling := range []string{
		canary,
		hex.EncodeToString([]byte(canary)),
		strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]"),
		strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(canary)), "="),
		fmt.Sprintf("% x", canary),
	} {
		if strings.Contains(strings.ToLower(shown), strings.ToLower(spelling)) {
			t.Errorf("shows the secret: %s", shown)
		}
	}
}

func secretHolders() map[string]any {
	secret := NewSecret(canary)
	client := Client{ID: "id", Secret: secret}
	tokens := Tokens{RefreshToken: secret, AccessToken: secret}
	return map[string]any{
		"secret":              secret,
		"pointer":             &secret,
		"exported field":      holder{"name", secret},
		"pointer to a struct": &holder{"name", secret},
		"interface field":     struct{ Value any }{secret},
		"embedded":            struct{ Secret }{secret},
		"slice":               []Secret{secret},
		"array":               [1]Secret{secret},
		"mixed slice":         []any{&secret, secret},
		"map value":           map[string]Secret{"a": secret},
		"map key":             map[Secret]string{secret: "a"},
		"map of structs":      map[string]holder{"a": {"name", secret}},
		"client":              client,
		"tokens":              tokens,
		"result":              Result{Outcome: Succeeded, Tokens: tokens},
	}
}

func secretHiders() map[string]any {
	secret := NewSecret(canary)
	hidden := hider{name: "name", token: secret}
	hidden.deep.tokens = []Secret{secret}
	return map[string]any{
		"unexported field":            hidden,
		"pointer to unexported field": &hidden,
		"slice of unexported fields":  []hider{hidden},
		"map of unexported fields":    map[string]hider{"a": hidden},
		"unexported pointer":          struct{ s *Secret }{&secret},
		"unexported interface":        struct{ s any }{secret},
		"unexported map":              struct{ m map[string]Secret }{map[string]Secret{"a": secret}},
	}
}

var verbs = []string{
	"%v", "%+v", "%#v", "%s", "%q", "%+q", "%#q", "%x", "%X", "% x", "%#x", "%d", "%+d", "%b", "%o", "%O", "%c",
	"%U", "%#U", "%e", "%f", "%g", "%t", "%5s", "%-40v", "%.2s", "%040d",
}

func TestSecretPrintsRedactedWithEveryVerb(t *testing.T) {
	for name, value := range secretHolders() {
		for _, verb := range verbs {
			t.Run(name+" "+verb, func(t *testing.T) {
				shown := fmt.Sprintf(verb, value)
				showsNothing(t, shown)
				if !strings.Contains(shown, redacted) {
					t.Errorf("%s does not say %s", shown, redacted)
				}
			})
		}
		for _, verb := range []string{"%p", "%T", "%w", "%z"} {
			t.Run(name+" "+verb, func(t *testing.T) { showsNothing(t, fmt.Sprintf(verb, value)) })
		}
		t.Run(name+" without a verb", func(t *testing.T) {
			showsNothing(t, fmt.Sprint(value))
			showsNothing(t, fmt.Sprintln(value))
			showsNothing(t, fmt.Sprintf("%[1]*[2]d", value, 1))
		})
	}
}

func TestSecretInUnexportedFieldsShowsNoText(t *testing.T) {
	for name, value := range secretHiders() {
		for _, verb := range append([]string{"%p", "%T", "%w", "%z"}, verbs...) {
			t.Run(name+" "+verb, func(t *testing.T) { showsNothing(t, fmt.Sprintf(verb, value)) })
		}
	}
}

func TestSecretInErrorsIsRedacted(t *testing.T) {
	secret := NewSecret(canary)
	for name, err := range map[string]error{
		"value":   fmt.Errorf("refused: %v", secret),
		"quoted":  fmt.Errorf("refused: %q", secret),
		"pointer": fmt.Errorf("refused: %v", &secret),
		"holder":  fmt.Errorf("refused: %+v", holder{"name", secret}),
		"wrapped": fmt.Errorf("outer: %w", fmt.Errorf("refused: %s", secret)),
		"joined":  errors.Join(errors.New("a"), fmt.Errorf("refused: %s", secret)),
	} {
		t.Run(name, func(t *testing.T) {
			showsNothing(t, err.Error())
			if !strings.Contains(err.Error(), redacted) {
				t.Errorf("%v does not say %s", err, redacted)
			}
		})
	}
}

func TestSecretIsRedactedInJSONAndXML(t *testing.T) {
	for name, value := range secretHolders() {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			showsNothing(t, string(text))
			if !strings.Contains(string(text), redacted) {
				t.Errorf("%s does not say %s", text, redacted)
			}
		})
	}
	for name, value := range secretHiders() {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			showsNothing(t, string(text))
		})
	}
	t.Run("xml", func(t *testing.T) {
		text, err := xml.Marshal(holder{"name", NewSecret(canary)})
		if want := "<holder><Name>name</Name><Token>[redacted]</Token></holder>"; err != nil || string(text) != want {
			t.Errorf("got %s, %v, want %s", text, err, want)
		}
	})
}

// A handler of another kind takes the value apart by reflection: it gets a text
// that is redacted already.
func TestSecretResolvesToRedactedForAnySlogHandler(t *testing.T) {
	if v := slog.AnyValue(NewSecret(canary)).Resolve(); v.Kind() != slog.KindString || v.String() != redacted {
		t.Errorf("got %v of kind %v", v, v.Kind())
	}
}

func TestSecretIsNotReadFromJSON(t *testing.T) {
	var h holder
	if err := json.Unmarshal([]byte(`{"Name":"name","Token":"[redacted]"}`), &h); err == nil || h.Token.IsSet() {
		t.Error("a redacted text was read back as a secret")
	}
}

func TestSecretIsRedactedInSlog(t *testing.T) {
	var out bytes.Buffer
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	for format, handler := range map[string]slog.Handler{
		"text": slog.NewTextHandler(&out, options),
		"json": slog.NewJSONHandler(&out, options),
	} {
		for name, value := range secretHolders() {
			t.Run(format+" "+name, func(t *testing.T) {
				out.Reset()
				slog.New(handler).With("before", value).WithGroup("group").Info("message", "key", value)
				showsNothing(t, out.String())
				if !strings.Contains(out.String(), redacted) {
					t.Errorf("%s does not say %s", out.String(), redacted)
				}
			})
		}
		for name, value := range secretHiders() {
			t.Run(format+" "+name, func(t *testing.T) {
				out.Reset()
				slog.New(handler).Info("message", "key", value)
				showsNothing(t, out.String())
			})
		}
	}
}

func TestSecretRevealsItsText(t *testing.T) {
	if got := NewSecret(canary).Reveal(); got != canary {
		t.Errorf("got %q", got)
	}
}

func TestSecretEqualComparesTexts(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b Secret
		want bool
	}{
		{"same text", NewSecret("a"), NewSecret("a"), true},
		{"other text", NewSecret("a"), NewSecret("b"), false},
		{"prefix", NewSecret("a"), NewSecret("ab"), false},
		{"unset and set", Secret{}, NewSecret("a"), false},
		{"both unset", Secret{}, NewSecret(""), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.a.Equal(c.b) != c.want || c.b.Equal(c.a) != c.want {
				t.Errorf("want %t both ways", c.want)
			}
		})
	}
}

func TestZeroSecretIsUnset(t *testing.T) {
	for name, secret := range map[string]Secret{"zero": {}, "empty text": NewSecret("")} {
		t.Run(name, func(t *testing.T) {
			if secret.IsSet() || secret.Reveal() != "" || secret != (Secret{}) {
				t.Error("want the zero Secret, unset and empty")
			}
			if shown := fmt.Sprintf("%v%s%d", secret, secret, secret); shown != "" {
				t.Errorf("an unset secret shows %q, want nothing", shown)
			}
			if text, err := json.Marshal(secret); err != nil || string(text) != `""` {
				t.Errorf("got %s, %v", text, err)
			}
		})
	}
	if !NewSecret(" ").IsSet() {
		t.Error("a blank is a text")
	}
}
