package entry

import (
	"errors"
	"strings"
	"testing"
)

type form struct {
	Header
	Name string `json:"name"`
}

func TestEncodedFormIsDecoded(t *testing.T) {
	t.Parallel()
	value, err := Encode(3, &form{Name: "x"})
	if err != nil || string(value) != `{"version":3,"name":"x"}` {
		t.Fatalf("%s, %v", value, err)
	}
	for newest := 3; newest < 5; newest++ {
		var got form
		if err := Decode(value, newest, &got); err != nil || got.Name != "x" || got.Version != 3 {
			t.Errorf("newest %d: %+v, %v", newest, got, err)
		}
	}
}

func TestEntriesThatCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	const damaged = "is not readable; it was left as it is"
	for name, test := range map[string]struct {
		value string
		want  UnreadableError
		text  string
	}{
		"newer":              {`{"version":3,"name":"secret"}`, UnreadableError{3, 2}, "has version 3, and this plugin reads up to 2; it was left as it is"},
		"without a version":  {`{"name":"secret"}`, UnreadableError{0, 2}, damaged},
		"a negative version": {`{"version":-1}`, UnreadableError{0, 2}, damaged},
		"a wrong type":       {`{"version":"secret"}`, UnreadableError{0, 2}, damaged},
		"a wrong field":      {`{"version":1,"name":{"secret":1}}`, UnreadableError{0, 2}, damaged},
		"no object":          {`["secret"]`, UnreadableError{0, 2}, damaged},
		"no JSON":            {`secret`, UnreadableError{0, 2}, damaged},
		"nothing":            {``, UnreadableError{0, 2}, damaged},
		"null":               {`null`, UnreadableError{0, 2}, damaged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Decode([]byte(test.value), 2, &form{})
			var unreadable *UnreadableError
			if !errors.As(err, &unreadable) || *unreadable != test.want || unreadable.Newer() != (test.want.Version == 3) {
				t.Fatalf("%#v", err)
			}
			if err.Error() != test.text || strings.Contains(err.Error(), "secret") {
				t.Errorf("the text is %q", err)
			}
		})
	}
}
