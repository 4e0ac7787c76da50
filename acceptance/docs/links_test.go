package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

var (
	mdLink     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading  = regexp.MustCompile("(?m)^#+ (.+)$")
	mdFence    = regexp.MustCompile("(?ms)^```.*?^```$")
	notInSlugs = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	makeTarget = regexp.MustCompile("(?m)(?:^    |`)make (?:-s )?([a-z][a-z-]*)")
	ownFile    = regexp.MustCompile(`(?:^|[\s(\x60])((?:acceptance|backend|cmd|containers|docs|examples|sandbox|scripts)/[\w./-]*\w)([<*…]?)`)
)

// documents returns the content of every Markdown file of the repository by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	root, err := harness.RepoRoot()
	fixture.Must(t, err)
	all := map[string]string{}
	fixture.Must(t, fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "dist" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ".md") {
			all[name] = document.Read(t, name)
		}
		return nil
	}))
	return all
}

// anchorsOf returns the anchors that GitHub gives to the headings of a document.
func anchorsOf(text string) []string {
	var anchors []string
	for _, heading := range mdHeading.FindAllStringSubmatch(mdFence.ReplaceAllString(text, ""), -1) {
		text := mdLink.ReplaceAllString(heading[1], "]")
		anchor := strings.ReplaceAll(notInSlugs.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		before := anchor
		for n := 1; slices.Contains(anchors, anchor); n++ {
			anchor = fmt.Sprintf("%s-%d", before, n)
		}
		anchors = append(anchors, anchor)
	}
	return anchors
}

func TestTheLinksOfTheDocsLeadSomewhere(t *testing.T) {
	t.Parallel()
	all, root := documents(t), repoRoot(t)
	followed := 0
	for name, text := range all {
		for _, link := range mdLink.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			followed++
			file, anchor, anchored := strings.Cut(link[1], "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if _, err := fs.Stat(root, target); err != nil {
				t.Errorf("%s: %s leads nowhere: %v", name, link[1], err)
			} else if anchored && !slices.Contains(anchorsOf(all[target]), anchor) {
				t.Errorf("%s: %s has no such heading", name, link[1])
			}
		}
	}
	if followed < 80 {
		t.Errorf("only %d links were followed", followed)
	}
}

// made are files that tests create.
var made = []string{"acceptance/screenshots"}

func TestTheCommandsAndFilesThatTheDocsNameExist(t *testing.T) {
	t.Parallel()
	root, makefile := repoRoot(t), document.Read(t, "Makefile")
	targets, files := 0, 0
	for name, text := range documents(t) {
		for _, target := range makeTarget.FindAllStringSubmatch(text, -1) {
			targets++
			if !strings.Contains(makefile, "\n"+target[1]+":") {
				t.Errorf("%s names make %s, which the Makefile does not have", name, target[1])
			}
		}
		for _, file := range ownFile.FindAllStringSubmatch(text, -1) {
			files++
			if _, err := fs.Stat(root, file[1]); err != nil && file[2] == "" && !slices.Contains(made, file[1]) {
				t.Errorf("%s names %s: %v", name, file[1], err)
			}
		}
	}
	if targets < 20 || files < 80 {
		t.Errorf("only %d targets and %d files were found", targets, files)
	}
}

func repoRoot(t *testing.T) fs.FS {
	t.Helper()
	root, err := harness.RepoRoot()
	fixture.Must(t, err)
	return os.DirFS(root)
}
