package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/api"
)

// StoredKeys lists the keys that a mount stores below a prefix, which ends in a slash.
func (n *Node) StoredKeys(ctx context.Context, mount, prefix string) ([]string, error) {
	path, err := n.storagePath(ctx, mount)
	if err != nil {
		return nil, err
	}
	secret, err := n.Client().Logical().ListWithContext(ctx, path+prefix)
	if err != nil || secret == nil {
		return nil, err
	}
	list, _ := secret.Data["keys"].([]any)
	keys := make([]string, len(list))
	for i := range list {
		keys[i] = fmt.Sprint(list[i])
	}
	return keys, nil
}

// StoredValue returns what a mount stores under a key, with its secrets; "" where there is nothing.
func (n *Node) StoredValue(ctx context.Context, mount, key string) (string, error) {
	path, err := n.storagePath(ctx, mount)
	if err != nil {
		return "", err
	}
	secret, err := n.Client().Logical().ReadWithContext(ctx, path+key)
	var failed *api.ResponseError
	if errors.As(err, &failed) && failed.StatusCode == http.StatusNotFound {
		return "", nil
	}
	if err != nil || secret == nil {
		return "", err
	}
	value, _ := secret.Data["value"].(string)
	return value, nil
}

// storagePath is where sys/raw has the storage of a mount.
func (n *Node) storagePath(ctx context.Context, mount string) (string, error) {
	info, err := n.Client().Logical().ReadWithContext(ctx, "sys/mounts/"+mount)
	if err != nil {
		return "", err
	}
	uuid, _ := info.Data["uuid"].(string)
	if uuid == "" {
		return "", fmt.Errorf("the mount %s has no uuid", mount)
	}
	return "sys/raw/logical/" + uuid + "/", nil
}
