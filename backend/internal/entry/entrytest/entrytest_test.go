package entrytest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
)

type part struct {
	Text string `json:"text"`
	Note string `json:"note,omitempty"`
}

type form struct {
	entry.Header
	Name  string            `json:"name"`
	On    bool              `json:"on,omitempty"`
	Time  time.Time         `json:"time"`
	Part  *part             `json:"part,omitempty"`
	Parts []part            `json:"parts,omitempty"`
	Names []string          `json:"names"`
	Notes map[string]string `json:"notes,omitempty"`
}

const full = `{"version":1,"name":"n","on":true,"time":"2026-03-01T12:00:00Z","part":{"text":"t","note":"n"},` +
	`"parts":[{"text":"a"},{"text":"b","note":"c"}],"names":["x"],"notes":{"k":"v"}}`

// recode is the code of a project that does what it should, version 1.
func recode(value []byte) ([]byte, error) {
	var f form
	if err := entry.Decode(value, 1, &f); err != nil {
		return nil, err
	}
	return entry.Encode(1, &f)
}

// formV2 has a field more, and one that has got another name.
type formV2 struct {
	form
	Title string `json:"title"` // was name
	Added int    `json:"added,omitempty"`
}

func recodeV2(value []byte) ([]byte, error) {
	var f formV2
	if err := entry.Decode(value, 2, &f); err != nil {
		return nil, err
	}
	if f.Version == 1 {
		f.Title = f.Name
	}
	f.Name = "taken"
	return entry.Encode(2, &f)
}

func TestGolden(t *testing.T) {
	t.Parallel()
	fullV2 := strings.Replace(strings.Replace(full, `"version":1,"name":"n"`, `"version":2,"name":"taken","title":"n"`, 1), `"on":true`, `"on":true,"added":7`, 1)
	v2 := Kind{Newest: 2, Form: formV2{}, Recode: recodeV2, Renamed: []string{"name"}}
	v1 := Kind{Newest: 1, Form: form{}, Recode: recode}
	for name, test := range map[string]struct {
		kind  Kind
		files []string // by version
		want  []string // parts of the problems, in order; nil: none
	}{
		"all is well": {kind: v1, files: []string{full}},
		"a version 2 that adds a field and renames one": {kind: v2, files: []string{full, fullV2}},

		"a field was added, and the file does not have it": {
			kind: Kind{Newest: 1, Form: struct {
				form
				More string `json:"more,omitempty"`
			}{}, Recode: recode}, files: []string{full}, want: []string{"more has no value"},
		},
		"a nested field was added": {
			kind: v1, files: []string{strings.Replace(full, `,"note":"n"`, ``, 1)}, want: []string{"part.note has no value"},
		},
		"a field of a list's elements was added": {
			kind: v1, files: []string{strings.Replace(full, `,"note":"c"`, ``, 1)}, want: []string{"parts[].note has no value"},
		},
		"a list and a map without elements": {
			kind: v1, files: []string{strings.NewReplacer(`["x"]`, `[]`, `,"notes":{"k":"v"}`, ``).Replace(full)},
			want: []string{"names[] has no value", "notes.* has no value"},
		},
		"a field that is zero proves nothing": {
			kind: v1, files: []string{strings.Replace(full, `"name":"n"`, `"name":""`, 1)}, want: []string{"name has no value"},
		},
		"a field is forgotten when the entry is written": {
			kind: Kind{Newest: 1, Form: form{}, Recode: func(value []byte) ([]byte, error) {
				b, err := recode(value)
				return []byte(strings.Replace(string(b), `"on":true,`, ``, 1)), err
			}}, files: []string{full}, want: []string{"the stored form has changed"},
		},
		"the newest form has a field that the file does not have": {
			kind: v1, files: []string{strings.Replace(full, `"on":true,`, ``, 1)}, want: []string{"on has no value"},
		},
		"a value of version 1 is lost": {
			kind:  Kind{Newest: 2, Form: formV2{}, Recode: recodeV2},
			files: []string{full, fullV2}, want: []string{"-v1.json: name is lost: n became taken"},
		},
		"an element of version 1 is lost": {
			kind: Kind{Newest: 2, Form: formV2{}, Renamed: []string{"name", "part.text"}, Recode: func(value []byte) ([]byte, error) {
				b, err := recodeV2(value)
				if strings.Contains(string(value), `"version":1`) {
					b = []byte(strings.NewReplacer(`"text":"t"`, `"text":"u"`, `"text":"b"`, `"text":"u"`).Replace(string(b)))
				}
				return b, err
			}}, files: []string{full, fullV2}, want: []string{"-v1.json: parts[1].text is lost: b became u"},
		},
		"an entry that cannot be read": {
			kind: v1, files: []string{strings.Replace(full, `"names":["x"]`, `"names":"x"`, 1)}, want: []string{"it cannot be read: is not readable"},
		},
		"a file of another version": {kind: v2, files: []string{full, full}, want: []string{"-v2.json: its version is 1"}},
		"a file is missing":         {kind: v2, files: []string{full}, want: []string{"1 golden files for 2 versions", "no such file"}},
		"a file too many":           {kind: v1, files: []string{full, fullV2}, want: []string{"2 golden files for 1 versions"}},
		"no JSON":                   {kind: v1, files: []string{"{"}, want: []string{"unexpected EOF"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.kind.Name, test.kind.Dir = "form", t.TempDir()
			for i, text := range test.files {
				file := filepath.Join(test.kind.Dir, fmt.Sprintf("form-v%d.json", i+1))
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			problems := test.kind.check()
			if len(problems) != len(test.want) {
				t.Fatalf("the problems are %q, not %q", problems, test.want)
			}
			for i, want := range test.want {
				if !strings.Contains(problems[i], want) {
					t.Errorf("problem %q lacks %q", problems[i], want)
				}
			}
		})
	}
}

func TestGoldenLooksIntoTestdata(t *testing.T) {
	t.Parallel()
	Golden(t, Kind{Name: "form", Newest: 1, Form: &form{}, Recode: recode})
}
