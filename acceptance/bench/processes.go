package main

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/procfs"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// processors is how many the machine has.
var processors = runtime.NumCPU()

// cpuTime is processor time.
type cpuTime = time.Duration

// usage is the processor time that a Vault and one of its plugins have used.
type usage struct{ vault, plugin cpuTime }

// total is that of both.
func (u usage) total() cpuTime { return u.vault + u.plugin }

// processorTime returns what Vault and a plugin have used; the plugin's is 0 where Vault has no process
// of that name.
func (s *stage) processorTime(ctx context.Context, plugin string) (u usage, err error) {
	if u.vault, err = usedBy(s.node.Server().PID); err != nil {
		return u, err
	}
	found, err := s.node.PluginProcesses(ctx, plugin)
	for _, p := range found {
		used, err := usedBy(p.PID)
		if err != nil {
			return u, err
		}
		u.plugin += used
	}
	return u, err
}

// usedBy returns the processor time that a process has used.
func usedBy(pid int) (cpuTime, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := p.Stat()
	return cpuTime(stat.CPUTime() * float64(time.Second)), err
}

// patience bounds what must happen some time. It is no measure of anything.
const patience = 15 * time.Minute

// patiently waits for a condition.
func patiently(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return harness.Until(ctx, what, condition)
}

// megabyte is what memory is told in.
const megabyte = 1e6

// memory returns what of the one process of a plugin is in memory; another one may be about to end. The heap is
// known of plugins with a probe.
func (s *stage) memory(ctx context.Context, plugin string) (m report.Memory, err error) {
	var found []harness.Process
	err = patiently(ctx, "one process of "+plugin, func(ctx context.Context) (bool, error) {
		found, err = s.node.PluginProcesses(ctx, plugin)
		return len(found) == 1, err
	})
	if err != nil {
		return m, err
	}
	p, err := procfs.NewProc(found[0].PID)
	if err != nil {
		return m, err
	}
	status, err := p.NewStatus()
	if err != nil {
		return m, err
	}
	m.Resident, m.Anonymous = float64(status.VmRSS)/megabyte, float64(status.RssAnon)/megabyte
	if plugin == profiledPlugin || plugin == barePlugin {
		cost, err := s.probe(plugin).Cost(ctx)
		if err != nil {
			return m, err
		}
		m.Heap = float64(cost.Heap) / megabyte
	}
	return m, nil
}
