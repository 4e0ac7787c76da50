package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// terraform runs examples/terraform with a real Terraform and its provider for Vault.
type terraform struct {
	*fixture.Fixture
	binary    string
	dir       string            // a copy of the example, with its state
	config    string            // the CLI's configuration, with the path of the provider
	variables map[string]string // of the example; Terraform reads them from the environment
}

// newTerraform copies the example and enrols nothing. The example creates the mount pagero in its own Vault.
func newTerraform(t *testing.T) *terraform {
	t.Helper()
	binary := fixture.OptionalProgram(t, harness.TerraformBinary, "REQUIRE_TERRAFORM", "the example for Terraform")
	provider := fixture.OptionalProgram(t, harness.TerraformProvider, "REQUIRE_TERRAFORM", "the example for Terraform")
	f := fixture.NewIn(t, fixture.NewVault(t, 1), sandbox.Config{Faults: true})
	f.Mount = "pagero"
	tf := &terraform{Fixture: f, binary: binary, dir: t.TempDir()}
	root, err := harness.RepoRoot()
	fixture.Must(t, err)
	fixture.Must(t, os.CopyFS(tf.dir, os.DirFS(filepath.Join(root, "examples", "terraform"))))
	tf.config = filepath.Join(t.TempDir(), "terraform.rc")
	fixture.Must(t, os.WriteFile(tf.config, fmt.Appendf(nil, "provider_installation {\n  dev_overrides {\n    \"hashicorp/vault\" = %q\n  }\n}\n",
		filepath.Dir(provider)), 0o600))

	f.FirstRefreshToken = f.Login(sandbox.DefaultUsername)
	urls := f.Client()
	delete(urls, "client_id")
	delete(urls, "client_secret")
	encoded, err := json.Marshal(urls)
	fixture.Must(t, err)
	tf.variables = map[string]string{
		"client_id": sandbox.DefaultClientID, "client_secret": sandbox.DefaultClientSecret,
		"client_urls": string(encoded), "allowed_hosts": `["*.pageroonline.com", "127.0.0.1"]`,
		"redirect_uris": `["https://vault.example.com/v1/pagero/callback"]`, "refresh_token": f.FirstRefreshToken,
	}
	return tf
}

// run runs terraform in a folder of the example and returns its output and exit code.
func (tf *terraform) run(folder string, args ...string) (string, int) {
	tf.T.Helper()
	cmd := exec.CommandContext(tf.Ctx, tf.binary, args...)
	cmd.Dir = filepath.Join(tf.dir, folder)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + tf.dir, "TMPDIR=" + tf.dir, "TF_CLI_CONFIG_FILE=" + tf.config,
		"TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1", "VAULT_ADDR=" + tf.Node.Address, "VAULT_TOKEN=" + tf.Token,
	}
	for name, value := range tf.variables {
		cmd.Env = append(cmd.Env, "TF_VAR_"+name+"="+value)
	}
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		tf.T.Fatalf("terraform %q: %v", args, err)
	}
	return string(output), cmd.ProcessState.ExitCode()
}

// must runs terraform, which must succeed, and returns its output.
func (tf *terraform) must(folder string, args ...string) string {
	tf.T.Helper()
	output, code := tf.run(folder, args...)
	if code != 0 {
		tf.T.Fatalf("terraform %q ended with %d:\n%s", args, code, output)
	}
	return output
}

// apply applies the example.
func (tf *terraform) apply() {
	tf.T.Helper()
	tf.must("", "apply", "-auto-approve", "-no-color")
}

// wantNoDrift asserts that Terraform finds nothing to do.
func (tf *terraform) wantNoDrift() {
	tf.T.Helper()
	if output, code := tf.run("", "plan", "-detailed-exitcode", "-no-color"); code != 0 {
		tf.T.Errorf("the plan is not empty (exit code %d):\n%s", code, output)
	}
}

// state returns the state file of a folder.
func (tf *terraform) state(folder string) string {
	tf.T.Helper()
	content, err := os.ReadFile(filepath.Join(tf.dir, folder, "terraform.tfstate"))
	fixture.Must(tf.T, err)
	return string(content)
}

// newest returns the refresh token that the server would accept now.
func (tf *terraform) newest(first string) string {
	tf.T.Helper()
	token, err := tf.Sandbox.CurrentRefreshToken(first)
	fixture.Must(tf.T, err)
	return token
}

// Whenever Terraform writes the account, it writes the refresh token that was issued first. The account must keep the newest
// one, even if the write changes other fields.
func TestTerraformAppliedAgainLosesNoRefreshToken(t *testing.T) {
	t.Parallel()
	tf := newTerraform(t)
	tf.apply()
	tf.wantNoDrift()
	tf.WantExchanges(0)
	token := tf.AccessToken("acme") // rotates the refresh token
	tf.WantAPIAccepts(token)
	tf.wantNoDrift()
	tf.apply()
	if tf.AccessToken("acme") != token {
		t.Error("a second apply changed the access token")
	}
	tf.WantExchanges(1)

	for i, change := range []map[string]string{
		{"min_ttl": "180"},
		{"auto_refresh": "true"},
		{"min_ttl": "60", "auto_refresh": "false"},
		{"client_id": sandbox.DefaultClientID, "redirect_uris": "[]"}, // fields of the client
	} {
		before := tf.newest(tf.FirstRefreshToken)
		maps.Copy(tf.variables, change)
		if output, code := tf.run("", "plan", "-detailed-exitcode", "-no-color"); code != 2 {
			t.Fatalf("%v: the plan changes nothing (exit code %d):\n%s", change, code, output)
		}
		tf.apply()
		tf.wantNoDrift()
		if after := tf.newest(tf.FirstRefreshToken); after != before {
			t.Errorf("%v: an apply spent a refresh token", change)
		}
		// The account still has the newest refresh token: the next exchange works.
		tf.Do(http.MethodPost, "refresh/acme", nil).WantStatus(http.StatusOK)
		tf.WantExchanges(i + 2)
		tf.WantAPIAccepts(tf.AccessToken("acme"))
	}
	account := tf.Read("accounts/acme")
	if account.Integer("min_ttl") != 60 || account.Data["auto_refresh"] != false || account.Text("state") != "ready" {
		t.Errorf("the account is %s", account.Raw)
	}

	// The token of another login replaces the grant.
	second := tf.Login("bob")
	tf.variables["refresh_token"] = second
	tf.apply()
	tf.wantNoDrift()
	tf.AccessToken("acme")
	if tf.newest(second) == second {
		t.Error("a new refresh_token was ignored")
	}
	tf.wantStateAsREADMESays(second)
}

// wantStateAsREADMESays asserts that the states contain the secrets that were written and read, and no others.
func (tf *terraform) wantStateAsREADMESays(written string) {
	tf.T.Helper()
	state := tf.state("")
	for secret, want := range map[string]bool{
		sandbox.DefaultClientSecret: true, written: true, tf.newest(written): false, tf.AccessToken("acme"): false,
	} {
		if strings.Contains(state, secret) != want {
			tf.T.Errorf("the state holds %s: %t, want %t", secret, !want, want)
		}
	}
	tf.must("read", "apply", "-auto-approve", "-no-color")
	token := tf.AccessToken("acme")
	if got := tf.must("read", "output", "-raw", "access_token"); !strings.HasSuffix(got, token) { // after warnings
		tf.T.Error("the output is another access token")
	}
	if !strings.Contains(tf.state("read"), token) {
		tf.T.Error("the state does not hold the access token that was read")
	}
}

// Without a refresh token, Terraform creates no account. It does not touch one that a login has created.
func TestTerraformLeavesOtherAccountsAlone(t *testing.T) {
	t.Parallel()
	tf := newTerraform(t)
	delete(tf.variables, "refresh_token")
	tf.apply()
	tf.Write("accounts/acme", fixture.Fields{"refresh_token": tf.FirstRefreshToken}) // as a login would
	tf.AccessToken("acme")
	tf.wantNoDrift()
	tf.apply()
	if strings.Contains(tf.state(""), tf.FirstRefreshToken) {
		t.Error("the state holds a refresh token")
	}
	// The example protects the mount from destroy.
	if output, code := tf.run("", "destroy", "-auto-approve", "-no-color"); code == 0 || !strings.Contains(output, "prevent_destroy") {
		t.Errorf("destroy ended with %d:\n%s", code, output)
	}
	tf.WantAPIAccepts(tf.AccessToken("acme"))
}

func TestTerraformAcceptsTheFiles(t *testing.T) {
	t.Parallel()
	tf := newTerraform(t)
	for _, folder := range []string{"", "read"} {
		tf.must(folder, "validate", "-no-color")
	}
	tf.must("", "fmt", "-check", "-diff", "-recursive")

	// The policy of the example reads one token.
	ctx, cancel := context.WithTimeout(tf.Ctx, time.Minute)
	defer cancel()
	tf.apply()
	rules, err := tf.Node.Client().Sys().GetPolicyWithContext(ctx, "pagero-acme-read")
	fixture.Must(t, err)
	reader := tf.WithPolicy(rules)
	reader.AccessToken("acme")
	for _, path := range []string{"accounts/acme", "clients/default", "token/other"} {
		reader.Do(http.MethodGet, path, nil).WantStatus(http.StatusForbidden)
	}
}
