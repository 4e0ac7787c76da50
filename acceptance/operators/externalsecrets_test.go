package operators

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	genv1alpha1 "github.com/external-secrets/external-secrets/apis/generators/v1alpha1"
	esmeta "github.com/external-secrets/external-secrets/apis/meta/v1"
	vaultdynamic "github.com/external-secrets/external-secrets/pkg/generator/vault"
	vaultprovider "github.com/external-secrets/external-secrets/pkg/provider/vault"
	template "github.com/external-secrets/external-secrets/pkg/template/v2"
	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

const (
	namespace     = "acme"
	generatorFile = "external-secrets-generator.yaml"
	storeFile     = "external-secrets-store.yaml"
)

func generatorSecret(t *testing.T) *esv1.ExternalSecret {
	t.Helper()
	return example[*esv1.ExternalSecret](t, generatorFile, "pagero-acme")
}

func storeSecret(t *testing.T) *esv1.ExternalSecret {
	t.Helper()
	return example[*esv1.ExternalSecret](t, storeFile, "pagero-acme-store")
}

// kubernetes returns a client of a cluster that has one Secret, with Vault tokens.
func kubernetes() client.Client {
	return fake.NewClientBuilder().WithObjects(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "vault-token"},
		Data:       map[string][]byte{"token": []byte(readerToken), "root": []byte(node.Client().Token())},
	}).Build()
}

// here points a provider of the examples at the Vault of these tests: with its address, without TLS, and with the token from
// kubernetes instead of a login with a service account. The rest is that of the example.
func here(provider *esv1.VaultProvider) {
	provider.Server = node.Address
	provider.CAProvider = nil
	provider.Auth = &esv1.VaultAuth{TokenSecretRef: &esmeta.SecretKeySelector{Name: "vault-token", Key: "token"}}
}

// generate runs the operator's generator with the changed example.
func generate(t *testing.T, changes ...func(*genv1alpha1.VaultDynamicSecret)) (map[string][]byte, error) {
	t.Helper()
	generator := example[*genv1alpha1.VaultDynamicSecret](t, generatorFile, "pagero-acme")
	here(generator.Spec.Provider)
	for _, change := range changes {
		change(generator)
	}
	spec, err := json.Marshal(generator)
	must(t, err)
	data, _, err := (&vaultdynamic.Generator{}).Generate(t.Context(), &apiextensions.JSON{Raw: spec}, kubernetes(), namespace)
	return data, err
}

func TestTheGeneratorReadsAValidToken(t *testing.T) {
	t.Parallel()
	data, err := generate(t)
	must(t, err)
	answer := readToken(t)
	if string(data["access_token"]) != answer["access_token"] {
		t.Error("the generator has another access token than the mount")
	}
	for _, name := range []string{"ttl", "rotation_period"} { // the operator may keep them in any form of JSON
		var seconds int64
		if err := json.Unmarshal(data[name], &seconds); err != nil || seconds < 1 {
			t.Errorf("%s is %q: %v", name, data[name], err)
		}
	}
	if len(data) != len(answer) {
		t.Errorf("the generator has the fields %v, the answer has %v", data, answer)
	}
	again, err := generate(t)
	must(t, err)
	for name, value := range data {
		if name != "ttl" && string(again[name]) != string(value) {
			t.Errorf("%s changed from %q to %q without a new token", name, value, again[name])
		}
	}
}

// The ExternalSecret of the example names the generator. The operator's engine renders its template, which keeps only the
// access token.
func TestTheTemplateKeepsNothingButTheAccessToken(t *testing.T) {
	t.Parallel()
	external := generatorSecret(t)
	ref := external.Spec.DataFrom[0].SourceRef.GeneratorRef
	generator := example[*genv1alpha1.VaultDynamicSecret](t, generatorFile, ref.Name)
	if ref.Kind != generator.Kind || ref.APIVersion != generator.APIVersion || external.Namespace != generator.Namespace {
		t.Errorf("the generatorRef %+v is not the example's %s", ref, generator.Name)
	}
	data, err := generate(t)
	must(t, err)
	texts := map[string][]byte{}
	for name, text := range external.Spec.Target.Template.Data {
		texts[name] = []byte(text)
	}
	secret := &corev1.Secret{}
	must(t, template.Execute(texts, data, esv1.TemplateScopeValues, esv1.TemplateTargetData, secret))
	if len(secret.Data) != 1 || string(secret.Data["access_token"]) != string(data["access_token"]) {
		t.Errorf("the Secret has %d fields: %v", len(secret.Data), secret.Data)
	}
}

// If something is wrong, the error contains the plugin's message, unless Vault's client drops it.
func TestTheGeneratorReportsWhatIsWrong(t *testing.T) {
	t.Parallel()
	asRoot := func(generator *genv1alpha1.VaultDynamicSecret) {
		generator.Spec.Provider.Auth.TokenSecretRef.Key = "root"
		once := int32(0)
		generator.Spec.RetrySettings.MaxRetries = &once
	}
	unreachable(t)
	for name, c := range map[string]struct {
		path, message string
		as            func(*genv1alpha1.VaultDynamicSecret)
	}{
		"no permission":           {"pagero/token/other", "permission denied", func(*genv1alpha1.VaultDynamicSecret) {}},
		"no such account":         {"pagero/token/other", "empty response", asRoot}, // a 404, whose message is lost
		"Pagero cannot be asked":  {"pagero/token/unreachable", "nothing was sent", asRoot},
		"when it is tried again":  {"pagero/token/unreachable", "next attempt", asRoot},
		"the status is not a 400": {"pagero/token/unreachable", "Code: 503", asRoot},
	} {
		_, err := generate(t, func(generator *genv1alpha1.VaultDynamicSecret) { generator.Spec.Path = c.path }, c.as)
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// unreachable enrols an account whose server does not exist.
func unreachable(t *testing.T) {
	t.Helper()
	for _, write := range []struct {
		path string
		data map[string]any
	}{
		{"clients/unreachable", map[string]any{
			"client_id": "id", "client_secret": "secret",
			"token_url": "https://127.0.0.1:9/token", "revoke_url": "https://127.0.0.1:9/revoke",
		}},
		{"accounts/unreachable", map[string]any{"client": "unreachable", "refresh_token": "never-sent"}},
	} {
		_, err := node.Client().Logical().WriteWithContext(t.Context(), "pagero/"+write.path, write.data)
		must(t, err)
	}
}

// store returns the client that the operator's provider creates for a store of the examples.
func store(t *testing.T, generic esv1.GenericStore) esv1.SecretsClient {
	t.Helper()
	provider := &vaultprovider.Provider{NewVaultClient: vaultprovider.NewVaultClient}
	warnings, err := provider.ValidateStore(generic) // unchanged
	must(t, err)
	if len(warnings) > 0 {
		t.Errorf("the operator warns: %q", warnings)
	}
	here(generic.GetSpec().Provider.Vault)
	if generic.GetKind() == esv1.ClusterSecretStoreKind {
		own := namespace
		generic.GetSpec().Provider.Vault.Auth.TokenSecretRef.Namespace = &own
	}
	secrets, err := provider.NewClient(t.Context(), generic, kubernetes(), namespace)
	must(t, err)
	t.Cleanup(func() { _ = secrets.Close(context.WithoutCancel(t.Context())) })
	return secrets
}

func TestTheStoresReadAValidToken(t *testing.T) {
	t.Parallel()
	external := storeSecret(t)
	single := example[*esv1.SecretStore](t, storeFile, external.Spec.SecretStoreRef.Name)
	if external.Spec.SecretStoreRef.Kind != single.Kind || external.Namespace != single.Namespace {
		t.Errorf("the ExternalSecret names %+v", external.Spec.SecretStoreRef)
	}
	want := readToken(t)["access_token"]
	for _, generic := range []esv1.GenericStore{single, example[*esv1.ClusterSecretStore](t, storeFile, "pagero")} {
		secrets := store(t, generic)
		got, err := secrets.GetSecret(t.Context(), external.Spec.Data[0].RemoteRef)
		must(t, err)
		if string(got) != want {
			t.Errorf("the %s has another access token than the mount", generic.GetKind())
		}
		all, err := secrets.GetSecretMap(t.Context(), esv1.ExternalSecretDataRemoteRef{Key: "token/acme"})
		must(t, err)
		if string(all["access_token"]) != want || len(all) != len(readToken(t)) {
			t.Errorf("the %s has the fields %v", generic.GetKind(), all)
		}
	}
}

// The provider's default is version v2, which has another path.
func TestTheStoreNeedsVersion1(t *testing.T) {
	t.Parallel()
	single := example[*esv1.SecretStore](t, storeFile, "pagero")
	single.Spec.Provider.Vault.Version = esv1.VaultKVStoreV2
	_, err := store(t, single).GetSecret(t.Context(), storeSecret(t).Spec.Data[0].RemoteRef)
	if err == nil || !strings.Contains(err.Error(), "pagero/data/token/acme") {
		t.Errorf("read as KV version 2: %v", err)
	}
}
