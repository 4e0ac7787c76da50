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

// The names of the plugins.
const (
	pageroPlugin       = "vault-plugin-pagero"
	profiledPlugin     = "profiledplugin"
	barePlugin         = "bareplugin"
	conventionalPlugin = "conventionalplugin"
)

// The paths of the mounts.
const (
	pageroMount       = "pagero"
	profiledMount     = "profiled"
	bareMount         = "bare"
	conventionalMount = "conventional"
	kvMount           = "kv"  // version 2
	kv1Mount          = "kv1" // version 1
)

// The users of the sandbox. The token endpoint answers all accounts of a user in the same way.
const (
	promptUser = "prompt" // without a delay
	slowUser   = "slow"   // after endpointDelay
	variedUser = "varied" // after endpointDelay on average, which varies by half of it
	hungUser   = "hung"   // as the measurement sets it
	briefUser  = "brief"  // as the measurement sets it
)

// endpointDelay is how long the token endpoint takes for slowUser.
const endpointDelay = 100 * time.Millisecond

// tokenLifetime is the lifetime of access tokens that must not expire during a run. It is the longest lifetime that the plugin
// accepts.
const tokenLifetime = 24 * time.Hour

// enrolments is the number of accounts that are written at the same time.
const enrolments = 32

// fixture is a Vault, a token endpoint and a load process.
type fixture struct {
	dir     string
	cluster *harness.Cluster
	node    *harness.Node
	vault   *api.Logical
	server  *sandbox.Server
	load    *load.Process
}

// build builds the plugins, without the race detector.
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

// sameParts returns an error if the plugins have different versions of a module. The benchmark would compare the versions
// then.
func sameParts(a, b harness.Plugin) error {
	versions := map[string]string{}
	for _, p := range []harness.Plugin{a, b} {
		info, err := buildinfo.ReadFile(p.Path)
		if err != nil {
			return err
		}
		for _, m := range info.Deps {
			if known, both := versions[m.Path]; both && known != m.Version {
				return fmt.Errorf("%s is built with %s %s, but %s with %s: run go mod tidy in acceptance/bench/plugins", a.Name, m.Path, known, b.Name, m.Version)
			}
			versions[m.Path] = m.Version
		}
	}
	return nil
}

// newFixture starts everything. There is no audit device and little logging, because both would cost all targets the same. The
// caller must close the fixture, even after an error.
func newFixture(ctx context.Context) (f *fixture, err error) {
	f = &fixture{}
	if f.dir, err = os.MkdirTemp("", "pagero-bench-"); err != nil {
		return f, err
	}
	plugins, err := build(ctx, f.dir)
	if err != nil {
		return f, err
	}
	fmt.Fprintln(os.Stderr, "starting Vault")
	f.cluster, err = harness.Start(ctx, harness.Options{Plugins: plugins, LogLevel: "warn", NoAudit: true})
	if err != nil {
		return f, err
	}
	f.node = f.cluster.Nodes[0]
	f.vault = f.node.Client().Logical()
	users := []sandbox.User{}
	for _, name := range []string{promptUser, slowUser, variedUser, hungUser, briefUser} {
		users = append(users, sandbox.User{Username: name, Password: "none"})
	}
	f.server, err = sandbox.Start(sandbox.Config{AccessTokenLifetime: tokenLifetime, Users: users, Faults: true})
	if err != nil {
		return f, err
	}
	if _, err = f.server.SetFault(sandbox.Fault{User: variedUser, Delay: endpointDelay, Jitter: endpointDelay / 2}); err != nil {
		return f, err
	}
	if _, err = f.server.SetFault(sandbox.Fault{User: slowUser, Delay: endpointDelay}); err != nil {
		return f, err
	}
	program, err := os.Executable()
	if err != nil {
		return f, err
	}
	f.load, err = load.Start(program, loadArgument)
	return f, err
}

// close ends everything.
func (f *fixture) close() error {
	var errs []error
	if f.load != nil {
		errs = append(errs, f.load.Close())
	}
	if f.cluster != nil {
		errs = append(errs, f.cluster.Close())
	}
	if f.server != nil {
		errs = append(errs, f.server.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(f.dir))...)
}

// mount mounts an engine.
func (f *fixture) mount(ctx context.Context, path, engine string) error {
	var options map[string]string
	switch path {
	case kvMount:
		options = map[string]string{"version": "2"}
	case kv1Mount:
		options = map[string]string{"version": "1"}
	}
	if err := f.node.Enable(ctx, path, engine, options); err != nil {
		return err
	}
	if engine != pageroPlugin && engine != profiledPlugin {
		return nil
	}
	if err := f.write(ctx, path+"/config", map[string]any{"allowed_hosts": "127.0.0.1"}); err != nil {
		return err
	}
	return f.write(ctx, path+"/clients/default", map[string]any{
		"client_id":     sandbox.DefaultClientID,
		"client_secret": sandbox.DefaultClientSecret,
		"token_url":     f.server.TokenURL(),
		"revoke_url":    f.server.RevokeURL(),
		"ca_cert":       string(f.server.CACertPEM()),
	})
}

// write writes to a path.
func (f *fixture) write(ctx context.Context, path string, data map[string]any) error {
	_, err := f.vault.WriteWithContext(ctx, path, data)
	return err
}

// enrol writes accounts of a user, with more fields.
func (f *fixture) enrol(ctx context.Context, mount, user string, more map[string]any, names ...string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(enrolments)
	for _, name := range names {
		group.Go(func() error {
			token, err := f.server.Login(ctx, sandbox.DefaultClientID, user)
			if err != nil {
				return err
			}
			data := map[string]any{"refresh_token": token}
			for field, value := range more {
				data[field] = value
			}
			return f.write(ctx, mount+"/accounts/"+name, data)
		})
	}
	return group.Wait()
}

// numbered returns names with six digits, as the load process generates them.
func numbered(prefix string, count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("%s%06d", prefix, i)
	}
	return names
}

// reads returns a job that reads a path of Vault. The path may contain {}.
func (f *fixture) reads(path string, connections int) load.Job {
	return load.Job{
		Connections: connections,
		URL:         f.node.Address + "/v1/" + path,
		Header:      map[string]string{"X-Vault-Token": f.cluster.RootToken},
	}
}

// refreshes is a job that runs an exchange with each request. A read does not: readers of an account with refresh_on_read
// share a token that is younger than ten seconds.
func (f *fixture) refreshes(account string, connections int) load.Job {
	job := f.reads("pagero/refresh/"+account, connections)
	job.Method = "PUT"
	return job
}

// probe returns a client for the probe of a plugin.
func (f *fixture) probe(plugin string) *probe.Client {
	return probe.Dial(probe.Socket(f.cluster.Dir, plugin))
}

// exchanges returns how many refresh requests the token endpoint has answered with tokens.
func (f *fixture) exchanges() int { return f.server.Stats().Exchanges["ok"] }
