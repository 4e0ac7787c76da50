package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
)

// A text that a user or an operator sees is the first argument of one of these functions, or one of these fields.
var (
	messageCalls  = []string{"invalid", "AddWarning", "Sprintf", "failed"}
	messageFields = []string{"Text", "Reason", "Message"}
	formatVerb    = regexp.MustCompile(`%\[?\d*\]?[a-z]`)
	inBackquotes  = regexp.MustCompile("`([^`]+)`")
)

// notMessages are texts in these places that only wrap other messages.
var notMessages = []string{
	"account …: …", "client …: …", "reading the client …", "account …: …; nothing was changed; begin a new login with a write to authorize/…",
}

// source is a string in the code, with "…" for each inserted value.
type source struct{ text, where string }

// literal returns the text of an expression, or "" if it has none.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return formatVerb.ReplaceAllString(text, "…")
		}
	case *ast.BinaryExpr:
		return strings.ReplaceAll(literal(e.X)+"…"+literal(e.Y), "……", "…")
	case *ast.CallExpr:
		if name := called(e); name == "Sprintf" {
			return literal(e.Args[0])
		}
	}
	return ""
}

// called returns the name of the function or method in a call.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// eachNode calls visit with each syntax node of the plugin's code, except tests, and its position.
func eachNode(t *testing.T, visit func(n ast.Node, where string)) {
	t.Helper()
	root := repoRoot(t)
	fixture.Must(t, fs.WalkDir(root, "backend", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, document.Read(t, name), parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n != nil {
				visit(n, files.Position(n.Pos()).String())
			}
			return true
		})
		return nil
	}))
}

// messages returns the texts in the code that end up in errors, warnings and last_error.
func messages(t *testing.T) []source {
	t.Helper()
	var all []source
	add := func(e ast.Expr, where string) {
		if text := literal(e); len(strings.Trim(text, "… ")) > 10 && !slices.Contains(notMessages, text) {
			all = append(all, source{text, where})
		}
	}
	eachNode(t, func(n ast.Node, where string) {
		switch n := n.(type) {
		case *ast.CallExpr:
			if slices.Contains(messageCalls, called(n)) && len(n.Args) > 0 {
				add(n.Args[0], where)
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && slices.Contains(messageFields, key.Name) {
				add(n.Value, where)
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if field, ok := left.(*ast.SelectorExpr); ok && slices.Contains(messageFields, field.Sel.Name) && i < len(n.Rhs) {
					add(n.Rhs[i], where)
				}
			}
		}
	})
	return all
}

// phrases returns the backquoted texts in one column of a document's tables.
func phrases(text string, column int) []string {
	var all []string
	for _, cells := range document.TableRows(text) {
		if column < len(cells) {
			for _, found := range inBackquotes.FindAllStringSubmatch(cells[column], -1) {
				all = append(all, strings.Trim(strings.ReplaceAll(found[1], `"…"`, "…"), "… "))
			}
		}
	}
	return all
}

// says reports whether a text contains one of the phrases.
func says(text string, phrases []string) bool {
	return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(text, phrase) })
}

func TestEveryMessageIsInTroubleshooting(t *testing.T) {
	t.Parallel()
	known := phrases(document.Read(t, "docs/troubleshooting.md"), 0)
	all := messages(t)
	if len(all) < 70 {
		t.Errorf("only %d messages were found in the code", len(all))
	}
	for _, m := range all {
		if !says(m.text, known) {
			t.Errorf("%s: docs/troubleshooting.md does not contain %q", m.where, m.text)
		}
	}
}

func TestTroubleshootingHasNoMessageThatIsGone(t *testing.T) {
	t.Parallel()
	var texts strings.Builder
	eachNode(t, func(n ast.Node, _ string) {
		if e, ok := n.(ast.Expr); ok {
			texts.WriteString(literal(e) + "\n")
		}
	})
	own, _, _ := strings.Cut(document.Read(t, "docs/troubleshooting.md"), "\n## Vault's own messages\n")
	for _, phrase := range phrases(own, 0) {
		for part := range strings.SplitSeq(phrase, "…") {
			if !strings.Contains(texts.String(), strings.Trim(part, " ")) && phrase != "last_error" {
				t.Errorf("docs/troubleshooting.md explains %q, which the code does not contain", phrase)
			}
		}
	}
}

func TestEveryLineOfTheLogIsInTheOperationsGuide(t *testing.T) {
	t.Parallel()
	known := phrases(document.Read(t, "docs/operations.md"), 1)
	lines := 0
	eachNode(t, func(n ast.Node, where string) {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 || !slices.Contains([]string{"Warn", "Error"}, called(call)) {
			return
		}
		line := literal(call.Args[0])
		if line == "" {
			return
		}
		lines++
		if !says(line, known) {
			t.Errorf("%s: docs/operations.md does not have %q", where, line)
		}
	})
	if lines < 20 {
		t.Errorf("only %d lines were found in the code", lines)
	}
}

func TestEveryMetricIsInTheAPIReference(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^pagero_[a-z_]+$`)
	_, reference, _ := strings.Cut(document.Read(t, "docs/api.md"), "\n## metrics\n")
	documented := map[string]bool{}
	for _, phrase := range phrases(reference, 0) {
		if metric, _, _ := strings.Cut(phrase, "{"); name.MatchString(metric) {
			documented[metric] = true
		}
	}
	found := map[string]bool{}
	eachNode(t, func(n ast.Node, where string) {
		text, ok := n.(*ast.BasicLit)
		if !ok || !name.MatchString(strings.Trim(text.Value, `"`)) {
			return
		}
		metric := strings.Trim(text.Value, `"`)
		found[metric] = true
		if !documented[metric] {
			t.Errorf("%s: docs/api.md does not have %s", where, metric)
		}
	})
	for metric := range documented {
		if !found[metric] {
			t.Errorf("docs/api.md has %s, which the code does not have", metric)
		}
	}
	if len(found) < 10 {
		t.Errorf("only %d metrics were found in the code", len(found))
	}
}

// Every fault of the sandbox is in its README, and a test tries it on the plugin.
func TestEveryFaultOfTheSandboxIsDocumentedAndTried(t *testing.T) {
	t.Parallel()
	actions := regexp.MustCompile(`(?m)^\t(Action\w+)\s+FaultAction = "(\w+)"$`).FindAllStringSubmatch(document.Read(t, "sandbox/fault.go"), -1)
	if len(actions) < 7 {
		t.Errorf("only %d actions were found in sandbox/fault.go", len(actions))
	}
	readme, trials := document.Read(t, "sandbox/README.md"), document.Read(t, "acceptance/faults/token_endpoint_test.go")
	for _, action := range actions {
		if !strings.Contains(readme, "`"+action[2]+"`") {
			t.Errorf("sandbox/README.md does not have the action %s", action[2])
		}
		if !strings.Contains(trials, "sandbox."+action[1]) {
			t.Errorf("acceptance/faults/token_endpoint_test.go does not try %s", action[1])
		}
	}
}
