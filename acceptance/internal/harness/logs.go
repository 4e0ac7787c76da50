package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LogFile returns the path of the server's log, which has its plugins' logs, too.
func (n *Node) LogFile() string { return filepath.Join(n.dir, "vault.log") }

// AuditLog returns the path of the audit log. All nodes write to it: the device's path is the same for
// the whole cluster.
func (n *Node) AuditLog() string { return filepath.Join(n.cluster.Dir, "audit.log") }

// LogTail returns the last lines of every node's log.
func (c *Cluster) LogTail(lines int) string {
	var tail strings.Builder
	for _, node := range c.Nodes {
		content, err := os.ReadFile(node.LogFile())
		if err != nil {
			fmt.Fprintf(&tail, "%s: no log: %v\n", node.Name, err)
			continue
		}
		all := strings.Split(strings.TrimSpace(string(content)), "\n")
		fmt.Fprintf(&tail, "last lines of %s:\n%s\n", node.LogFile(),
			strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return tail.String()
}

// hangsInRaft says whether the server's last dump of its goroutines shows that it waited for those of the raft
// library, after it had ended the mounts. Two of them may wait for each other for ever, where replication to
// another node ended just as it had more to send than is answered at once.
func (n *Node) hangsInRaft() bool {
	content, err := os.ReadFile(n.LogFile())
	return err == nil && waitsForRaft(string(content))
}

func waitsForRaft(log string) bool {
	at := strings.LastIndex(log, "\nSIGQUIT: quit")
	if at < 0 {
		return false
	}
	dump := log[at:]
	return strings.Contains(dump, "raft.(*RaftBackend).TeardownCluster(") && strings.Contains(dump, "raft.(*Raft).pipelineReplicate(")
}

// findRaces returns an error with the race detector's report, if a plugin made one. Plugins write
// it to their stderr, which Vault logs.
func (c *Cluster) findRaces() error {
	for _, node := range c.Nodes {
		content, err := os.ReadFile(node.LogFile())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if at := strings.Index(string(content), "DATA RACE"); at >= 0 {
			report := string(content[at:])
			return fmt.Errorf("a plugin has a data race:\n%s", report[:min(len(report), 8000)])
		}
	}
	return nil
}
