package docs

import (
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/openapi"
)

// Every path of the running plugin has a help text that explains every field.
func TestPathHelpReadsWell(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	d := openapi.Read(f, "")
	paths := d.Below("/" + f.Mount + "/")
	if len(paths) < 11 {
		t.Fatalf("the mount has %d paths", len(paths))
	}
	for path, item := range paths {
		path = strings.ReplaceAll(path, "{name}", "acme")
		help := f.CLIOutput("path-help", "MOUNT/"+path)
		parts := []string{"## DESCRIPTION", item.Description}
		for _, o := range item.Operations() {
			for field, about := range d.Inputs(o) {
				parts = append(parts, field+" (", about.Description)
			}
		}
		said := strings.Join(strings.Fields(help), " ") // without line breaks
		for _, part := range parts {
			if part == "" || !strings.Contains(said, part) {
				t.Errorf("the help of %s does not mention %q:\n%s", path, part, help)
			}
		}
		for _, bad := range []string{"<no value>", "%!", "TODO", "No help", "\t\t\t"} {
			if strings.Contains(help, bad) {
				t.Errorf("the help of %s contains %q:\n%s", path, bad, help)
			}
		}
	}
	if help := f.CLIOutput("path-help", "MOUNT"); !strings.Contains(help, "token/<account>") {
		t.Errorf("the help of the mount is\n%s", help)
	}
}
