package acceptance

import (
	"strings"
	"testing"
)

// TestMissingToolsAreNamed calls make where tools are missing or too old.
func TestMissingToolsAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, variable, target, want string }{
		{"an old Go", "", "build", "is go1.19.8, which is too old: install Go 1."},
		{"no C compiler", "CC=no-such-compiler", "test-unit", "there is no C compiler (no-such-compiler)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNewcomer(t)
			if c.variable == "" {
				n.program("go", "echo go1.19.8")
			}
			n.env = append(n.env, c.variable)
			if out, code := n.run("make", c.target); code == 0 || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d, want another one than 0 and %q:\n%s", code, c.want, out)
			}
		})
	}
}
