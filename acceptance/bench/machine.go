package main

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// machine describes the machine of the measurements, and how long they took.
func machine(ctx context.Context, node *harness.Node, began time.Time) (m report.Machine, err error) {
	m = report.Machine{
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Processors: processors,
		Date: began.UTC().Format(time.DateOnly), Minutes: time.Since(began).Minutes(),
	}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return m, err
	}
	memory, err := proc.Meminfo()
	if err != nil {
		return m, err
	}
	m.MemoryGiB = float64(*memory.MemTotal) / (1 << 20)
	health, err := node.Client().Sys().HealthWithContext(ctx)
	if err != nil {
		return m, err
	}
	m.Vault = health.Version
	version, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude=*").Output()
	m.Plugin = strings.TrimSpace(string(version))
	return m, err
}
