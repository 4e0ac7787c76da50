// Package report writes docs/performance.md and its plots from the measurements. It keeps the measurements as JSON files, so
// that either of the two commands can write the whole page.
package report

// Summary is the median and the spread of the rounds of a measurement.
type Summary struct{ Median, Low, High float64 }

// Comparison is a measurement of the plugin (ours) and of something else (theirs), with the ratio within each round.
type Comparison struct{ Ours, Theirs, Ratio Summary }

// Machine describes the machine of a run.
type Machine struct {
	System, Go, Vault, Plugin string
	Processors                int
	MemoryGiB                 float64
	Date                      string
	Minutes                   float64 // the duration of the run
}

// Bench holds the results of "make bench".
type Bench struct {
	Machine    Machine
	Rounds     int
	Cached     []Cached
	LoadShare  float64 // the largest share of the processors that the load process took
	Hang       Hang
	Exchange   Exchange
	Expiry     Expiry
	Throughput []Throughput
	Background Background
	Cost       Cost
	Ladder     Ladder
}

// Cached holds reads of a token in memory over a number of connections.
type Cached struct {
	Connections int
	Targets     []Target
	// Ceiling is the rate of the bare plugin divided by that of the conventional one: the most that a plugin can gain.
	Ceiling Summary
}

// Target holds the results of the plugin or of something that it is compared with.
type Target struct {
	Name                string
	Rate, P50, P99, CPU Summary // 1/s; the latencies in ms; µs of Vault and plugin per read
	// The ratios of the plugin to this target.
	RateRatio, P50Ratio, P99Ratio, CPURatio Summary
}

// Hang holds reads while an exchange hangs (ours) and without such an exchange (theirs).
type Hang struct {
	Connections           int
	SameP99, SameRate     Comparison // ms, 1/s
	OthersP99, OthersRate Comparison
	// Window is an account in its refresh window. Its readers wait a while for the exchange.
	Window, WindowWithout HangLatency
}

// HangLatency holds the latencies of the readers of one account, in ms.
type HangLatency struct{ P50, P99, Max, Rate float64 }

// Exchange is a read that makes an exchange. Ours is its time without the token endpoint, theirs is two writes to KV
// version 1.
type Exchange struct {
	Reads    int     // per round
	Read     Summary // ms
	Endpoint Summary // ms, the same exchange by a plain client
	Handling Summary // ms, the part of Endpoint that the server takes for the request
	Beyond   Comparison
	// BeyondHandling counts the connection to the endpoint and the TLS handshake as ours.
	BeyondHandling Comparison
	// Bare is a plugin with only the storage operations of an exchange, divided by two puts. BeyondBare is ours divided by
	// that plugin.
	Bare, BeyondBare Comparison
	// Post is the mean exchange as the plugin measures it, divided by a plain client's. BeyondPost is the rest of the read,
	// divided by the bare plugin.
	Post, BeyondPost Comparison
}

// Expiry holds reads at the moment of expiry. Ours is the p99 of many readers, theirs is a single reader.
type Expiry struct {
	Readers   int
	Exchanges int // of all rounds
	Rounds    int
	P99       Comparison // ms
	P50       Summary
	// Floor compares with the p99 of as many readers of a valid token.
	Floor Comparison
	// Ahead is the time from the first request until the exchange reaches the endpoint.
	Ahead Comparison
}

// Throughput holds exchanges per second over many accounts.
type Throughput struct {
	Connections int
	Varied      bool    // the time of the endpoint varies around the same average
	Limit       float64 // of the endpoint
	Rate, Ratio Summary
	// Busy is the share of the processors that was busy with the whole run. Own is the part of Vault and the plugin.
	Busy, Own Summary
	// Wanted is the share of the processors that the limit would need, at the cost of an exchange in this run.
	Wanted Summary
}

// Background holds the exchanges that the plugin starts by itself.
type Background struct {
	Accounts           int
	Limit, Rate, Ratio float64
}

// Cost is the cost of a cached read in the process of the plugin.
type Cost struct {
	Reads                      int // per round
	CPU, Objects, Bytes        Comparison
	TopCPU, TopObjects         string
	BackendCPU, BackendObjects string
}

// Ladder holds a mount with more and more accounts.
type Ladder struct {
	Rungs []Rung
	Bare  Rung   // the bare plugin
	Plain Memory // the plugin without a probe, with one account
}

// Memory is the memory of a process, in MB.
type Memory struct{ Resident, Anonymous, Heap float64 }

// Rung holds the results of one number of accounts.
type Rung struct {
	Accounts   int
	First      Summary // ms, from the start of the plugin to its first token
	FirstRatio Summary // divided by the bare plugin
	Started    Memory  // after the first token
	Scanned    Memory  // after the plugin has seen all accounts
	ScanCPU    float64 // µs of Vault and plugin per account
	ReadAll    Memory  // after all tokens were read
	Cold       Latency
	Warm       Latency
}

// Latency is the latency of reads of random accounts, in ms.
type Latency struct{ P50, P99, Rate Summary }

// Scale holds the results of "make bench-scale".
type Scale struct {
	Machine  Machine
	Accounts int
	Ladder   Ladder
	Unseal   Unseal
	Idle     []Idle
	Fresh    Fresh
}

// Unseal is the time until the first answer after an unseal, in ms.
type Unseal struct {
	Rounds                int
	Active                Summary // from the unseal request until Vault is active
	Token, Bare           Summary // from the unseal request
	TokenAfter, BareAfter Summary // from the moment at which Vault is active
}

// Idle is the cost of a Vault without requests, in ms of processor time per minute.
type Idle struct {
	State         string
	Vault, Plugin float64
}

// Fresh holds the results of accounts with auto_refresh.
type Fresh struct {
	Accounts, Lifetime             int
	Minutes                        float64
	Exchanges, Reads               int
	Waited, Stale, Failed, Expired int
	LeastRemaining                 float64 // s
	MaxLatency                     float64 // ms
	Memory                         Memory
	CPU                            float64 // ms of the plugin per minute
	Simulated                      string  // the output of the test of a simulated hour
}
