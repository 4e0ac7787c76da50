package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/api"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// scene is what the measurements read: four mounts with the same data.
type scene struct {
	targets []target
	server  *sandbox.Server
}

// close stops the authorization server.
func (s *scene) close() { _ = s.server.Close() }

// checkCached returns an error if a read was answered by an exchange: then the numbers are not
// those of cached reads.
func (s *scene) checkCached() error {
	exchanges := 0
	for _, request := range s.server.Requests() {
		if request.Endpoint == sandbox.EndpointToken {
			exchanges++
		}
	}
	if exchanges != 1 {
		return fmt.Errorf("the sandbox served %d exchanges where one was expected", exchanges)
	}
	return nil
}

// prepare mounts the four engines, enrols an account with the plugin, and gives the others the
// data that the plugin answers.
func prepare(ctx context.Context, node *harness.Node) (*scene, error) {
	server, err := sandbox.Start(sandbox.Config{})
	if err != nil {
		return nil, err
	}
	s := &scene{server: server, targets: []target{
		{name: pageroTarget, path: "pagero/token/acme"},
		{name: bareTarget, path: "bare/token/acme"},
		{name: conventionalTarget, path: "conventional/token/acme"},
		{name: kvTarget, path: "kv/data/acme"},
	}}
	if err := s.fill(ctx, node); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// fill does the work of prepare.
func (s *scene) fill(ctx context.Context, node *harness.Node) error {
	for path, engine := range map[string]string{
		"pagero": "vault-plugin-pagero", "bare": "bareplugin", "conventional": "conventionalplugin",
	} {
		if err := node.Enable(ctx, path, engine, nil); err != nil {
			return err
		}
	}
	if err := node.Enable(ctx, "kv", "kv", map[string]string{"version": "2"}); err != nil {
		return err
	}
	vault := node.Client().Logical()
	answer, err := s.enrol(ctx, vault)
	if err != nil {
		return err
	}
	for _, path := range []string{"bare/token/acme", "conventional/token/acme"} {
		if _, err := vault.WriteWithContext(ctx, path, answer.Data); err != nil {
			return err
		}
	}
	// A fresh KV version 2 mount refuses requests while it upgrades itself.
	return harness.Until(ctx, "the KV mount", func(ctx context.Context) (bool, error) {
		_, err := vault.WriteWithContext(ctx, "kv/data/acme", map[string]any{"data": answer.Data})
		return err == nil, err
	})
}

// enrol stores a client and an account in the plugin and returns the first token's answer.
func (s *scene) enrol(ctx context.Context, vault *api.Logical) (*api.Secret, error) {
	token, err := s.server.Login(ctx, sandbox.DefaultClientID, sandbox.DefaultUsername)
	if err != nil {
		return nil, err
	}
	for _, write := range []struct {
		path string
		data map[string]any
	}{
		{"pagero/config", map[string]any{"allowed_hosts": "*.pageroonline.com,127.0.0.1"}},
		{"pagero/clients/default", map[string]any{
			"client_id":     sandbox.DefaultClientID,
			"client_secret": sandbox.DefaultClientSecret,
			"token_url":     s.server.TokenURL(),
			"ca_cert":       string(s.server.CACertPEM()),
		}},
		{"pagero/accounts/acme", map[string]any{"refresh_token": token}},
	} {
		if _, err := vault.WriteWithContext(ctx, write.path, write.data); err != nil {
			return nil, err
		}
	}
	answer, err := vault.ReadWithContext(ctx, "pagero/token/acme")
	if err == nil && answer == nil {
		err = fmt.Errorf("pagero/token/acme: no answer")
	}
	return answer, err
}
