package backend

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/hashicorp/vault/sdk/logical"
)

var errInternal = errors.New("internal error; see Vault's log and report it")

// contain turns a panic into errInternal and a line in the log. All ways from Vault into
// the plugin defer it. Without it a defect in one answer would end the process, and with
// it the exchanges of all accounts that are in progress.
//
// The text of a panic may hold the value of a field, so only that of the runtime is logged.
func (b *backend) contain(during string, failed func(error)) {
	p := recover()
	if p == nil {
		return
	}
	what := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	b.Logger().Error("internal error: please report this line", "during", during, "panic", what, "stack", string(debug.Stack()))
	failed(errInternal)
}

// HandleRequest implements logical.Backend.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer b.contain("a request", func(e error) { resp, err = respond(e) })
	return b.handleRequest(ctx, req)
}

// HandleExistenceCheck implements logical.Backend.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checked, exists bool, err error) {
	defer b.contain("an existence check", func(e error) { checked, exists, err = false, false, e })
	return b.handleExistenceCheck(ctx, req)
}

// Initialize implements logical.Backend.
func (b *backend) Initialize(ctx context.Context, req *logical.InitializationRequest) (err error) {
	defer b.contain("the start", func(e error) { err = e })
	return b.Backend.Initialize(ctx, req)
}

// InvalidateKey implements logical.Backend.
func (b *backend) InvalidateKey(ctx context.Context, key string) {
	defer b.contain("an invalidation", func(error) {})
	b.Backend.InvalidateKey(ctx, key)
}

// Cleanup implements logical.Backend.
func (b *backend) Cleanup(ctx context.Context) {
	defer b.contain("the end", func(error) {})
	b.Backend.Cleanup(ctx)
}
