// Command profiledplugin is the plugin of this repository with a probe. The probe can also copy stored accounts and call the
// periodic function at any time, so that the benchmark gets a mount with many accounts quickly.
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

// accountPrefix is the prefix of the storage keys of accounts.
const accountPrefix = "account/"

// writers is the number of copies that are written at the same time.
const writers = 64

// mount is the only mount of this process.
type mount struct {
	backend logical.Backend
	storage logical.Storage
}

// current is the mount, or nil if there is none yet.
var current atomic.Pointer[mount]

func main() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr, JSONFormat: true})
	err := probe.Listen("profiledplugin", map[string]http.HandlerFunc{"/copy": copyAccounts, "/periodic": callPeriodic})
	if err == nil {
		err = plugin.Serve(&plugin.ServeOpts{BackendFactoryFunc: factory, Logger: logger})
	}
	if err != nil {
		logger.Error("the plugin ended", "error", err)
		os.Exit(1)
	}
}

// factory creates the plugin's backend and stores it in current.
func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b, err := backend.Factory(ctx, conf)
	if err == nil {
		current.Store(&mount{b, conf.StorageView})
	}
	return b, err
}

// callPeriodic calls the periodic function.
func callPeriodic(w http.ResponseWriter, r *http.Request) {
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

// copyAccounts copies the account "template" to names with six-digit numbers. The query has the range, from and to. Each copy
// has its own refresh token.
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
