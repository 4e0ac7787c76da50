package mutate

import (
	"context"
	"fmt"
	"go/ast"
	"go/build"
	"go/format"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// Code is the source of packages that mutations change. It is not changed itself.
type Code struct {
	packages  [][]string          // the paths of the files of each package
	source    map[string][]byte   // of a file, by its path
	functions map[string][]string // the files that have a function, by its name
	imports   types.Importer
}

// Read reads the packages in these directories, without their tests. It runs the go
// command, to find what they import.
func Read(ctx context.Context, dirs ...string) (*Code, error) {
	c := &Code{source: map[string][]byte{}, functions: map[string][]string{}}
	for _, dir := range dirs {
		if err := c.read(dir); err != nil {
			return nil, err
		}
	}
	var err error
	c.imports, err = importsOf(ctx, dirs)
	return c, err
}

func (c *Code) read(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	p, err := build.ImportDir(dir, 0)
	if err != nil {
		return err
	}
	var paths []string
	for _, name := range p.GoFiles {
		path := filepath.Join(dir, name)
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parse(token.NewFileSet(), path, source)
		if err != nil {
			return err
		}
		for _, f := range functions(file) {
			c.functions[fullName(f)] = append(c.functions[fullName(f)], path)
		}
		c.source[path] = source
		paths = append(paths, path)
	}
	c.packages = append(c.packages, paths)
	return nil
}

// parse leaves the comments out. They have positions of their own, and in changed code the
// printer would put them in the wrong places.
func parse(fset *token.FileSet, path string, source []byte) (*ast.File, error) {
	return parser.ParseFile(fset, path, source, parser.SkipObjectResolution)
}

func functions(file *ast.File) []*ast.FuncDecl {
	var found []*ast.FuncDecl
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			found = append(found, f)
		}
	}
	return found
}

// fullName returns the name of a function. For a method it begins with the receiver's type.
func fullName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.ParenExpr:
			receiver = r.X
		case *ast.IndexExpr: // of a generic type
			receiver = r.X
		case *ast.IndexListExpr:
			receiver = r.X
		default:
			return r.(*ast.Ident).Name + "." + f.Name.Name
		}
	}
}

// Mutate returns the changed files, by their paths. It fails if a function or a pattern is
// not found exactly once, and if an edit changes nothing.
func (c *Code) Mutate(m Mutation) (map[string][]byte, error) {
	fset := token.NewFileSet()
	files := map[string]*ast.File{}
	for _, p := range m {
		paths := c.functions[p.function]
		if len(paths) != 1 {
			return nil, fmt.Errorf("there are %d functions %s: %s", len(paths), p.function, strings.Join(paths, ", "))
		}
		path := paths[0]
		if files[path] == nil {
			file, err := parse(fset, path, c.source[path])
			if err != nil {
				return nil, err
			}
			files[path] = file
		}
		if err := p.change(files[path], fset); err != nil {
			return nil, err
		}
	}
	changed := map[string][]byte{}
	for path, file := range files {
		text, err := printed(fset, file)
		if err != nil {
			return nil, err
		}
		changed[path] = []byte(text)
	}
	return changed, nil
}

// change applies the edits to the function, which is in this file.
func (p place) change(file *ast.File, fset *token.FileSet) error {
	i := slices.IndexFunc(functions(file), func(f *ast.FuncDecl) bool { return fullName(f) == p.function })
	function := functions(file)[i]
	for _, e := range p.edits {
		before, err := printed(fset, function)
		if err != nil {
			return err
		}
		if err := e.apply(function.Body, fset); err != nil {
			return fmt.Errorf("%s: %w", p.function, err)
		}
		after, err := printed(fset, function)
		if err != nil {
			return fmt.Errorf("%s: %w", p.function, err)
		}
		if after == before {
			return fmt.Errorf("%s: nothing has changed: %s", p.function, e.pattern)
		}
	}
	return nil
}

func printed(fset *token.FileSet, node any) (string, error) {
	var text strings.Builder
	err := format.Node(&text, fset, node)
	return text.String(), err
}

// Check fails if the changed files would not compile. It only checks types, which is much
// faster than the compiler. Other packages are not checked, because they cannot break: only
// the bodies of functions change.
func (c *Code) Check(changed map[string][]byte) error {
	for _, paths := range c.packages {
		if !slices.ContainsFunc(paths, func(path string) bool { return changed[path] != nil }) {
			continue
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, path := range paths {
			source := c.source[path]
			if changed[path] != nil {
				source = changed[path]
			}
			file, err := parse(fset, path, source)
			if err != nil {
				return err
			}
			files = append(files, file)
		}
		config := types.Config{Importer: c.imports}
		if _, err := config.Check(files[0].Name.Name, fset, files, nil); err != nil {
			return err
		}
	}
	return nil
}

// importsOf returns an importer for what the packages in these directories import. It reads
// what the compiler has left in the build cache.
func importsOf(ctx context.Context, dirs []string) (types.Importer, error) {
	arguments := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"}
	if withRaceDetector() { // without the flag, the go command might have to compile all imports again
		arguments = append(arguments, "-race")
	}
	for _, dir := range dirs {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		arguments = append(arguments, dir)
	}
	var stderr strings.Builder
	list := exec.CommandContext(ctx, "go", arguments...)
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, export, _ := strings.Cut(strings.TrimSpace(line), "\t")
		exports[path] = export
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	}), nil
}

// withRaceDetector reports whether this test was built with the race detector.
func withRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
