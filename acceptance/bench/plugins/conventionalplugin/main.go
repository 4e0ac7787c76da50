// Command conventionalplugin is a secrets engine as engines are usually written: a framework path with a PathOperation that
// standby nodes forward. It answers reads from memory with the data of the last write. With it, the benchmark shows the cost
// of the framework's routing.
package main

import (
	"context"
	"os"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

// conventional routes through the framework.
type conventional struct {
	*framework.Backend
	data atomic.Pointer[map[string]any]
}

// factory creates the backend.
func factory(ctx context.Context, config *logical.BackendConfig) (logical.Backend, error) {
	b := &conventional{}
	b.Backend = &framework.Backend{
		BackendType: logical.TypeLogical,
		Paths: []*framework.Path{{
			Pattern: "token/" + framework.GenericNameRegex("name"),
			Fields: map[string]*framework.FieldSchema{
				"name":    {Type: framework.TypeLowerCaseString},
				"min_ttl": {Type: framework.TypeDurationSecond},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   forwarded(b.read),
				logical.UpdateOperation: forwarded(b.write),
			},
		}},
	}
	return b, b.Setup(ctx, config)
}

// forwarded returns an operation that only the active node runs.
func forwarded(run framework.OperationFunc) *framework.PathOperation {
	return &framework.PathOperation{
		Callback:                    run,
		ForwardPerformanceStandby:   true,
		ForwardPerformanceSecondary: true,
	}
}

// read answers with the data of the last write.
func (b *conventional) read(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	data := b.data.Load()
	if data == nil {
		return nil, nil //nolint:nilnil // the SDK's way to say 404
	}
	return &logical.Response{Data: *data}, nil
}

// write keeps the data of the request.
func (b *conventional) write(
	_ context.Context, request *logical.Request, _ *framework.FieldData,
) (*logical.Response, error) {
	b.data.Store(&request.Data)
	return nil, nil //nolint:nilnil // the SDK's way to say 204
}

func main() {
	if err := plugin.Serve(&plugin.ServeOpts{BackendFactoryFunc: factory}); err != nil {
		hclog.Default().Error("the plugin ended", "error", err)
		os.Exit(1)
	}
}
