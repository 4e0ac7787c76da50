package harness

import (
	"context"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAHangIsExcusedOnlyIfTheDumpShowsRaft(t *testing.T) {
	const (
		signal  = "10:00:00 [INFO] core: marked as sealed\nSIGQUIT: quit\nPC=0x1 m=0\n"
		waits   = "github.com/hashicorp/vault/physical/raft.(*RaftBackend).TeardownCluster(0x1)\n"
		stuck   = "github.com/hashicorp/raft.(*Raft).pipelineReplicate(0x2)\n"
		cleanup = "github.com/hashicorp/vault/sdk/plugin.(*backendGRPCPluginClient).Cleanup(0x3)\n"
	)
	for name, c := range map[string]struct {
		log  string
		want bool
	}{
		"it waits for a stuck replication": {log: signal + waits + stuck, want: true},
		"it waits for something else":      {log: signal + waits},
		"a plugin's clean-up does not end": {log: signal + cleanup + stuck},
		"an earlier process hung so":       {log: signal + waits + stuck + signal + cleanup},
		"there is no dump":                 {log: "10:00:00 [INFO] core: marked as sealed\n"},
		"the log has it outside of a dump": {log: waits + stuck},
	} {
		if got := waitsForRaft(c.log); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestAProcessThatDoesNotEndIsKilledWithAnError(t *testing.T) {
	p, err := startProcess(filepath.Join(t.TempDir(), "log"), nil, "/bin/sh", "-c", `trap "" TERM; while :; do sleep 0.1; done`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := p.end(ctx, syscall.SIGTERM); err == nil || !strings.Contains(err.Error(), "did not end on terminated") {
		t.Errorf("error %v", err)
	}
	if p.running() {
		t.Error("it still runs")
	}
}
