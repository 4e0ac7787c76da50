package operators

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// tokenPath is the path that the policy allows and that every example reads.
const tokenPath = "pagero/token/acme"

func TestTheVaultSecretsOperatorsResourcesFitTogether(t *testing.T) {
	t.Parallel()
	const file, restart = "vault-secrets-operator.yaml", "vault-secrets-operator-restart.yaml"
	connection := example[*vaultConnection](t, file, "vault")
	auth := example[*vaultAuth](t, file, "pagero-reader")
	account := example[*corev1.ServiceAccount](t, "service-account.yaml", "pagero-reader")
	if auth.Spec.VaultConnectionRef != connection.Name || auth.Namespace != connection.Namespace {
		t.Errorf("the VaultAuth names the connection %s", auth.Spec.VaultConnectionRef)
	}
	if auth.Spec.Kubernetes.ServiceAccount != account.Name || auth.Namespace != account.Namespace {
		t.Errorf("the VaultAuth names the service account %s", auth.Spec.Kubernetes.ServiceAccount)
	}
	interval := example[*vaultDynamicSecret](t, file, "pagero-acme")
	static := example[*vaultDynamicSecret](t, restart, "pagero-acme-restart")
	answer := readToken(t)
	for _, secret := range []*vaultDynamicSecret{interval, static} {
		if secret.Spec.VaultAuthRef != auth.Name || secret.Namespace != auth.Namespace {
			t.Errorf("%s names the VaultAuth %s", secret.Name, secret.Spec.VaultAuthRef)
		}
		if got := secret.Spec.Mount + "/" + secret.Spec.Path; got != tokenPath {
			t.Errorf("%s reads %s", secret.Name, got)
		}
		kept := filter(t, slices.Collect(maps.Keys(answer)), secret.Spec.Destination.Transformation.Includes)
		if !slices.Equal(kept, []string{"access_token"}) || !secret.Spec.Destination.Transformation.ExcludeRaw {
			t.Errorf("%s puts %q into the Secret", secret.Name, kept)
		}
	}
	// One example reads at intervals and restarts nothing. The other one reads after the ttl.
	if interval.Spec.AllowStaticCreds || interval.Spec.RefreshAfter == "" || len(interval.Spec.RolloutRestartTargets) != 0 {
		t.Errorf("%s: %+v", interval.Name, interval.Spec)
	}
	if !static.Spec.AllowStaticCreds || static.Spec.RefreshAfter != "" || len(static.Spec.RolloutRestartTargets) == 0 {
		t.Errorf("%s: %+v", static.Name, static.Spec)
	}
	deployment := example[*appsv1.Deployment](t, "agent-injector.yaml", "acme-invoices")
	for _, target := range static.Spec.RolloutRestartTargets {
		if target.Kind != "Deployment" || target.Name != deployment.Name {
			t.Errorf("%s restarts %v, which no example has", static.Name, target)
		}
	}
}

// annotation matches the annotations of the Agent Injector that describe a file.
var annotation = regexp.MustCompile(`^vault\.hashicorp\.com/agent-inject-(secret|template|perms)-(.+)$`)

// knownAnnotations are the other annotations of the Agent Injector in the example (agent-inject/agent/annotations.go of
// vault-k8s).
var knownAnnotations = []string{
	"vault.hashicorp.com/agent-inject", "vault.hashicorp.com/role", "vault.hashicorp.com/agent-run-as-same-user",
	"vault.hashicorp.com/agent-service-account-token-volume-name", "vault.hashicorp.com/agent-limits-mem",
}

// The injector adds the template to the configuration of an Agent. Here a real Agent renders it.
func TestTheAgentRendersTheInjectorsTemplate(t *testing.T) {
	t.Parallel()
	deployment := example[*appsv1.Deployment](t, "agent-injector.yaml", "acme-invoices")
	values := map[string]string{}
	for name, value := range deployment.Spec.Template.Annotations {
		if match := annotation.FindStringSubmatch(name); match != nil {
			if match[2] != "acme.header" {
				t.Errorf("%s is for another file", name)
			}
			values[match[1]] = value
		} else if !slices.Contains(knownAnnotations, name) {
			t.Errorf("the injector does not know %s", name)
		}
	}
	if values["secret"] != tokenPath || values["perms"] != "0400" {
		t.Errorf("the annotations are %q", values)
	}
	wantSameUser(t, deployment)

	header := renderOnce(t, values["template"])
	if want := "Authorization: Bearer " + readToken(t)["access_token"].(string) + "\n"; header != want {
		t.Errorf("the Agent wrote %q, want %q", header, want)
	}
}

// wantSameUser asserts that the Deployment has what the annotation agent-run-as-same-user needs, and the volume with the token
// for Vault.
func wantSameUser(t *testing.T, deployment *appsv1.Deployment) {
	t.Helper()
	pod := deployment.Spec.Template.Spec
	if pod.Containers[0].SecurityContext.RunAsUser == nil {
		t.Error("the first container has no runAsUser")
	}
	volume := deployment.Spec.Template.Annotations["vault.hashicorp.com/agent-service-account-token-volume-name"]
	for _, candidate := range pod.Volumes {
		if candidate.Name == volume && candidate.Projected.Sources[0].ServiceAccountToken.Audience == "vault" {
			return
		}
	}
	t.Errorf("there is no volume %s with a token for the audience vault", volume)
}

// renderOnce has a Vault Agent render a template, as the init container of the injector does, and returns the file.
func renderOnce(t *testing.T, template string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	target := filepath.Join(dir, "acme.header")
	// A login adds the policy default, which the Agent needs to look up and renew its token.
	login, err := node.Client().Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{readerPolicy}})
	must(t, err)
	config := write("agent.hcl", strings.NewReplacer(
		"ADDRESS", node.Address, "TOKEN", write("token", login.Auth.ClientToken), "TARGET", target, "SINK", filepath.Join(dir, "sink"),
		"SOURCE", write("template", template),
	).Replace(`
exit_after_auth = true
vault { address = "ADDRESS" }
auto_auth {
  method "token_file" { config = { token_file_path = "TOKEN" } }
  sink "file" { config = { path = "SINK" } }
}
template {
  source      = "SOURCE"
  destination = "TARGET"
  perms       = "0400"
}
`))
	vault, err := harness.VaultBinary()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := node.RunProgram(ctx, vault, "agent", "-config="+config)
	if err != nil || result.Code != 0 {
		t.Fatalf("the Agent ended with %d, %v: %s%s", result.Code, err, result.Stdout, result.Stderr)
	}
	content, err := os.ReadFile(target)
	must(t, err)
	return string(content)
}

func TestThePolicyAllowsNothingElse(t *testing.T) {
	t.Parallel()
	client := node.Client()
	client.SetToken(readerToken)
	for _, path := range []string{"pagero/token/other", "pagero/accounts/acme", "pagero/clients/default", "pagero/config", "pagero/status"} {
		if _, err := client.Logical().ReadWithContext(t.Context(), path); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := client.Logical().WriteWithContext(t.Context(), "pagero/refresh/acme", nil); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("the example's policy allows to force an exchange: %v", err)
	}
}

// The intervals must be shorter than the remaining lifetime of every token that is read, minus the time until the Secret
// reaches the pods.
func TestTheIntervalsAreShorterThanATokenLives(t *testing.T) {
	t.Parallel()
	const minTTL, kubelet = 2 * time.Minute, 90 * time.Second
	refreshAfter, err := time.ParseDuration(example[*vaultDynamicSecret](t, "vault-secrets-operator.yaml", "pagero-acme").Spec.RefreshAfter)
	must(t, err)
	for name, interval := range map[string]time.Duration{
		"Vault Secrets Operator": refreshAfter * 77 / 100, // with the default renewalPercent
		"the generator":          generatorSecret(t).Spec.RefreshInterval.Duration,
		"the store":              storeSecret(t).Spec.RefreshInterval.Duration,
	} {
		if interval <= 0 || interval+kubelet > minTTL {
			t.Errorf("%s reads every %s, but a token may expire after %s", name, interval, minTTL)
		}
	}
}

// filter returns the sorted names that match one of the patterns.
func filter(t *testing.T, names, patterns []string) []string {
	t.Helper()
	var kept []string
	for _, pattern := range patterns {
		expression, err := regexp.Compile(pattern)
		must(t, err)
		for _, name := range names {
			if expression.MatchString(name) {
				kept = append(kept, name)
			}
		}
	}
	slices.Sort(kept)
	return slices.Compact(kept)
}

// readToken reads the token of acme with the policy of the examples.
func readToken(t *testing.T) map[string]any {
	t.Helper()
	client := node.Client()
	client.SetToken(readerToken)
	secret, err := client.Logical().ReadWithContext(t.Context(), tokenPath)
	must(t, err)
	return secret.Data
}

// The README's commands for Vault run as they are printed, except those for auth/kubernetes.
func TestTheREADMEsCommandsRun(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(examples, "README.md"))
	must(t, err)
	ran := 0
	for line := range strings.Lines(string(text)) {
		args := strings.Fields(line)
		if !strings.HasPrefix(line, "    vault ") || strings.Contains(line, "kubernetes") {
			continue
		}
		for i := range args {
			if args[i] == "policy.hcl" {
				args[i] = filepath.Join(examples, args[i])
			}
		}
		result, err := node.CLI(t.Context(), node.Client().Token(), args[1:]...)
		if err != nil || result.Code != 0 {
			t.Errorf("%s: %v, %s%s", strings.TrimSpace(line), err, result.Stdout, result.Stderr)
		}
		ran++
	}
	if ran != 2 {
		t.Errorf("%d commands were found in README.md", ran)
	}
}
