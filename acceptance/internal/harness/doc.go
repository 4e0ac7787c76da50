// Package harness runs real Vault servers with real plugin processes for the acceptance tests and
// the benchmark.
//
// A Cluster is one or more Vault nodes with raft storage on loopback addresses. It is initialised and unsealed. Its plugin
// directory, audit log and logs are in a temporary directory. Nodes can be stopped, killed, frozen and restarted, and can step
// down. Plugin processes can be found and killed. Close ends everything that a cluster started. So does the end of the test
// process.
//
// The functions return errors and do not use package testing, because the benchmark calls them, too.
package harness
