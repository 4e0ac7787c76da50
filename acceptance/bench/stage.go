package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/errgroup"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/plugins/probe"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// The plugins, which are mounted at the paths below.
const (
	pageroPlugin       = "vault-plugin-pagero"
	profiledPlugin     = "profiledplugin"
	barePlugin         = "bareplugin"
	conventionalPlugin = "conventionalplugin"
)

// The mounts.
const (
	pageroMount       = "pagero"
	profiledMount     = "profiled"
	bareMount         = "bare"
	conventionalMount = "conventional"
	kvMount           = "kv"  // version 2
	kv1Mount          = "kv1" // version 1
)

// Users of the sandbox: what is said of one holds for the token endpoint's answers to all accounts of
// that user.
const (
	promptUser = "prompt" // without delay
	slowUser   = "slow"   // after endpointDelay
	variedUser = "varied" // after a time that is endpointDelay in the middle, and varies by half of it
	hungUser   = "hung"   // as a measurement says
	briefUser  = "brief"  // likewise
)

// endpointDelay is how long the token endpoint takes for slowUser.
const endpointDelay = 100 * time.Millisecond

// tokenLifetime is how long access tokens live that must not expire during a run: the most that the
// plugin believes.
const tokenLifetime = 24 * time.Hour

// enrolments is how many accounts are written at a time.
const enrolments = 32

// stage is what the measurements work with: a Vault, a token endpoint and a load process.
type stage struct {
	dir     string
	cluster *harness.Cluster
	node    *harness.Node
	vault   *api.Logical
	server  *sandbox.Server
	load    *load.Process
}

// build builds the plugins. None has the race detector.
func build(ctx context.Context, dir string) ([]harness.Plugin, error) {
	fmt.Fprintln(os.Stderr, "building the plugins")
	pagero, err := harness.PageroPluginForBench(ctx, dir, "v0.0.0-bench")
	if err != nil {
		return nil, err
	}
	plugins := []harness.Plugin{pagero}
	for _, name := range []string{profiledPlugin, barePlugin, conventionalPlugin} {
		p, err := harness.BuildPlugin(ctx, dir, harness.BuildOptions{
			Name: name, Module: "acceptance/bench/plugins", Package: "./" + name, NoRace: true,
		})
		if err == nil {
			err = sameParts(pagero, p)
		}
		if err != nil {
			return nil, err
		}
		plugins = append(plugins, p)
	}
	return plugins, nil
}

// sameParts makes sure that two plugins have the same versions of the modules that both have: otherwise these would
// be compared.
func sameParts(a, b harness.Plugin) error {
	versions := map[string]string{}
	for _, p := range []harness.Plugin{a, b} {
		info, err := buildinfo.ReadFile(p.Path)
		if err != nil {
			return err
		}
		for _, m := range info.Deps {
			if known, both := versions[m.Path]; both && known != m.Version {
				return fmt.Errorf("%s is built with %s %s, %s with %s: run go mod tidy in acceptance/bench/plugins", a.Name, m.Path, known, b.Name, m.Version)
			}
			versions[m.Path] = m.Version
		}
	}
	return nil
}

// raise starts everything. There is no audit device and little log: both would cost everything that is
// compared the same. The caller closes the stage, also after an error.
func raise(ctx context.Context) (s *stage, err error) {
	s = &stage{}
	if s.dir, err = os.MkdirTemp("", "pagero-bench-"); err != nil {
		return s, err
	}
	plugins, err := build(ctx, s.dir)
	if err != nil {
		return s, err
	}
	fmt.Fprintln(os.Stderr, "starting Vault")
	s.cluster, err = harness.Start(ctx, harness.Options{Plugins: plugins, LogLevel: "warn", NoAudit: true})
	if err != nil {
		return s, err
	}
	s.node = s.cluster.Nodes[0]
	s.vault = s.node.Client().Logical()
	users := []sandbox.User{}
	for _, name := range []string{promptUser, slowUser, variedUser, hungUser, briefUser} {
		users = append(users, sandbox.User{Username: name, Password: "none"})
	}
	s.server, err = sandbox.Start(sandbox.Config{AccessTokenLifetime: tokenLifetime, Users: users, Faults: true})
	if err != nil {
		return s, err
	}
	if _, err = s.server.SetFault(sandbox.Fault{User: variedUser, Delay: endpointDelay, Jitter: endpointDelay / 2}); err != nil {
		return s, err
	}
	if _, err = s.server.SetFault(sandbox.Fault{User: slowUser, Delay: endpointDelay}); err != nil {
		return s, err
	}
	program, err := os.Executable()
	if err != nil {
		return s, err
	}
	s.load, err = load.Start(program, loadArgument)
	return s, err
}

// close ends everything.
func (s *stage) close() error {
	var errs []error
	if s.load != nil {
		errs = append(errs, s.load.Close())
	}
	if s.cluster != nil {
		errs = append(errs, s.cluster.Close())
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// mount mounts an engine.
func (s *stage) mount(ctx context.Context, path, engine string) error {
	var options map[string]string
	switch path {
	case kvMount:
		options = map[string]string{"version": "2"}
	case kv1Mount:
		options = map[string]string{"version": "1"}
	}
	if err := s.node.Enable(ctx, path, engine, options); err != nil {
		return err
	}
	if engine != pageroPlugin && engine != profiledPlugin {
		return nil
	}
	if err := s.write(ctx, path+"/config", map[string]any{"allowed_hosts": "127.0.0.1"}); err != nil {
		return err
	}
	return s.write(ctx, path+"/clients/default", map[string]any{
		"client_id":     sandbox.DefaultClientID,
		"client_secret": sandbox.DefaultClientSecret,
		"token_url":     s.server.TokenURL(),
		"revoke_url":    s.server.RevokeURL(),
		"ca_cert":       string(s.server.CACertPEM()),
	})
}

// write writes to a path.
func (s *stage) write(ctx context.Context, path string, data map[string]any) error {
	_, err := s.vault.WriteWithContext(ctx, path, data)
	return err
}

// enrol writes accounts of a user, with what else they are to have.
func (s *stage) enrol(ctx context.Context, mount, user string, more map[string]any, names ...string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(enrolments)
	for _, name := range names {
		group.Go(func() error {
			token, err := s.server.Login(ctx, sandbox.DefaultClientID, user)
			if err != nil {
				return err
			}
			data := map[string]any{"refresh_token": token}
			for field, value := range more {
				data[field] = value
			}
			return s.write(ctx, mount+"/accounts/"+name, data)
		})
	}
	return group.Wait()
}

// numbered returns names with six digits, as the load process makes them.
func numbered(prefix string, count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("%s%06d", prefix, i)
	}
	return names
}

// reads is a job of reads at a path of Vault, which may hold a {}.
func (s *stage) reads(path string, connections int) load.Job {
	return load.Job{
		Connections: connections,
		URL:         s.node.Address + "/v1/" + path,
		Header:      map[string]string{"X-Vault-Token": s.cluster.RootToken},
	}
}

// probe asks a plugin.
func (s *stage) probe(plugin string) *probe.Client {
	return probe.Dial(probe.Socket(s.cluster.Dir, plugin))
}

// exchanges is how many refresh grants the token endpoint has answered with tokens.
func (s *stage) exchanges() int { return s.server.Stats().Exchanges["ok"] }
