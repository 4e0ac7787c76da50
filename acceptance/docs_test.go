package acceptance

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

var (
	namedTest   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)(…?)`")
	definedTest = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// Documents that name the test which shows a claim are worth nothing once it has another name.
func TestTheTestsThatTheDocsNameExist(t *testing.T) {
	t.Parallel()
	root, err := harness.RepoRoot()
	must(t, err)
	var defined strings.Builder // one name a line
	named := map[string]string{}
	must(t, fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return fs.SkipDir
		}
		isTest, isDocument := strings.HasSuffix(path, "_test.go"), strings.HasSuffix(path, ".md")
		if d.IsDir() || !isTest && !isDocument {
			return nil
		}
		content := repoFile(t, path)
		for _, found := range definedTest.FindAllStringSubmatch(content, -1) {
			if isTest {
				defined.WriteString("\n" + found[1] + "\n")
			}
		}
		for _, found := range namedTest.FindAllStringSubmatch(content, -1) {
			if isDocument {
				named[found[1]+found[2]] = path
			}
		}
		return nil
	}))
	if len(named) < 60 {
		t.Errorf("only %d tests are named", len(named))
	}
	for name, document := range named {
		line := "\n" + name + "\n"
		if beginning, ok := strings.CutSuffix(name, "…"); ok {
			line = "\n" + beginning
		}
		if !strings.Contains(defined.String(), line) {
			t.Errorf("%s names %s, which does not exist", document, name)
		}
	}
}

// commandsBelow returns the first block of commands of a document below a line: the lines that are
// indented by four spaces, if they come before the next heading.
func commandsBelow(document, line string) string {
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

// repoFile reads a file of the repository.
func repoFile(t *testing.T, path string) string {
	t.Helper()
	root, err := harness.RepoRoot()
	must(t, err)
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	must(t, err)
	return string(content)
}
