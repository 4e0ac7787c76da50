package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/load"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/plugins/probe"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// costConnections is the number of connections during the measurement of the cost.
const costConnections = 16

// profileSeconds is the duration of the profiles.
const profileSeconds = 4

// cost measures what a cached read costs in the process of the plugin and in that of the bare plugin, and takes profiles.
func (f *fixture) cost(ctx context.Context, p plan, to *report.Bench) error {
	if err := f.mount(ctx, profiledMount, profiledPlugin); err != nil {
		return err
	}
	if err := f.enrol(ctx, profiledMount, promptUser, nil, "acme"); err != nil {
		return err
	}
	reads := 20_000
	if p.quick {
		reads = 2000
	}
	jobs := [2]load.Job{f.reads("profiled/token/acme", costConnections), f.reads("bare/token/acme", costConnections)}
	plugins := [2]string{profiledPlugin, barePlugin}
	var cpu, objects, size [2][]float64
	for round := range p.rounds + 1 {
		for i := range jobs {
			i = (i + round) % len(jobs)
			job := jobs[i]
			job.Requests = reads
			spent, err := f.spent(ctx, f.probe(plugins[i]), job)
			if err != nil {
				return err
			}
			if round == 0 {
				continue
			}
			cpu[i] = append(cpu[i], micros(spent.CPU)/float64(reads))
			objects[i] = append(objects[i], float64(spent.Mallocs)/float64(reads))
			size[i] = append(size[i], float64(spent.Bytes)/float64(reads))
		}
	}
	to.Cost = report.Cost{
		Reads: reads, CPU: compare(cpu[0], cpu[1]), Objects: compare(objects[0], objects[1]), Bytes: compare(size[0], size[1]),
	}
	return f.profile(ctx, jobs[0], &to.Cost)
}

// spent runs a job and returns what the process of a plugin used for it.
func (f *fixture) spent(ctx context.Context, of *probe.Client, job load.Job) (c probe.Cost, err error) {
	before, err := of.Cost(ctx)
	if err != nil {
		return c, err
	}
	if _, err = f.load.Run(ctx, job); err != nil {
		return c, err
	}
	after, err := of.Cost(ctx)
	return probe.Cost{
		CPU: after.CPU - before.CPU, Mallocs: after.Mallocs - before.Mallocs, Bytes: after.Bytes - before.Bytes,
	}, err
}

// profile takes profiles of the plugin during cached reads and saves them in bin/profiles. It records the most expensive
// functions, and those of this repository.
func (f *fixture) profile(ctx context.Context, job load.Job, to *report.Cost) error {
	root, err := harness.RepoRoot()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "bin", "profiles")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	plugin := f.probe(profiledPlugin)
	job.Requests, job.Duration = 0, (profileSeconds+1)*time.Second
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := f.load.Run(groupCtx, job)
		return err
	})
	for name, path := range map[string]string{
		"cpu": fmt.Sprintf("/debug/pprof/profile?seconds=%d", profileSeconds), "allocs": fmt.Sprintf("/debug/pprof/allocs?seconds=%d", profileSeconds),
	} {
		group.Go(func() error {
			body, err := plugin.Get(groupCtx, path)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name+".pprof"), body, 0o644)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, top := range []struct {
		into *string
		file string
		args []string
	}{
		{&to.TopCPU, "cpu", []string{"-nodecount=15"}},
		{&to.BackendCPU, "cpu", []string{"-cum", "-show=vault-plugin-pagero/", "-nodecount=12"}},
		{&to.TopObjects, "allocs", []string{"-sample_index=alloc_objects", "-nodecount=15"}},
		{&to.BackendObjects, "allocs", []string{"-cum", "-sample_index=alloc_objects", "-show=vault-plugin-pagero/", "-nodecount=12"}},
	} {
		if *top.into, err = pprofTop(ctx, filepath.Join(dir, top.file+".pprof"), top.args...); err != nil {
			return err
		}
	}
	return nil
}

// pprofTop returns the table of the most expensive functions.
func pprofTop(ctx context.Context, file string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"tool", "pprof", "-top"}, args...), file)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool pprof: %w\n%s", err, errs.String())
	}
	_, table, found := strings.Cut(string(out), "      flat ")
	if !found {
		return "", fmt.Errorf("go tool pprof printed no table:\n%s", out)
	}
	lines := []string{"      flat " + strings.TrimRight(table, "\n")}
	return strings.Join(lines, "\n"), nil
}
