package quickstart

import (
	"strings"
	"testing"
)

// TestMissingToolsAreNamed runs commands while a tool that they need is missing or too old.
func TestMissingToolsAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version string
		env           []string
		command, want string
	}{
		{"an old Go", "go1.19.8", nil, "make build", "is go1.19.8, which is too old: install Go 1."},
		{"no C compiler", "", []string{"CC=no-such-compiler"}, "make test-unit", "there is no C compiler (no-such-compiler)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if c.version != "" {
				m.program("go", "echo "+c.version)
			}
			m.env = append(m.env, c.env...)
			if out, code := m.run("bash", "-c", c.command); code == 0 || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d, want a failure with %q:\n%s", code, c.want, out)
			}
		})
	}
}
