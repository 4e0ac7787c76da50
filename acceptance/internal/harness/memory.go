package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// ResidentMemory returns the process's resident memory, in bytes.
func (p Process) ResidentMemory(ctx context.Context) (int64, error) {
	var kib string
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err == nil {
		_, kib, _ = strings.Cut(string(status), "VmRSS:")
		kib, _, _ = strings.Cut(kib, "kB")
	} else { // as in ListProcesses
		out, err := exec.CommandContext(ctx, "ps", "-p", strconv.Itoa(p.PID), "-o", "rss=").Output()
		if err != nil {
			return 0, fmt.Errorf("ps: %w", err)
		}
		kib = string(out)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(kib), 10, 64)
	return n << 10, err
}
