package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/api"
)

// StoredKeys returns the keys of a mount's storage below a prefix. The prefix must end in a slash.
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

// StoredValue returns the stored value of a key, including its secrets, or "" if there is none.
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

// storagePath returns the path of a mount's storage below sys/raw.
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
