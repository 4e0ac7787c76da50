package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// The measured paths.
const (
	tokenPath = "pagero/token/acme"
	kvPath    = "kv/acme"
)

// warmUp is the number of rounds before those that count.
const warmUp = 10

// entry is a value with about the size of an account's stored entry.
var entry = strings.Repeat("x", 1500)

// round holds the durations of one round.
type round struct {
	window   time.Duration // from the consumption of the token to the reader's answer
	exchange time.Duration // from the reader's request to its answer
	puts     [2]time.Duration
}

// fixture is a Vault with a KV mount and an account. Every read of the account makes an exchange.
type fixture struct {
	vault  *api.Logical
	server *sandbox.Server
}

// close stops the authorization server.
func (f *fixture) close() { _ = f.server.Close() }

// newFixture mounts the engines and enrols the account.
func newFixture(ctx context.Context, node *harness.Node) (*fixture, error) {
	server, err := sandbox.Start(sandbox.Config{})
	if err != nil {
		return nil, err
	}
	f := &fixture{vault: node.Client().Logical(), server: server}
	if err := f.fill(ctx, node); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// fill does the work of newFixture.
func (f *fixture) fill(ctx context.Context, node *harness.Node) error {
	token, err := f.server.Login(ctx, sandbox.DefaultClientID, sandbox.DefaultUsername)
	if err != nil {
		return err
	}
	if err := node.Enable(ctx, "pagero", "vault-plugin-pagero", nil); err != nil {
		return err
	}
	if err := node.Enable(ctx, "kv", "kv", map[string]string{"version": "1"}); err != nil {
		return err
	}
	for _, write := range []struct {
		path string
		data map[string]any
	}{
		{"pagero/config", map[string]any{"allowed_hosts": "*.pageroonline.com,127.0.0.1"}},
		{"pagero/clients/default", map[string]any{
			"client_id":     sandbox.DefaultClientID,
			"client_secret": sandbox.DefaultClientSecret,
			"token_url":     f.server.TokenURL(),
			"ca_cert":       string(f.server.CACertPEM()),
		}},
		{"pagero/accounts/acme", map[string]any{"refresh_token": token}},
	} {
		if _, err := f.vault.WriteWithContext(ctx, write.path, write.data); err != nil {
			return err
		}
	}
	return nil
}

// measure runs a number of rounds. Each has an exchange and two writes, which come first in every other round.
func (f *fixture) measure(ctx context.Context, count int) ([]round, error) {
	var (
		rounds   = make([]round, warmUp+count)
		received = map[string]time.Time{} // by the access token
		order    []string
	)
	for i := range rounds {
		steps := []func() error{
			func() error {
				began := time.Now()
				token, err := f.read(ctx)
				received[token] = time.Now()
				rounds[i].exchange = received[token].Sub(began)
				order = append(order, token)
				return err
			},
			func() error { return f.put(ctx, &rounds[i].puts) },
		}
		if i%2 == 1 {
			steps[0], steps[1] = steps[1], steps[0]
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return nil, err
			}
		}
	}
	processed := map[string]time.Time{}
	for _, r := range f.server.Requests() {
		processed[r.AccessToken] = r.Processed
	}
	if len(processed) != len(rounds) {
		return nil, fmt.Errorf("%d reads made %d exchanges", len(rounds), len(processed))
	}
	for i, token := range order {
		rounds[i].window = received[token].Sub(processed[token])
	}
	return rounds[warmUp:], nil
}

// read reads the token, which makes an exchange.
func (f *fixture) read(ctx context.Context) (string, error) {
	if _, err := f.vault.WriteWithContext(ctx, "pagero/refresh/acme", nil); err != nil {
		return "", err
	}
	secret, err := f.vault.ReadWithContext(ctx, tokenPath)
	if err != nil {
		return "", err
	}
	if secret == nil || len(secret.Warnings) > 0 {
		return "", fmt.Errorf("%s answered %+v", tokenPath, secret)
	}
	token, ok := secret.Data["access_token"].(string)
	if !ok {
		return "", errors.New("no access token in the answer")
	}
	return token, nil
}

// put writes to the KV mount twice.
func (f *fixture) put(ctx context.Context, took *[2]time.Duration) error {
	for i := range took {
		began := time.Now()
		if _, err := f.vault.WriteWithContext(ctx, kvPath, map[string]any{"value": entry}); err != nil {
			return err
		}
		took[i] = time.Since(began)
	}
	return nil
}
