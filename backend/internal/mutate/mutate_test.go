package mutate

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// edited returns the body of a function after an edit, in one line without semicolons.
func edited(t *testing.T, body string, e Edit) (string, error) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parse(fset, "f.go", []byte("package p\n\nfunc f() {\n"+body+"\n}"))
	if err != nil {
		t.Fatal(err)
	}
	f := file.Decls[0].(*ast.FuncDecl)
	if err := e.apply(f.Body, fset); err != nil {
		return "", err
	}
	text, err := printed(fset, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(token.NewFileSet(), "", []byte("package p\n"+text)); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "func f() {"), "}")
	return strings.Join(strings.Fields(strings.ReplaceAll(text, ";", "")), " "), nil
}

func TestEdits(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		edit Edit
		want string
	}{
		"an expression":                     {"a(x.Before(y))", Replace("x.Before(y)", "false"), "a(false)"},
		"white space and comments":          {"a(x. // why\n Before( y ))", Replace("x.Before(y)", "false"), "a(false)"},
		"parentheses in the code":           {"a((x))", Replace("a(x)", "b()"), "b()"},
		"parentheses in the pattern":        {"a(x)", Replace("a((x))", "b()"), "b()"},
		"parentheses where they are needed": {"a(b || c)", Replace("a($x)", "a(!d && $x)"), "a(!d && (b || c))"},
		"a wildcard":                        {"a(f(1).g.Before(y))", Replace("$x.Before($y)", "$y.Before($x)"), "a(y.Before(f(1).g))"},
		"a wildcard twice":                  {"a(x, y); a(z, z)", Replace("a($x, $x)", "b($x)"), "a(x, y) b(z)"},
		"wildcards without a name":          {"a(x, y)", Replace("a($_, $_)", "b()"), "b()"},
		"a name behind a dot":               {"x.a.Lock(); x.b.Unlock()", Replace("$x.$mu.Unlock", "$x.$mu.Lock"), "x.a.Lock() x.b.Lock()"},
		"a list of arguments":               {"a(1, x, y)", Replace("a(1, $$others)", "b($$others, 2)"), "b(x, y, 2)"},
		"an empty list of arguments":        {"a(1)", Replace("a(1, $$others)", "b($$others)"), "b()"},
		"a list in the middle":              {"a(1, 2, 3, 4)", Replace("a(1, $$x, $y)", "b($y, $$x)"), "b(4, 2, 3)"},
		"dots count":                        {"a(x...); a(x)", Replace("a($x)", "b($x)"), "a(x...) b(x)"},
		"dots are kept":                     {"a(x)", Replace("a($x)", "b($x...)"), "b(x...)"},
		"a call of go":                      {"go a(x)", Replace("a($x)", "b($x)"), "go b(x)"},
		"an expression becomes statements":  {"a(); b(); c()", Replace("b()", "x(); y()"), "a() x() y() c()"},
		"a statement":                       {"a = 1; b = 2", Remove("b = $_"), "a = 1"},
		"a call that is a statement":        {"a(b()); b()", Remove("b()"), "a(b())"},
		"any statement":                     {"a(); b = 1; c()", Replace("a(); $s; c()", "$s"), "b = 1"},
		"statements in a row":               {"a(); b(); c(); a()", Replace("a(); b()", "x()"), "x() c() a()"},
		"a few statements":                  {"a(); b(); c(); d(); c()", Replace("a(); $$s; c()", "$$s"), "b() d() c()"},
		"the rest of a block":               {"if x { a(); b(); c() }; d()", Replace("a(); $$", "e()"), "if x { e() } d()"},
		"the beginning of a block":          {"if x { a(); b(); c() }", Replace("$$; c()", "c()"), "if x { c() }"},
		"the body of an if":                 {"if x := f(); x > 1 { a(); b() }", Replace("if $i; $_ { $$s }", "$i; $$s"), "x := f() a() b()"},
		"no more than is written":           {"if x { a() } else { b() }; if i(); x { a() }; if x { a() }", Remove("if x { $$ }"), "if x { a() } else { b() } if i() x { a() }"},
		"a function within":                 {"defer func() { a(); b() }()", Remove("a()"), "defer func() { b() }()"},
		"a clause":                          {"switch x { case 1, 2: a(); b()\ncase 3: c() }", Remove("case 1, 2: $$"), "switch x { case 3: c() }"},
		"a clause with another condition":   {"switch { case a: f() }", Replace("case $c: $$s", "case $c && !b: $$s"), "switch { case a && !b: f() }"},
		"the default":                       {"switch x { default: c() }", Replace("default: $$s", "default: b(); $$s"), "switch x { default: b() c() }"},
		"a select":                          {"select { case x <- 1: a()\ndefault: b() }", Replace("select { case $c <- $_: $$; default: $$s }", "$c.f(); $$s"), "x.f() b()"},
		"an element":                        {"a(T{A: 1, B: 2})", Remove("B: $_"), "a(T{A: 1})"},
		"the value of an element":           {"a(T{A: 1, B: 2})", Replace("B: $x", "B: -$x"), "a(T{A: 1, B: -2})"},
		"an element more":                   {"a(T{A: 1})", InsertAfter("A: $x", "B: $x"), "a(T{A: 1, B: 1})"},
		"before":                            {"a(); b()", InsertBefore("b()", "x(); y()"), "a() x() y() b()"},
		"after":                             {"a(1); b()", InsertAfter("a($x)", "if y { c($x) }"), "a(1) if y { c(1) } b()"},
		"after the last one":                {"a()", InsertAfter("a()", "return"), "a() return"},
		"all expressions":                   {"a(x); b(a(y))", All(Replace("a($x)", "c($x)")), "c(x) b(c(y))"},
		"all statements":                    {"a(); b(); a(); if x { a() }", All(Replace("a()", "c(); d()")), "c() d() b() c() d() if x { c() d() }"},
		"all, but not within each other":    {"a(a(x))", All(Replace("a($x)", "b($x)")), "b(a(x))"},
		"all removed":                       {"a(1); a(2); b(); a(3)", All(Remove("a($_)")), "b()"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := edited(t, test.body, test.edit)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestEditsThatDoNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		edit Edit
		want string
	}{
		"no match":                        {"a()", Remove("b()"), "matches 0 times"},
		"no match at all":                 {"a()", All(Remove("b()")), "matches 0 times"},
		"two matches":                     {"a()\nb()\na()", Remove("a()"), "matches 2 times, line 4, line 6: a()"},
		"an if that is an else":           {"if x { a() } else if y { b() }", Remove("if y { $$ }"), "matches 0 times"},
		"two matches within each other":   {"a(a(x))", Replace("a($_)", "b()"), "matches 2 times"},
		"a pattern that does not parse":   {"a()", Remove("if {"), "missing condition"},
		"two functions":                   {"a()", Remove("}; func g() {"), "ends the function around it"},
		"an empty pattern":                {"a()", Remove(""), "the pattern is empty"},
		"a replacement that is no code":   {"a()", Replace("a()", "if {"), "missing condition"},
		"an unknown wildcard":             {"a()", Replace("a()", "b($x)"), "the pattern has no $x"},
		"an unknown list":                 {"a()", Replace("a()", "b($$x)"), "the pattern has no $$x"},
		"a wildcard without a name":       {"a(1)", Replace("a($_)", "b($_)"), "the pattern has no $_"},
		"a list of another kind":          {"a(1)", Replace("a($$x)", "$$x; b()"), "is needed"},
		"a call behind a dot":             {"a(f())", Replace("a($x)", "b.$x"), "is needed"},
		"an element becomes a statement":  {"a(T{A: 1})", Replace("A: 1", "b(); c()"), "must be an element of a composite literal"},
		"a statement as an expression":    {"a = 1; b()", Replace("$s; b()", "c($s)"), "is needed"},
		"a different operator":            {"a := 1", Remove("a = 1"), "matches 0 times"},
		"a different literal":             {"a(1)", Remove("a(2)"), "matches 0 times"},
		"a different number of arguments": {"a(1)", Remove("a(1, 2)"), "matches 0 times"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := edited(t, test.body, test.edit)
			if err == nil {
				t.Fatalf("no error, but %s", got)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want %q", err, test.want)
			}
		})
	}
}

// module makes a module of two packages, and makes its directory the current one.
func module(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for path, text := range map[string]string{
		"go.mod":        "module example.com/m\n\ngo 1.25\n",
		"one/a.go":      "package one\n\nimport \"strings\"\n\ntype T struct{}\n\nfunc (t *T) F() string { return strings.ToUpper(\"a\") }\n\nfunc Same() {}\n",
		"one/b.go":      "package one\n\ntype G[K comparable] struct{}\n\nfunc (G[K]) F() int {\n\tn := 1\n\treturn n\n}\n",
		"one/a_test.go": "package one\n\nfunc Tested() {}\n",
		"two/a.go":      "package two\n\nimport \"example.com/m/one\"\n\nfunc F() string { return new(one.T).F() }\n\nfunc Same() {}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCode(t *testing.T) {
	module(t)
	code, err := Read(t.Context(), "one", "two")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		mutation Mutation
		files    []string // that change
		mutating string   // the error of Mutate
		checking string   // the error of Check
	}{
		"a function":                       {mutation: In("F", Replace("$_.F()", `""+one.T{}.F()`)), files: []string{"two/a.go"}, checking: "cannot call pointer method"},
		"a function that still compiles":   {mutation: In("F", Replace("$x.F()", `$x.F()+"x"`)), files: []string{"two/a.go"}},
		"a method":                         {mutation: In("T.F", Replace(`"a"`, `"b"`)), files: []string{"one/a.go"}},
		"a method of a generic type":       {mutation: In("G.F", Replace("n := 1", "n := 2")), files: []string{"one/b.go"}},
		"several edits":                    {mutation: In("G.F", Remove("n := 1"), Replace("return n", "return 2")), files: []string{"one/b.go"}},
		"several functions":                {mutation: Together(In("T.F", Replace(`"a"`, `"b"`)), In("G.F", Replace("1", "2"))), files: []string{"one/a.go", "one/b.go"}},
		"an unused variable":               {mutation: In("G.F", Replace("return n", "return 1")), files: []string{"one/b.go"}, checking: "declared and not used"},
		"an unused import":                 {mutation: In("T.F", Replace("strings.ToUpper($x)", "$x")), files: []string{"one/a.go"}, checking: "imported and not used"},
		"a missing return":                 {mutation: In("G.F", Replace("return n", "_ = n")), files: []string{"one/b.go"}, checking: "missing return"},
		"an unknown function":              {mutation: In("H", Remove("a()")), mutating: "there are 0 functions H"},
		"a function of a test":             {mutation: In("Tested", Remove("a()")), mutating: "there are 0 functions Tested"},
		"a function of two packages":       {mutation: In("Same", Remove("a()")), mutating: "there are 2 functions Same"},
		"an edit that changes nothing":     {mutation: In("T.F", Replace(`"a"`, `"a"`)), mutating: "T.F: nothing has changed"},
		"an error that names the function": {mutation: In("T.F", Remove("a()")), mutating: "T.F: the pattern matches 0 times"},
	} {
		t.Run(name, func(t *testing.T) {
			changed, err := code.Mutate(test.mutation)
			wantError(t, err, test.mutating)
			if err != nil {
				return
			}
			var files []string
			for _, path := range slices.Sorted(maps.Keys(changed)) {
				files = append(files, filepath.ToSlash(filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))))
			}
			if !slices.Equal(files, test.files) {
				t.Errorf("changed %v, want %v", files, test.files)
			}
			wantError(t, code.Check(changed), test.checking)
		})
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want != "":
		t.Fatalf("no error, want %q", want)
	case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
		t.Fatalf("got error %q, want %q", err, want)
	}
}
