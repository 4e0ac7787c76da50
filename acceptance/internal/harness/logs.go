package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LogFile returns the path of the server's log. It contains the logs of its plugins, too.
func (n *Node) LogFile() string { return filepath.Join(n.dir, "vault.log") }

// AuditLog returns the path of the audit log. All nodes write to it, because the path of the device is the same in the whole
// cluster.
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

// hangsInRaft reports whether the server waited for goroutines of the raft library after it had ended the mounts, according to
// its last dump of goroutines. Two of them may wait for each other for ever, if replication to another node ends while many
// answers of that node are outstanding.
func (n *Node) hangsInRaft() bool {
	content, err := os.ReadFile(n.LogFile())
	return err == nil && waitsForRaft(string(content))
}

// waitsForRaft is hangsInRaft for the content of a log.
func waitsForRaft(log string) bool {
	at := strings.LastIndex(log, "\nSIGQUIT: quit")
	if at < 0 {
		return false
	}
	dump := log[at:]
	return strings.Contains(dump, "raft.(*RaftBackend).TeardownCluster(") && strings.Contains(dump, "raft.(*Raft).pipelineReplicate(")
}

// findRaces returns an error with the report of the race detector, if a plugin has written one. Plugins write it to stderr,
// which Vault logs.
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
