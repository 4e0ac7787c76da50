package harness

// Server returns the node's Vault process, which runs.
func (n *Node) Server() Process {
	return Process{PID: n.process.Load().cmd.Process.Pid, Command: n.cluster.vault}
}
