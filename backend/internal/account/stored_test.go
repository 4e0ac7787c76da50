package account

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

var update = flag.Bool("update", false, "write the golden file of the current stored form anew")

// Entries that an older release wrote stay readable: there is one golden file for
// each version of the stored form, and it never changes once it is released.
func TestGoldenFiles(t *testing.T) {
	if *update {
		writeGolden(t, goldenFile(storedVersion))
	}
	checkGolden(t, goldenFile, storedVersion, reflect.TypeFor[stored](), func(b []byte) ([]byte, error) {
		a, err := Decode(b)
		if err != nil {
			return nil, err
		}
		return Encode(a), nil
	})
}

func goldenFile(version int) string { return fmt.Sprintf("testdata/account-v%d.json", version) }

// checkGolden checks the golden files of a stored form: each version up to the
// current one has a file; reading and writing an older entry keeps all of it;
// reading and writing a current entry changes nothing; and each field of the form
// occurs in the current entry. It knows nothing of accounts.
func checkGolden(t *testing.T, file func(version int) string, current int, form reflect.Type, rewrite func([]byte) ([]byte, error)) {
	t.Helper()
	for version := 1; version <= current; version++ {
		b, err := os.ReadFile(file(version))
		if err != nil {
			t.Errorf("version %d has no golden file: %v", version, err)
			continue
		}
		rewritten, err := rewrite(b)
		if err != nil {
			t.Errorf("%s cannot be read any more: %v", file(version), err)
			continue
		}
		want, got := leaves(t, b), leaves(t, rewritten)
		if want["version"] != fmt.Sprint(version) || got["version"] != fmt.Sprint(current) {
			t.Errorf("%s has version %s and is written again as version %s", file(version), want["version"], got["version"])
		}
		for path, value := range want {
			if path != "version" && got[path] != value {
				t.Errorf("%s: %s was %s, and is %q once it is written again", file(version), path, value, got[path])
			}
		}
		if version < current {
			continue
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, b); err != nil || !bytes.Equal(compact.Bytes(), rewritten) {
			t.Errorf("%s is written again as\n%s", file(version), rewritten)
		}
		for _, path := range paths(form, "") {
			if !slices.ContainsFunc(sortedKeys(want), func(p string) bool { return withoutIndexes(p) == path }) {
				t.Errorf("%s lacks the field %s: a new field needs a new version of the stored form and a golden file of its own, "+
					"unless nothing has been released yet (then: go test -update)", file(version), path)
			}
		}
	}
	if _, err := os.Stat(file(current + 1)); err == nil {
		t.Errorf("there is a golden file of version %d, and the current version is %d", current+1, current)
	}
}

// leaves returns the values of a JSON text by their paths.
func leaves(t *testing.T, b []byte) map[string]string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, member := range v {
				walk(strings.TrimPrefix(path+"."+name, "."), member)
			}
		case []any:
			for i, element := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), element)
			}
		default:
			found[path] = fmt.Sprint(v)
		}
	}
	walk("", value)
	return found
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// withoutIndexes turns "grants[0].death" into "grants[].death".
func withoutIndexes(path string) string {
	parts := strings.Split(path, "[")
	for i := range parts[1:] {
		_, rest, _ := strings.Cut(parts[i+1], "]")
		parts[i+1] = "]" + rest
	}
	return strings.Join(parts, "[")
}

// paths returns the paths of the leaves of a stored form, as encoding/json names
// them.
func paths(form reflect.Type, prefix string) []string {
	switch {
	case form.Kind() == reflect.Pointer:
		return paths(form.Elem(), prefix)
	case form.Kind() == reflect.Slice:
		return paths(form.Elem(), prefix+"[]")
	case form.Kind() != reflect.Struct || form == reflect.TypeFor[time.Time]():
		return []string{prefix}
	}
	var found []string
	for _, field := range reflect.VisibleFields(form) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if len(field.Index) > 1 || name == "-" {
			continue // a field of an embedded struct, which is walked on its own
		}
		path := strings.TrimPrefix(prefix+"."+name, ".")
		if field.Anonymous && name == "" {
			path = prefix
		}
		found = append(found, paths(field.Type, path)...)
	}
	return found
}

// writeGolden writes a golden file in which each field of the stored form has a
// value of its own.
func writeGolden(t *testing.T, file string) {
	t.Helper()
	var s stored
	n := 0
	fill(reflect.ValueOf(&s).Elem(), "account", &n)
	s.Version = storedVersion
	b, err := json.MarshalIndent(&s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fill gives each field of v a value that is not its zero value. Slices get two
// elements.
func fill(v reflect.Value, name string, n *int) {
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = noon.Add(time.Duration(*n) * time.Second)
		return
	case *FailureKind:
		*x = FailedClient
		return
	case *oauth.ErrorCode:
		*x = oauth.CodeInvalidGrant
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), fmt.Sprintf("%s %d", name, i+1), n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			// The fields of an embedded struct can be set, even if its type is not exported.
			fill(reflect.NewAt(v.Field(i).Type(), v.Field(i).Addr().UnsafePointer()).Elem(), v.Type().Field(i).Name, n)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.String:
		v.SetString(fmt.Sprintf("%s, value %d", name, *n))
	default:
		panic("fill: add the kind " + v.Kind().String())
	}
}

// The golden file holds every field of the stored form. So every field of an
// account comes from it, except Unsaved.
func TestEveryFieldOfAnAccountIsStored(t *testing.T) {
	b, err := os.ReadFile(goldenFile(storedVersion))
	if err != nil {
		t.Fatal(err)
	}
	a, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		if v.IsZero() && path != "Account.Unsaved" {
			t.Errorf("%s is not stored", path)
			return
		}
		switch {
		case v.Kind() == reflect.Pointer:
			walk(path, v.Elem())
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
			}
		case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
		}
	}
	walk("Account", reflect.ValueOf(*a))
}

func TestStoredFormKeepsEverythingButUnsaved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAccount(t)
		b, err := Decode(Encode(&a))
		if err != nil {
			t.Fatal(err)
		}
		if b.Unsaved {
			t.Fatal("Unsaved was stored")
		}
		want := a
		want.Unsaved = false
		if !reflect.DeepEqual(*b, want) {
			t.Fatalf("read as\n%s\nwant\n%s", Encode(b), Encode(&a))
		}
		if a.State() != b.State() || a.SpareState() != b.SpareState() || a.InUse() != b.InUse() {
			t.Fatal("an account that was read again is not the same")
		}
	})
}

func TestClaimsThatAreEmptyAreNotClaimsThatAreMissing(t *testing.T) {
	for _, has := range []bool{false, true} {
		a := living(0)
		a.Access.HasClaims = has
		b, err := Decode(Encode(&a))
		if err != nil || b.Access.HasClaims != has {
			t.Errorf("%t was read as %+v (%v)", has, b.Access, err)
		}
	}
}

func TestEntriesThatCannotBeReadAreRefused(t *testing.T) {
	for entry, want := range map[string]string{
		fmt.Sprintf(`{"version":%d,"grants":[{"refresh_token":"rt"}]}`, storedVersion+1): fmt.Sprintf("has version %d, and this plugin reads up to %d; it was left as it is; register the newer plugin again", storedVersion+1, storedVersion),

		``:                                  "not readable",
		`{}`:                                "not readable",
		`[]`:                                "not readable",
		`{"version":0,"grants":[{}]}`:       "not readable",
		`{"version":-1,"grants":[{}]}`:      "not readable",
		`{"version":1,"client":7}`:          "not readable",
		`{"version":1,"grants":"rt-secret"`: "not readable",
		`{"version":1,"client":"default"}`:  "not readable", // no grant
		`{"version":1,"grants":[]}`:         "not readable",
		`{"version":1,"grants":null}`:       "not readable",
	} {
		a, err := Decode([]byte(entry))
		if a != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", entry, a, err, want)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the entry: %v", entry, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	golden, err := os.ReadFile(goldenFile(storedVersion))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"grants":[{"intent":{},"failure":{}},{"death":{}}],"access":{},"credentials":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Decode(b)
		if err != nil {
			if len(b) > 8 && strings.Contains(err.Error(), string(b)) {
				t.Fatalf("the error shows the entry: %v", err)
			}
			return
		}
		again, err := Decode(Encode(a))
		if err != nil || !bytes.Equal(Encode(a), Encode(again)) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		c := Conditions{Now: noon, Process: "me"}
		d := Decide(a, c, ReadRequest{})
		if d.Hold.Reason != NotHeld {
			_ = HoldError("acme", a, d.Hold, noon)
		}
		_ = OutcomeError("acme", a, noon)
		_, _ = a.Attention("acme", noon)
		a.NextTask(c, time.Hour)
		a.exchange(a.InUse(), rejected(oauth.CodeInvalidGrant))
	})
}
