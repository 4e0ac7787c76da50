package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// ListProcesses returns the processes of the system with their command lines. It reads /proc, because a small Linux system has
// no ps. If there is no /proc, it runs ps.
func ListProcesses(ctx context.Context) ([]Process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return listWithPS(ctx)
	}
	var all []Process
	for _, stat := range stats {
		dir := filepath.Dir(stat)
		fields, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		p := Process{Command: strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))}
		// The name in parentheses may contain spaces and parentheses. State and parent follow it.
		numbers := string(fields[strings.LastIndexByte(string(fields), ')')+1:])
		var state string
		if _, err := fmt.Sscan(numbers, &state, &p.Parent); err != nil {
			return nil, fmt.Errorf("%s says %q: %w", stat, fields, err)
		}
		if p.PID, err = strconv.Atoi(filepath.Base(dir)); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// listWithPS is ListProcesses for systems without /proc.
func listWithPS(ctx context.Context) ([]Process, error) {
	out, err := exec.CommandContext(ctx, "ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "args=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var all []Process
	for line := range strings.Lines(string(out)) {
		var p Process
		if _, err := fmt.Sscan(line, &p.PID, &p.Parent); err != nil {
			return nil, fmt.Errorf("ps said %q: %w", line, err)
		}
		_, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		_, p.Command, _ = strings.Cut(strings.TrimSpace(rest), " ")
		all = append(all, p)
	}
	return all, nil
}
