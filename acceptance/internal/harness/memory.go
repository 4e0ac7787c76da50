package harness

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// ResidentMemory returns the process's resident memory, in bytes.
func (p Process) ResidentMemory(ctx context.Context) (int64, error) {
	out, err := exec.CommandContext(ctx, "ps", "-p", strconv.Itoa(p.PID), "-o", "rss=").Output()
	if err != nil {
		return 0, fmt.Errorf("ps: %w", err)
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kib << 10, err
}
