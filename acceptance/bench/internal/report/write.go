package report

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// The paths of the page, the results and the plots, below docs.
const (
	pageFile  = "performance.md"
	plotDir   = "performance"
	benchFile = "bench.json"
	scaleFile = "scale.json"
)

//go:embed performance.md.tmpl
var pageText string

// page is the template of the page. It contains the explanations.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"ratio": ratio, "spread": spread, "number": number, "atLeast": atLeast, "atMost": atMost, "within": within,
	"indent": indent, "percent": percent, "percentOf": func(part float64) float64 { return 100 * part }, "exactly": exactly,
	"last": last, "growth": growth, "ratioOf": ratioOf, "sum": sum, "connections": connections, "lastIdle": lastIdle,
}).Parse(pageText))

// WriteBench saves the results of "make bench" and writes the page.
func WriteBench(b *Bench) error { return write(benchFile, b) }

// WriteScale saves the results of "make bench-scale" and writes the page.
func WriteScale(s *Scale) error { return write(scaleFile, s) }

// write saves results in a file, and writes the page with them and with the saved results of the other command.
func write(file string, measured any) error {
	root, err := harness.RepoRoot()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "docs", plotDir)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	text, err := json.MarshalIndent(measured, "", " ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, file), append(text, '\n')); err != nil {
		return err
	}
	return Page(filepath.Join(root, "docs"))
}

// Page writes the page and its plots from the saved results in the docs directory.
func Page(docs string) error {
	var (
		bench *Bench
		scale *Scale
	)
	for file, into := range map[string]any{benchFile: &bench, scaleFile: &scale} {
		text, err := os.ReadFile(filepath.Join(docs, plotDir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := plots(filepath.Join(docs, plotDir), bench, scale); err != nil {
		return err
	}
	var text strings.Builder
	if err := Text(&text, bench, scale); err != nil {
		return err
	}
	return writeFile(filepath.Join(docs, pageFile), []byte(text.String()))
}

// Text writes the page without its plots. A nil argument means that there are no such results.
func Text(w io.Writer, b *Bench, s *Scale) error {
	return page.Execute(w, map[string]any{"Bench": b, "Scale": s})
}

// Dump prints results as they are.
func Dump(w io.Writer, measured any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	return encoder.Encode(measured)
}

// writeFile writes a file that everybody may read.
func writeFile(path string, text []byte) error {
	return os.WriteFile(path, text, 0o644)
}
