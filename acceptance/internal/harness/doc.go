// Package harness runs real Vault servers with real plugin processes for the acceptance tests and
// the benchmark.
//
// A Cluster is one or more Vault nodes with raft storage on loopback addresses, initialised and
// unsealed, with a plugin directory, an audit device and its logs in a temporary directory. Nodes
// can be stopped, killed, frozen and started again, and step down; plugin processes can be found and
// killed. Everything that a cluster started ends with Close, and ends too when the test process dies.
//
// The functions return errors and know nothing of package testing, because the benchmark uses
// them too.
package harness
