// Package entrytest holds the stored forms of package entry against golden files:
// one for each version of each kind of entry, testdata/<kind>-v<version>.json. A file
// never changes once its version has been released.
package entrytest

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Kind is a kind of entry.
type Kind struct {
	Name   string // the first part of the files' names
	Newest int    // the newest version; versions 1 to Newest have files
	Form   any    // the stored form of the newest version: a struct, or a pointer to one
	// Recode decodes an entry of any version into the type that the code works with,
	// and encodes the result in the newest version.
	Recode func(value []byte) ([]byte, error)
	// Renamed are the fields of older versions whose values are elsewhere, or nowhere,
	// in the newest: "grant.rest", or "grants[].rest" in a list. A name stands for all
	// that is below it as well.
	Renamed []string
	// Dir is the directory of the files; "" is testdata.
	Dir string
}

// Golden checks that:
//
//   - the entries of all versions are readable, and nothing in them is lost on the way
//     to the newest version, Renamed excepted;
//   - the file of the newest version has a value, not zero, for every field of Form,
//     so that a field cannot be added to the stored form by accident;
//   - the entry of the newest version is written as it was read.
func Golden(t *testing.T, k Kind) {
	t.Helper()
	for _, problem := range k.check() {
		t.Error(problem)
	}
}

// problems is a list of texts.
type problems []string

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

func (k Kind) check() problems {
	if k.Dir == "" {
		k.Dir = "testdata"
	}
	var p problems
	files, err := filepath.Glob(filepath.Join(k.Dir, k.Name+"-v*.json"))
	if err != nil || len(files) != k.Newest {
		p.addf("%s: there are %d golden files for %d versions", k.Name, len(files), k.Newest)
	}
	for version := 1; version <= k.Newest; version++ {
		file := filepath.Join(k.Dir, fmt.Sprintf("%s-v%d.json", k.Name, version))
		for _, problem := range k.checkFile(file, version) {
			p.addf("%s: %s", file, problem)
		}
	}
	return p
}

// checkFile checks the file of one version.
func (k Kind) checkFile(file string, version int) (p problems) {
	value, err := os.ReadFile(file)
	if err != nil {
		p.addf("%v", err)
		return p
	}
	old, err := parse(value)
	if err != nil {
		p.addf("it is not a JSON object: %v", err)
		return p
	}
	if got := old["version"]; fmt.Sprint(got) != fmt.Sprint(version) {
		p.addf("its version is %v", got)
		return p
	}
	recoded, err := k.Recode(value)
	if err != nil {
		p.addf("it cannot be read: %v", err)
		return p
	}
	written, err := parse(recoded)
	switch {
	case err != nil:
		p.addf("it is written as %q, which is not a JSON object: %v", recoded, err)
	case version < k.Newest:
		k.checkNothingLost(old, written, &p)
	default:
		k.checkAllSet(old, &p)
		if !reflect.DeepEqual(old, written) {
			p.addf("it is written as %s: the stored form has changed, but a released form never changes; "+
				"give the new form a new version and a golden file", recoded)
		}
	}
	return p
}

// checkNothingLost compares an entry of an older version with its successor.
func (k Kind) checkNothingLost(old, written map[string]any, p *problems) {
	before, after := map[string]any{}, map[string]any{}
	flatten(old, "", before)
	flatten(written, "", after)
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if path == "version" || k.renamed(path) {
			continue
		}
		if got, ok := after[path]; !ok || !reflect.DeepEqual(got, before[path]) {
			p.addf("%s is lost: %v became %v", path, before[path], got)
		}
	}
}

// checkAllSet checks that an entry has a value for each field of Form.
func (k Kind) checkAllSet(written map[string]any, p *problems) {
	walk(reflect.TypeOf(k.Form), []any{written}, "", func(path string, filled bool) {
		if !filled {
			p.addf("%s has no value: a field was added to the stored form; if the version has been released, "+
				"give the form a new version and a golden file, or else add the field to the file", path)
		}
	})
}

var listIndex = regexp.MustCompile(`\[\d+\]`)

func (k Kind) renamed(path string) bool {
	path = listIndex.ReplaceAllString(path, "[]")
	return slices.ContainsFunc(k.Renamed, func(name string) bool {
		return path == name || strings.HasPrefix(path, name+".") || strings.HasPrefix(path, name+"[")
	})
}

// flatten collects the values of a JSON text by their paths.
func flatten(value any, path string, to map[string]any) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			flatten(member, join(path, name), to)
		}
	case []any:
		for i, element := range value {
			flatten(element, fmt.Sprintf("%s[%d]", path, i), to)
		}
	default:
		to[path] = value
	}
}

// walk calls visit for each field of a type that has no fields itself, with its path
// and whether one of the values has a value for it.
func walk(t reflect.Type, values []any, path string, visit func(path string, filled bool)) {
	if isLeaf(t) {
		visit(path, slices.ContainsFunc(values, isFilled))
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		walk(t.Elem(), values, path, visit)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				walk(f.Type, values, path, visit)
			case !f.IsExported() || name == "-":
			case name == "":
				walk(f.Type, members(values, f.Name), join(path, f.Name), visit)
			default:
				walk(f.Type, members(values, name), join(path, name), visit)
			}
		}
	case reflect.Slice, reflect.Array:
		walk(t.Elem(), elements(values), path+"[]", visit)
	case reflect.Map:
		walk(t.Elem(), elements(values), path+".*", visit)
	default:
		visit(path, slices.ContainsFunc(values, isFilled))
	}
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// isLeaf reports whether the JSON text of a type says nothing about its fields.
func isLeaf(t reflect.Type) bool {
	for _, marshaler := range []reflect.Type{jsonMarshaler, textMarshaler} {
		if t.Implements(marshaler) || (t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(marshaler)) {
			return true
		}
	}
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 // base64
}

// members returns the members of that name of all objects.
func members(values []any, name string) []any {
	var all []any
	for _, value := range values {
		if object, ok := value.(map[string]any); ok && object[name] != nil {
			all = append(all, object[name])
		}
	}
	return all
}

// elements returns the elements of all lists, and the values of all objects.
func elements(values []any) []any {
	var all []any
	for _, value := range values {
		switch value := value.(type) {
		case []any:
			all = append(all, value...)
		case map[string]any:
			all = append(all, slices.Collect(maps.Values(value))...)
		}
	}
	return all
}

// isFilled reports whether a JSON value is not zero. A field that is zero in the file
// could be forgotten by the code without notice.
func isFilled(value any) bool {
	switch value := value.(type) {
	case nil:
		return false
	case bool:
		return value
	case string:
		return value != ""
	case json.Number:
		return value != "0"
	case []any:
		return len(value) > 0
	case map[string]any:
		return len(value) > 0
	default:
		return true
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// parse reads a JSON object and keeps its numbers as they are written.
func parse(value []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var object map[string]any
	err := decoder.Decode(&object)
	return object, err
}
