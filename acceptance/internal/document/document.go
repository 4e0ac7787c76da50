// Package document reads the documents of this repository.
package document

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// CommandsBelow returns the first block of commands below a line of a document: the lines that are indented by four
// spaces, if they come before the next heading.
func CommandsBelow(document, line string) string {
	_, below, _ := strings.Cut(document, strings.TrimSuffix(line, "\n")+"\n")
	var commands strings.Builder
	for line := range strings.Lines(below) {
		command, found := strings.CutPrefix(line, "    ")
		switch {
		case found:
			commands.WriteString(command)
		case commands.Len() > 0 || strings.HasPrefix(line, "## "):
			return commands.String()
		}
	}
	return commands.String()
}

// Read returns the content of a file of the repository.
func Read(t *testing.T, path string) string {
	t.Helper()
	root, err := harness.RepoRoot()
	fixture.Must(t, err)
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	fixture.Must(t, err)
	return string(content)
}

// TableRows returns the rows of all Markdown tables in a text, including their headings.
func TableRows(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}
