// Command bareplugin is the cheapest possible secrets engine. It answers every read from HandleRequest with the data of the
// last write, or with a constant if there was no write. The benchmark compares the plugin's cached reads and its start with
// it. A read of ExchangePath does only the storage operations of an exchange. The benchmark compares exchanges with it.
package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/plugins/probe"
)

// bare answers without the routing of the framework. It embeds the backend of the framework for the set-up.
type bare struct {
	*framework.Backend
	data atomic.Pointer[map[string]any]
}

// factory creates the backend.
func factory(ctx context.Context, config *logical.BackendConfig) (logical.Backend, error) {
	b := &bare{Backend: &framework.Backend{BackendType: logical.TypeLogical}}
	b.data.Store(&map[string]any{"access_token": "constant"})
	return b, b.Setup(ctx, config)
}

// HandleRequest keeps the data of the last write and answers reads with it.
func (b *bare) HandleRequest(ctx context.Context, request *logical.Request) (*logical.Response, error) {
	switch request.Operation {
	case logical.ReadOperation:
		if request.Path == probe.ExchangePath {
			if err := b.askAsAnExchange(ctx, request.Storage); err != nil {
				return nil, err
			}
		}
		return &logical.Response{Data: *b.data.Load()}, nil
	case logical.CreateOperation, logical.UpdateOperation:
		b.data.Store(&request.Data)
		return nil, nil //nolint:nilnil // the SDK's way to say 204
	default:
		return b.Backend.HandleRequest(ctx, request)
	}
}

// askAsAnExchange does what an exchange asks of Vault: it asks for the replication state, reads two entries concurrently, that
// of an account and that of its client, and writes one entry twice, before and after the POST.
func (b *bare) askAsAnExchange(ctx context.Context, storage logical.Storage) error {
	var (
		questions sync.WaitGroup
		failed    [2]error
	)
	questions.Go(func() { b.System().ReplicationState() })
	for i, key := range []string{"account", "client"} {
		questions.Go(func() { _, failed[i] = storage.Get(ctx, key) })
	}
	questions.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		return err
	}
	entry := &logical.StorageEntry{Key: "account", Value: bytes.Repeat([]byte("x"), probe.EntrySize)}
	for range 2 {
		if err := storage.Put(ctx, entry); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := probe.Listen("bareplugin", nil); err != nil {
		hclog.Default().Error("no probe", "error", err)
	}
	if err := plugin.Serve(&plugin.ServeOpts{BackendFactoryFunc: factory}); err != nil {
		hclog.Default().Error("the plugin ended", "error", err)
		os.Exit(1)
	}
}
