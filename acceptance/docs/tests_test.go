package docs

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

var (
	namedTest   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)(…?)`")
	definedTest = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// Documents name the tests that show their claims. If a test is renamed, the documents must follow.
func TestTheTestsThatTheDocsNameExist(t *testing.T) {
	t.Parallel()
	root, err := harness.RepoRoot()
	fixture.Must(t, err)
	var defined strings.Builder // one name on each line
	named := map[string]string{}
	fixture.Must(t, fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
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
		content := document.Read(t, path)
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
