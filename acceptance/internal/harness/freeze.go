package harness

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// frozen is a server that stands still, with its plugins.
type frozen struct {
	pids     []int
	watchdog *watchdog // lets them go on when this process dies: a stopped process ends on SIGKILL only
}

// Freeze stops the node's process and its plugins of that name with SIGSTOP, as a machine that
// hangs or a partition would: its connections stay open and nothing comes over them. Requests to
// the node need a timeout of their own. Thaw ends it.
func (n *Node) Freeze(ctx context.Context, plugin string) error {
	if n.frozen != nil {
		return fmt.Errorf("%s is frozen already", n.Name)
	}
	plugins, err := n.PluginProcesses(ctx, plugin)
	if err != nil {
		return err
	}
	f := &frozen{}
	for _, p := range plugins {
		f.pids = append(f.pids, p.PID)
	}
	f.pids = append(f.pids, n.process.cmd.Process.Pid)
	wake := "kill -CONT " + strings.Trim(fmt.Sprint(f.pids), "[]")
	if f.watchdog, err = startWatchdog(wake); err != nil {
		return err
	}
	n.frozen = f
	for _, pid := range f.pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return errors.Join(fmt.Errorf("stopping process %d: %w", pid, err), n.Thaw())
		}
	}
	return nil
}

// Thaw lets a frozen node go on; another is left alone.
func (n *Node) Thaw() error {
	if n.frozen == nil {
		return nil
	}
	var errs []error
	for _, pid := range n.frozen.pids {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("continuing process %d: %w", pid, err))
		}
	}
	n.frozen.watchdog.dismiss()
	n.frozen = nil
	return errors.Join(errs...)
}
