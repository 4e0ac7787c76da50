package examples

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/vault/api"
)

// secretsOperator is a small model of Vault Secrets Operator with one VaultDynamicSecret that sets allowStaticCreds. It shows
// what the operator takes from an answer, whether the answer counts as a new secret, and when the operator reads again.
//
// It follows controllers/vaultdynamicsecret_controller.go of that project (vaultStaticCredsMetaDataFromData, isStaticCreds,
// syncSecret, computePostSyncHorizon, computeRotationTime) and internal/helpers/hmac.go. It has no jitter. The real one, of
// at most 150 ms, only delays the operator.
type secretsOperator struct {
	fields   []string // that the transformation includes; all if it is empty
	mac      []byte   // of the last answer
	meta     staticCreds
	secret   map[string][]byte
	restarts int
}

// staticCreds is what the operator remembers from an answer.
type staticCreds struct {
	lastVaultRotation, rotationPeriod, ttl int64
}

// sync processes an answer as the operator does, and returns how long the operator sleeps then.
func (o *secretsOperator) sync(secret *api.Secret) (time.Duration, error) {
	if secret.Renewable {
		return 0, errors.New("a renewable lease is no static credential")
	}
	meta, err := parseStaticCreds(secret.Data)
	if err != nil {
		return 0, err
	}
	if meta.lastVaultRotation <= 0 || meta.rotationPeriod < 1 {
		return 0, fmt.Errorf("%+v is no static credential: it would never be read again", meta)
	}
	data, err := o.transform(secret.Data)
	if err != nil {
		return 0, err
	}
	mac, err := operatorMAC(data)
	if err != nil {
		return 0, err
	}
	// An answer with the same MAC does not change the remembered ttl either.
	if !hmac.Equal(mac, o.mac) {
		o.mac, o.meta, o.secret = mac, meta, data
		o.restarts++
	}
	return o.horizon(), nil
}

// horizon returns how long the operator sleeps after an answer.
func (o *secretsOperator) horizon() time.Duration {
	if o.meta.ttl <= 0 {
		return time.Second
	}
	return time.Duration(o.meta.ttl)*time.Second + 500*time.Millisecond
}

// transform returns the data of the Kubernetes Secret.
func (o *secretsOperator) transform(data map[string]any) (map[string][]byte, error) {
	all := make(map[string][]byte, len(data))
	for name, value := range data {
		if text, ok := value.(string); ok {
			all[name] = []byte(text)
			continue
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		all[name] = encoded
	}
	if len(o.fields) == 0 {
		return all, nil
	}
	included := make(map[string][]byte)
	for _, name := range o.fields {
		included[name] = all[name]
	}
	return included, nil
}

// operatorMAC returns the MAC by which the operator recognises a secret. It ignores some fields.
func operatorMAC(data map[string][]byte) ([]byte, error) {
	relevant := maps.Clone(data)
	for _, name := range []string{"ttl", "rotation_schedule", "rotation_period", "last_vault_rotation", "_raw"} {
		delete(relevant, name)
	}
	message, err := json.Marshal(relevant)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, bytes.Repeat([]byte{1}, 16))
	mac.Write(message)
	return mac.Sum(nil), nil
}

// parseStaticCreds parses the fields as the operator does. The operator panics if a field has an unexpected type. This
// returns an error instead.
func parseStaticCreds(data map[string]any) (staticCreds, error) {
	var meta staticCreds
	if value, ok := data["last_vault_rotation"]; ok && value != nil {
		text, ok := value.(string)
		if !ok {
			return meta, fmt.Errorf("last_vault_rotation is a %T", value)
		}
		rotated, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return meta, fmt.Errorf("last_vault_rotation: %w", err)
		}
		meta.lastVaultRotation = rotated.Unix()
	}
	for name, into := range map[string]*int64{"rotation_period": &meta.rotationPeriod, "ttl": &meta.ttl} {
		value, ok := data[name]
		if !ok || value == nil {
			continue
		}
		number, ok := value.(json.Number)
		if !ok {
			return meta, fmt.Errorf("%s is a %T", name, value)
		}
		integer, err := number.Int64()
		if err != nil {
			return meta, fmt.Errorf("%s: %w", name, err)
		}
		*into = integer
	}
	return meta, nil
}
