// Command storageplugin is a secrets engine whose paths are the keys of its storage. A write stores value as it is, and a
// read returns it. The tests of upgrades register it as an older and as a newer version of the plugin.
package main

import (
	"context"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

// version is the version that the plugin reports to Vault. The linker sets it.
var version = "v0.0.0"

// engine gives access to its storage. It embeds the backend of the framework for the set-up.
type engine struct {
	*framework.Backend
}

// factory creates the backend.
func factory(ctx context.Context, config *logical.BackendConfig) (logical.Backend, error) {
	b := engine{&framework.Backend{BackendType: logical.TypeLogical, RunningVersion: version}}
	return b, b.Setup(ctx, config)
}

// HandleRequest writes and reads storage entries.
func (b engine) HandleRequest(ctx context.Context, request *logical.Request) (*logical.Response, error) {
	switch request.Operation {
	case logical.ReadOperation:
		entry, err := request.Storage.Get(ctx, request.Path)
		if err != nil || entry == nil {
			return nil, err
		}
		return &logical.Response{Data: map[string]any{"value": string(entry.Value)}}, nil
	case logical.CreateOperation, logical.UpdateOperation:
		value, ok := request.Data["value"].(string)
		if !ok {
			return logical.ErrorResponse("value must be a string"), nil
		}
		return nil, request.Storage.Put(ctx, &logical.StorageEntry{Key: request.Path, Value: []byte(value)})
	default:
		return b.Backend.HandleRequest(ctx, request)
	}
}

func main() {
	if err := plugin.Serve(&plugin.ServeOpts{BackendFactoryFunc: factory}); err != nil {
		hclog.Default().Error("the plugin ended", "error", err)
		os.Exit(1)
	}
}
