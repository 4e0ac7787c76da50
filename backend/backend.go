// Package backend is the Vault side of vault-plugin-pagero: paths, schemas, decoding,
// answers and errors. Each path has a file of its own. The rules for exchanging
// refresh tokens are in internal/account, what acts by them is in internal/rotation, and
// the requests to Pagero are in internal/oauth.
//
// Package rotation's documentation has the order of the locks. Reads of cached tokens
// take none.
package backend

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/pendinglogin"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/runner"
)

// Version is the plugin's version, a semantic version with a leading v. The
// linker sets it in release builds.
var Version = "v0.0.0-dev"

const operationPrefix = "pagero"

const backendHelp = `
The Pagero secrets engine keeps the OAuth client secrets and refresh tokens of
Pagero Online and hands out access tokens that work.

Pagero's refresh tokens work once. Every use returns the next one; if it is
lost, a person must log in again. The engine is the only user of the refresh
tokens. It saves the next one before it answers, and renews an access token when
a read needs it. Set up a client below "clients/", enrol accounts below
"accounts/", and read tokens at "token/<account>".
`

// backend is the secrets engine of one mount.
type backend struct {
	*framework.Backend
	config   *configStore
	clients  *clientStore
	logins   pendinglogin.Store
	accounts *rotation.Manager
	metrics  *metrics

	background  *runner.Group
	cleanup     runner.Single
	lastCleanup time.Time // used by the cleanup only
}

var (
	_ logical.Backend = (*backend)(nil)
	_ logical.Factory = Factory
)

// Factory is the logical.Factory of the engine. It only supplies the dependencies of
// newBackend.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	return newBackend(ctx, conf, dependencies{
		exchanger: &oauth.Exchanger{UserAgent: "vault-plugin-pagero/" + Version},
		process:   rand.Text(),
		jitter:    mathrand.Float64,
	})
}

// dependencies are the parts that tests replace.
type dependencies struct {
	exchanger rotation.Exchanger
	process   string
	jitter    func() float64
}

func newBackend(ctx context.Context, conf *logical.BackendConfig, deps dependencies) (*backend, error) {
	storage := vaultStorage{conf.StorageView}
	b := &backend{config: &configStore{storage: storage}}
	b.clients = newClientStore(storage, b.config)
	b.logins = pendinglogin.Store{Storage: storage, Now: now}
	b.Backend = &framework.Backend{
		Help:           strings.TrimSpace(backendHelp),
		BackendType:    logical.TypeLogical,
		RunningVersion: Version,
		PathsSpecial: &logical.Paths{
			SealWrapStorage: []string{clientPrefix, rotation.StoragePrefix, pendinglogin.StoragePrefix},
			Unauthenticated: []string{callbackPath},
		},
		Paths: framework.PathAppend(
			b.pathConfig(), b.pathClients(), b.pathAccounts(), b.pathToken(), b.pathRefresh(),
			b.pathAuthorize(), b.pathCallback(), b.pathStatus(), b.pathMetrics(),
		),
		Clean:          b.clean,
		Invalidate:     b.invalidate,
		InitializeFunc: b.initialize,
		PeriodicFunc:   b.periodic,
	}
	if err := b.Setup(ctx, conf); err != nil {
		return nil, err
	}
	b.background = runner.New(b.Logger())
	b.cleanup.Group = b.background
	b.metrics = newMetrics(b.overview)
	b.accounts = rotation.NewManager(rotation.Options{
		Storage:       storage,
		Clients:       b.clients,
		PendingLogins: b.logins,
		Exchanger:     deps.exchanger,
		Settings:      b.config.settings,
		Writable:      b.writable,
		Now:           now,
		Process:       deps.process,
		NewID:         rand.Text,
		Jitter:        deps.jitter,
		Observe:       b.metrics.observe,
		Notify:        (&events{sender: b, background: b.background, logger: b.Logger()}).notify,
		Logger:        b.Logger(),
	})
	return b, nil
}

// handleRequest answers a read of a token before the framework sees the request,
// because the framework asks Vault for its replication state over RPC for every
// request. That costs a third of a cached read.
func (b *backend) handleRequest(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	if name, ok := strings.CutPrefix(req.Path, tokenPrefix); ok {
		resp, err := b.quickToken(ctx, name, req)
		if err != nil {
			return respond(err)
		}
		if resp != nil {
			return resp, nil
		}
	}
	checked, ignored, err := b.check(req)
	if err != nil {
		return respond(err)
	}
	resp, err := b.Backend.HandleRequest(ctx, checked)
	if len(ignored) > 0 {
		resp = warnOf(ignored, b.Route(req.Path).Fields, resp)
	}
	return resp, err
}

// handleExistenceCheck is called by Vault before each write. Vault logs the error that
// it returns. Whether a thing exists depends on its name only, so the fields are not
// looked at: the write refuses them, without a line in Vault's log.
func (b *backend) handleExistenceCheck(ctx context.Context, req *logical.Request) (checked, exists bool, err error) {
	named := *req
	named.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &named)
}

// initialize is called by Vault once after each start of the plugin, when the storage
// can be used. The scan of the accounts begins here, and not at the first call of
// periodic up to a minute later: after a crash, an exchange in doubt may still succeed
// for some seconds only.
func (b *backend) initialize(context.Context, *logical.InitializationRequest) error {
	b.accounts.Tick()
	return nil
}

// periodic is called by Vault every minute. Vault holds a lock meanwhile that all
// other work waits for, so periodic only starts background work, and asks nothing: each
// question to Vault is a round trip.
func (b *backend) periodic(context.Context, *logical.Request) error {
	b.accounts.Tick()
	b.startCleanup()
	return nil
}

// clean is called when Vault unmounts, reloads, seals or steps down. It waits for the
// exchanges in progress.
func (b *backend) clean(context.Context) {
	b.accounts.Close()
	b.background.Close()
}

// invalidate is called when another node has written a key.
func (b *backend) invalidate(_ context.Context, key string) {
	switch {
	case key == configKey:
		b.config.invalidate()
	case strings.HasPrefix(key, rotation.StoragePrefix):
		b.accounts.Invalidate(strings.TrimPrefix(key, rotation.StoragePrefix))
	}
}

// writable returns rotation.ErrReadOnly on a standby, a performance secondary (unless
// the mount is local) and a DR secondary. It decides as the framework's
// WriteSafeReplicationState does, which always asks Vault twice. Each question is a
// round trip.
func (b *backend) writable() error {
	state := b.System().ReplicationState()
	switch {
	case state.HasState(consts.ReplicationDRSecondary | consts.ReplicationPerformanceStandby):
		return rotation.ErrReadOnly
	case state.HasState(consts.ReplicationPerformanceSecondary) && !b.System().LocalMount():
		return rotation.ErrReadOnly
	}
	return nil
}

func now() time.Time { return time.Now().UTC().Round(0) }
