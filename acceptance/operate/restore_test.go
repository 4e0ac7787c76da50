package operate

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/document"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// steps returns the blocks of commands in the numbered list below a heading of docs/operations.md.
func steps(t *testing.T, heading string) []string {
	t.Helper()
	_, section, _ := strings.Cut(document.Read(t, "docs/operations.md"), "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	inside := false
	for line := range strings.Lines(section) {
		command, found := strings.CutPrefix(line, "       ")
		switch {
		case found && inside:
			blocks[len(blocks)-1] += command
		case found:
			blocks = append(blocks, command)
		}
		inside = found
	}
	return blocks
}

// restorer runs the steps of "Restoring a snapshot" in docs/operations.md, as they are printed.
type restorer struct {
	*fixture.Fixture
	forbid, look, restore, enrol, open string
}

// newRestorer enrols three accounts: acme, spared, which has a spare, and idle.
func newRestorer(t *testing.T) *restorer {
	t.Helper()
	f := fixture.NewAt(t, fixture.NewVault(t, 1), "pagero", sandbox.Config{})
	f.Enrol()
	f.Write("accounts/spared", fixture.Fields{"refresh_token": f.Login("bob"), "spare_refresh_token": f.Login("bob")})
	f.Write("accounts/idle", fixture.Fields{"refresh_token": f.Login("carol")})
	for _, account := range []string{"acme", "spared", "idle"} {
		f.AccessToken(account)
	}
	blocks := steps(t, "## Restoring a snapshot")
	if len(blocks) != 5 {
		t.Fatalf("the steps of the restore are %q", blocks)
	}
	return &restorer{f, blocks[0], blocks[1], blocks[2], blocks[3], blocks[4]}
}

// shell runs commands in the cluster's directory and returns their output.
func (r *restorer) shell(commands string) string {
	r.T.Helper()
	result, err := r.Node.Shell(r.Ctx, r.Token, "", commands)
	fixture.Must(r.T, err)
	if result.Code != 0 {
		r.T.Fatalf("exit code %d\n%s%s%s", result.Code, commands, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

// restored restores a snapshot, and repeats the step that forbids exchanges until it succeeds.
func (r *restorer) restored(snapshot string) {
	r.T.Helper()
	first, rest, _ := strings.Cut(strings.ReplaceAll(r.restore, "old.snap", snapshot), "\n")
	r.shell(first)
	fixture.Must(r.T, harness.Until(r.Ctx, "the restored Vault", func(ctx context.Context) (bool, error) {
		result, err := r.Node.Shell(ctx, r.Token, "", rest)
		return err == nil && result.Code == 0 && strings.HasSuffix(strings.TrimSpace(result.Stdout), "[restore.invalid]"), err
	}))
}

// opened allows exchanges again, and refreshes an account.
func (r *restorer) opened() {
	r.T.Helper()
	r.shell(strings.ReplaceAll(r.open, "*.pageroonline.com", fixture.AllowedHosts))
}

func TestTheDocumentedRestorePresentsNoOldToken(t *testing.T) {
	t.Parallel()
	r := newRestorer(t)
	r.shell("vault operator raft snapshot save old.snap")
	for _, account := range []string{"acme", "spared"} {
		r.Write("refresh/"+account, nil)
	}
	if noted := r.shell(r.forbid); !strings.HasPrefix(noted, "["+strings.ReplaceAll(fixture.AllowedHosts, ",", " ")+"]") {
		t.Errorf("the step that notes allowed_hosts prints %q", noted)
	}
	r.shell(r.look)
	before := r.Exchanges()

	r.restored("old.snap")
	for _, account := range []string{"acme", "spared", "idle"} {
		r.Do(http.MethodPost, "refresh/"+account, nil).WantError(http.StatusBadRequest, "is not one of the allowed_hosts any more; nothing was sent")
	}
	loop, _, _ := strings.Cut(r.look, "vault operator")
	r.shell(strings.ReplaceAll(loop, "before.tsv", "after.tsv"))
	changed := r.shell("diff before.tsv after.tsv || true")
	if !strings.Contains(changed, "acme\t") || !strings.Contains(changed, "spared\t") || strings.Contains(changed, "idle\t") {
		t.Errorf("the comparison shows\n%s", changed)
	}

	// Undo the restore.
	r.restored("before-restore.snap")
	r.opened()
	for _, account := range []string{"spared", "idle"} {
		if state := r.Write("refresh/"+account, nil).Text("state"); state != "ready" {
			t.Errorf("%s is %s after the restore was undone", account, state)
		}
	}
	if got := r.Exchanges(); got != before+3 || r.Sandbox.Stats().Replays != 0 {
		t.Errorf("%d exchanges, want %d; %d replays", got, before+3, r.Sandbox.Stats().Replays)
	}

	// Keep the restore: acme gets a new login, spared uses its spare, and idle needs a login, which nobody noticed.
	r.restored("old.snap")
	fixture.Must(t, os.WriteFile(filepath.Join(r.Cluster.Dir, "refresh-token.txt"), []byte(r.Login(sandbox.DefaultUsername)), 0o600))
	r.shell(r.enrol)
	r.opened()
	if answer := r.Write("refresh/spared", nil); answer.Text("state") != "ready" || answer.Text("spare") != "used" {
		t.Errorf("spared is %s", answer.Raw)
	}
	r.Do(http.MethodPost, "refresh/idle", nil).WantError(http.StatusBadRequest, "reauthorization required")
}
