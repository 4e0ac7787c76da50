package main

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/procfs"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// processors is the number of processors of the machine.
var processors = runtime.NumCPU()

// cpuTime is processor time.
type cpuTime = time.Duration

// usage is the processor time of Vault and of one of its plugins.
type usage struct{ vault, plugin cpuTime }

// total returns the sum of both.
func (u usage) total() cpuTime { return u.vault + u.plugin }

// processorTime returns the processor time of Vault and of a plugin. The plugin's is 0 if Vault has no such process.
func (f *fixture) processorTime(ctx context.Context, plugin string) (u usage, err error) {
	if u.vault, err = usedBy(f.node.Server().PID); err != nil {
		return u, err
	}
	found, err := f.node.PluginProcesses(ctx, plugin)
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

// patience bounds waits for what must happen eventually. It is not a performance limit.
const patience = 15 * time.Minute

// patiently waits for a condition, at most for patience.
func patiently(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return harness.Until(ctx, what, condition)
}

// megabyte is the unit of memory sizes.
const megabyte = 1e6

// memory returns the memory of the process of a plugin. It waits until there is only one process, because an old one may
// still be ending. Only plugins with a probe report their heap.
func (f *fixture) memory(ctx context.Context, plugin string) (m report.Memory, err error) {
	var found []harness.Process
	err = patiently(ctx, "one process of "+plugin, func(ctx context.Context) (bool, error) {
		found, err = f.node.PluginProcesses(ctx, plugin)
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
		cost, err := f.probe(plugin).Cost(ctx)
		if err != nil {
			return m, err
		}
		m.Heap = float64(cost.Heap) / megabyte
	}
	return m, nil
}
