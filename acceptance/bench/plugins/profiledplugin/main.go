// Command profiledplugin is the plugin of this repository with a probe, and with what the benchmark
// needs to get a mount with many accounts quickly: it copies stored accounts, and calls the periodic
// function when told to, not once a minute.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/plugins/probe"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend"
)

// accountPrefix is where the plugin stores its accounts.
const accountPrefix = "account/"

// writers is how many copies are written at a time.
const writers = 64

// mount is what the probe works with: the one mount of this process.
type mount struct {
	backend logical.Backend
	storage logical.Storage
}

// current is the mount once the plugin has one.
var current atomic.Pointer[mount]

func main() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr, JSONFormat: true})
	err := probe.Listen("profiledplugin", map[string]http.HandlerFunc{"/copy": copyAccounts, "/tend": tend})
	if err == nil {
		err = plugin.Serve(&plugin.ServeOpts{BackendFactoryFunc: factory, Logger: logger})
	}
	if err != nil {
		logger.Error("the plugin ended", "error", err)
		os.Exit(1)
	}
}

// factory makes the plugin's backend and remembers it.
func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b, err := backend.Factory(ctx, conf)
	if err == nil {
		current.Store(&mount{b, conf.StorageView})
	}
	return b, err
}

// tend calls the periodic function.
func tend(w http.ResponseWriter, r *http.Request) {
	m := current.Load()
	if m == nil {
		http.Error(w, "there is no mount yet", http.StatusConflict)
		return
	}
	request := &logical.Request{Operation: logical.RollbackOperation, Storage: m.storage}
	_, err := m.backend.HandleRequest(r.Context(), request)
	if err != nil && !errors.Is(err, logical.ErrUnsupportedOperation) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// copyAccounts copies the account "template" to the numbers that the query has from and to, six digits wide. Each
// copy has a refresh token of its own.
func copyAccounts(w http.ResponseWriter, r *http.Request) {
	from, errFrom := strconv.Atoi(r.FormValue("from"))
	to, errTo := strconv.Atoi(r.FormValue("to"))
	m := current.Load()
	if err := errors.Join(errFrom, errTo); err != nil || m == nil {
		http.Error(w, fmt.Sprint("no range, or no mount: ", err), http.StatusBadRequest)
		return
	}
	if err := m.copy(r.Context(), r.FormValue("prefix"), from, to); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// copy does the work of copyAccounts.
func (m *mount) copy(ctx context.Context, prefix string, from, to int) error {
	entry, err := m.storage.Get(ctx, accountPrefix+"template")
	if err != nil {
		return fmt.Errorf("reading the template: %w", err)
	}
	if entry == nil {
		return errors.New("there is no template")
	}
	var stored struct {
		Grant struct {
			RefreshToken string `json:"refresh_token"`
		} `json:"grant"`
	}
	if err := json.Unmarshal(entry.Value, &stored); err != nil {
		return err
	}
	token := stored.Grant.RefreshToken
	if token == "" {
		return errors.New("the template has no refresh token")
	}
	var (
		group  sync.WaitGroup
		next   atomic.Int64
		failed atomic.Pointer[error]
	)
	next.Store(int64(from))
	for range writers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(to) && failed.Load() == nil; i = next.Add(1) - 1 {
				name := fmt.Sprintf("%s%06d", prefix, i)
				value := strings.ReplaceAll(string(entry.Value), token, token[:len(token)-6]+fmt.Sprintf("%06d", i))
				if err := m.storage.Put(ctx, &logical.StorageEntry{Key: accountPrefix + name, Value: []byte(value)}); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
