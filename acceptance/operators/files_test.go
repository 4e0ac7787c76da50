package operators

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	genv1alpha1 "github.com/external-secrets/external-secrets/apis/generators/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// object is a decoded document.
type object interface {
	GetName() string
	GetNamespace() string
}

// kinds are the resources that the examples may contain, with a constructor for each.
var kinds = map[metav1.TypeMeta]func() object{
	{APIVersion: "v1", Kind: "ServiceAccount"}:                                          func() object { return new(corev1.ServiceAccount) },
	{APIVersion: "apps/v1", Kind: "Deployment"}:                                         func() object { return new(appsv1.Deployment) },
	{APIVersion: "secrets.hashicorp.com/v1beta1", Kind: "VaultConnection"}:              func() object { return new(vaultConnection) },
	{APIVersion: "secrets.hashicorp.com/v1beta1", Kind: "VaultAuth"}:                    func() object { return new(vaultAuth) },
	{APIVersion: "secrets.hashicorp.com/v1beta1", Kind: "VaultDynamicSecret"}:           func() object { return new(vaultDynamicSecret) },
	{APIVersion: "generators.external-secrets.io/v1alpha1", Kind: "VaultDynamicSecret"}: func() object { return new(genv1alpha1.VaultDynamicSecret) },
	{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret"}:                      func() object { return new(esv1.ExternalSecret) },
	{APIVersion: "external-secrets.io/v1", Kind: "SecretStore"}:                         func() object { return new(esv1.SecretStore) },
	{APIVersion: "external-secrets.io/v1", Kind: "ClusterSecretStore"}:                  func() object { return new(esv1.ClusterSecretStore) },
}

// documents decodes all documents of a file. A field that the type does not have is an error.
func documents(t *testing.T, path string) []object {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	var objects []object
	for reader := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(content))); ; {
		document := make([]byte, len(content))
		n, err := reader.Read(document)
		if err == io.EOF { //nolint:errorlint // the reader does not wrap it
			return objects
		}
		must(t, err)
		decoded, err := decode(document[:n])
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(path), err)
		}
		objects = append(objects, decoded)
	}
}

// decode decodes one document strictly.
func decode(document []byte) (object, error) {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, err
	}
	create := kinds[kind]
	if create == nil {
		return nil, fmt.Errorf("no type is known for %s %s", kind.APIVersion, kind.Kind)
	}
	decoded := create()
	if err := yaml.UnmarshalStrict(document, decoded); err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind.Kind, decoded.GetName(), err)
	}
	return decoded, nil
}

// example returns the document with this type and name in a file of the examples.
func example[T object](t *testing.T, file, name string) (found T) {
	t.Helper()
	for _, document := range documents(t, filepath.Join(examples, file)) {
		if typed, ok := document.(T); ok && document.GetName() == name {
			return typed
		}
	}
	t.Fatalf("%s has no such %s", file, name)
	return found
}

func TestEveryFileIsWhatItsTypeAllows(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	must(t, err)
	seen := map[string]string{}
	for _, file := range files {
		for _, document := range documents(t, file) {
			id := fmt.Sprintf("%T %s/%s", document, document.GetNamespace(), document.GetName())
			if other, twice := seen[id]; twice {
				t.Errorf("%s is in %s and in %s", id, filepath.Base(other), filepath.Base(file))
			}
			seen[id] = file
		}
	}
	if len(files) < 6 || len(seen) < 11 {
		t.Errorf("%d files with %d documents were found in %s", len(files), len(seen), examples)
	}
}

// The test above depends on strict decoding.
func TestAFieldThatDoesNotExistIsRefused(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		"apiVersion: secrets.hashicorp.com/v1beta1\nkind: VaultDynamicSecret\nspec: {mount: pagero, allowStaticCred: true}",
		"apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nspec: {refreshIntervall: 30s}",
		"apiVersion: external-secrets.io/v1beta2\nkind: ExternalSecret\nspec: {}",
	} {
		if _, err := decode([]byte(document)); err == nil {
			t.Errorf("decoded:\n%s", document)
		}
	}
}
