package operators

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// These are the fields of Vault Secrets Operator's resources that the examples may use, with the names of its CRDs
// (api/v1beta1 of that project). Strict decoding refuses other fields. The project's module is not needed for anything else.

type vaultConnection struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Address         string            `json:"address"`
		Headers         map[string]string `json:"headers"`
		TLSServerName   string            `json:"tlsServerName"`
		CACertSecretRef string            `json:"caCertSecretRef"`
		SkipTLSVerify   bool              `json:"skipTLSVerify"`
		Timeout         string            `json:"timeout"`
	} `json:"spec"`
}

type vaultAuth struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		VaultConnectionRef string            `json:"vaultConnectionRef"`
		Namespace          string            `json:"namespace"`
		AllowedNamespaces  []string          `json:"allowedNamespaces"`
		Method             string            `json:"method"`
		Mount              string            `json:"mount"`
		Params             map[string]string `json:"params"`
		Headers            map[string]string `json:"headers"`
		Kubernetes         *struct {
			Role                   string   `json:"role"`
			ServiceAccount         string   `json:"serviceAccount"`
			TokenAudiences         []string `json:"audiences"`
			TokenExpirationSeconds int64    `json:"tokenExpirationSeconds"`
		} `json:"kubernetes"`
	} `json:"spec"`
}

type vaultDynamicSecret struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		VaultAuthRef          string            `json:"vaultAuthRef"`
		Namespace             string            `json:"namespace"`
		Mount                 string            `json:"mount"`
		RequestHTTPMethod     string            `json:"requestHTTPMethod"`
		Path                  string            `json:"path"`
		Params                map[string]string `json:"params"`
		RenewalPercent        int               `json:"renewalPercent"`
		Revoke                bool              `json:"revoke"`
		AllowStaticCreds      bool              `json:"allowStaticCreds"`
		RefreshAfter          string            `json:"refreshAfter"`
		RolloutRestartTargets []struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"rolloutRestartTargets"`
		Destination struct {
			Name           string            `json:"name"`
			Create         bool              `json:"create"`
			Overwrite      bool              `json:"overwrite"`
			Labels         map[string]string `json:"labels"`
			Annotations    map[string]string `json:"annotations"`
			Type           string            `json:"type"`
			Transformation struct {
				ExcludeRaw bool     `json:"excludeRaw"`
				Includes   []string `json:"includes"`
				Excludes   []string `json:"excludes"`
			} `json:"transformation"`
		} `json:"destination"`
	} `json:"spec"`
}
