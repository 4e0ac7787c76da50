package docs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/openapi"
)

// quoted finds `names` in Markdown.
var quoted = regexp.MustCompile("`([a-z_]+)`")

// section is a part of docs/api.md, from one second-level heading to the next.
type section struct {
	text    string
	inputs  map[string]bool // first cells of the tables of parameters
	outputs map[string]bool // first cells of the tables of answers
}

// sections reads docs/api.md.
func sections(text string) map[string]section {
	all := map[string]section{}
	for part := range strings.SplitSeq(text, "\n## ") {
		heading, text, _ := strings.Cut(part, "\n")
		sec := section{text: text, inputs: map[string]bool{}, outputs: map[string]bool{}}
		into := map[string]bool{}
		for _, cells := range document.TableRows(text) {
			switch first := cells[0]; {
			case strings.HasPrefix(first, "parameter"):
				into = sec.inputs
			case strings.HasPrefix(first, "answer"):
				into = sec.outputs
			case !strings.HasPrefix(first, "`"): // another heading or the line below it
				if !strings.HasPrefix(first, "--") {
					into = map[string]bool{}
				}
			default:
				for _, name := range quoted.FindAllStringSubmatch(first, -1) {
					into[name[1]] = true
				}
			}
		}
		all[heading] = sec
	}
	return all
}

// documentedOperations reads the table of paths at the top of docs/api.md.
func documentedOperations(text string) map[string][]string {
	paths := map[string][]string{}
	for _, cells := range document.TableRows(text) {
		path, ok := strings.CutPrefix(cells[0], "[`")
		if !ok {
			continue
		}
		path, _, _ = strings.Cut(path, "`")
		operations, _, _ := strings.Cut(cells[1], ";")
		paths[strings.NewReplacer(":account", "{name}", ":name", "{name}").Replace(path)] = strings.Split(operations, ", ")
	}
	return paths
}

// TestTheAPIReferenceSaysWhatTheOpenAPIDocumentSays compares the paths, operations, parameters and answers in docs/api.md with
// those of the running plugin, in both directions.
func TestTheAPIReferenceSaysWhatTheOpenAPIDocumentSays(t *testing.T) {
	t.Parallel()
	f := fixture.NewAt(t, fixture.NewVault(t, 1), "pagero", fixture.LoginConfig())
	d := openapi.Read(f, "")
	paths := d.Below("/pagero/")
	text := document.Read(t, "docs/api.md")
	documented, all := documentedOperations(text), sections(text)
	for path := range documented {
		if _, ok := paths[path]; !ok {
			t.Errorf("docs/api.md has the path %s, the plugin has not", path)
		}
	}
	compared := 0
	for path, item := range paths {
		operations := item.Operations()
		names := slices.Sorted(maps.Keys(operations))
		if got := slices.Sorted(slices.Values(documented[path])); !slices.Equal(got, names) {
			t.Errorf("docs/api.md has for %s the operations %q, the plugin has %q", path, got, names)
		}
		heading := path
		for _, name := range []string{":account", ":name"} {
			if h := strings.ReplaceAll(path, "{name}", name); all[h].text != "" {
				heading = h
			}
		}
		if operations["list"] != nil {
			heading = "Lists"
		}
		sec, ok := all[heading]
		if !ok {
			t.Errorf("docs/api.md has no section for %s", path)
			continue
		}
		inputs, outputs := map[string]bool{}, map[string]bool{}
		for _, o := range operations {
			for field := range d.Inputs(o) {
				inputs[field] = true
			}
			for field := range d.Outputs(o) {
				outputs[field] = true
			}
		}
		compared += len(inputs) + len(outputs)
		if !maps.Equal(inputs, sec.inputs) {
			t.Errorf("docs/api.md has for %s the parameters %q, the plugin has %q",
				path, slices.Sorted(maps.Keys(sec.inputs)), slices.Sorted(maps.Keys(inputs)))
		}
		for field := range sec.outputs {
			if !outputs[field] {
				t.Errorf("docs/api.md has for %s the answer %s, the plugin has not", path, field)
			}
		}
		for field := range outputs {
			// A field that a read returns as it was written is documented once.
			known := sec.outputs[field] || sec.inputs[field] || strings.Contains(sec.text, "returns `"+field+"`")
			if strings.Contains(sec.text, "The answer is that of `accounts/:name`") {
				known = all["accounts/:name"].outputs[field]
			}
			if !known {
				t.Errorf("docs/api.md does not say that %s answers with %s", path, field)
			}
		}
	}
	if compared < 60 {
		t.Errorf("only %d fields were compared", compared)
	}
}
