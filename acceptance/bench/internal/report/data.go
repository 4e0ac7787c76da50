// Package report turns what was measured into docs/performance.md and its plots. What was measured is
// kept beside them as JSON, so that either of the two commands can write the page.
package report

// Summary is the middle and the spread of the rounds of a measurement.
type Summary struct{ Median, Low, High float64 }

// Comparison is a measurement of two, and the ratio of ours to theirs, formed within the rounds.
type Comparison struct{ Ours, Theirs, Ratio Summary }

// Machine is what a run was made on.
type Machine struct {
	System, Go, Vault, Plugin string
	Processors                int
	MemoryGiB                 float64
	Date                      string
	Minutes                   float64 // that the run took
}

// Bench is what "make bench" measured.
type Bench struct {
	Machine    Machine
	Rounds     int
	Cached     []Cached
	LoadShare  float64 // of the processors, that the load process took at most
	Hang       Hang
	Exchange   Exchange
	Expiry     Expiry
	Throughput []Throughput
	Background Background
	Cost       Cost
	Ladder     Ladder
}

// Cached is what reads of a token that is in memory cost over so many connections.
type Cached struct {
	Connections int
	Targets     []Target
	// Ceiling is what the bare plugin answers to what the conventional one does: the most that a plugin can gain.
	Ceiling Summary
}

// Target is what the plugin, or what it is compared with, answered.
type Target struct {
	Name                string
	Rate, P50, P99, CPU Summary // 1/s; ms, both; µs of Vault and plugin for a read
	// Of the plugin to this target.
	RateRatio, P50Ratio, P99Ratio, CPURatio Summary
}

// Hang is what an exchange that hangs does to readers: ours with it, theirs without.
type Hang struct {
	Connections           int
	SameP99, SameRate     Comparison // ms, 1/s
	OthersP99, OthersRate Comparison
	// Window is of an account in its refresh window, whose readers wait a while for the exchange.
	Window, WindowWithout HangLatency
}

// HangLatency is what readers of one account saw, in ms.
type HangLatency struct{ P50, P99, Max, Rate float64 }

// Exchange is a read that runs an exchange: ours is what it takes beyond the token endpoint, theirs two
// writes to KV version 1.
type Exchange struct {
	Reads    int     // a round
	Read     Summary // ms
	Endpoint Summary // ms, the same exchange with a plain client
	Handling Summary // ms, of that the handling of the request alone
	Beyond   Comparison
	// BeyondHandling counts the connection to the endpoint and its TLS handshake as ours.
	BeyondHandling Comparison
	// Bare is a plugin that only asks Vault for what an exchange asks it for, to two puts; BeyondBare is ours
	// to that.
	Bare, BeyondBare Comparison
	// Post is the exchange as the plugin measures it, on the mean, to a plain client's; BeyondPost is what the
	// read takes beyond that, to the bare plugin.
	Post, BeyondPost Comparison
}

// Expiry is what readers see who come at the moment of expiry: ours is the p99 of many, theirs is one
// reader's.
type Expiry struct {
	Readers   int
	Exchanges int // in all rounds
	Rounds    int
	P99       Comparison // ms
	P50       Summary
	// Floor has the p99 of as many readers of a token that lives as theirs.
	Floor Comparison
	// Ahead is how long it takes from the first request until the exchange's is at the endpoint.
	Ahead Comparison
}

// Throughput is exchanges a second over many accounts.
type Throughput struct {
	Connections int
	Varied      bool    // the endpoint takes another time for each exchange, about the same in the middle
	Limit       float64 // of the endpoint
	Rate, Ratio Summary
	// Busy is which share of the processors was busy, with everything that the run needs, and Own is what Vault
	// and the plugin took of it.
	Busy, Own Summary
	// Wanted is which share of the processors the limit would take, at the price of an exchange in this run.
	Wanted Summary
}

// Background is what the plugin exchanges by itself.
type Background struct {
	Accounts           int
	Limit, Rate, Ratio float64
}

// Cost is what a cached read costs the plugin's process.
type Cost struct {
	Reads                      int // a round
	CPU, Objects, Bytes        Comparison
	TopCPU, TopObjects         string
	BackendCPU, BackendObjects string
}

// Ladder is a mount with more and more accounts.
type Ladder struct {
	Rungs []Rung
	Bare  Rung   // the bare plugin
	Plain Memory // the plugin as it is built for users, with one account
}

// Memory is what of a process is in memory, in MB.
type Memory struct{ Resident, Anonymous, Heap float64 }

// Rung is a number of accounts.
type Rung struct {
	Accounts   int
	First      Summary // ms, from the plugin's start to its first token
	FirstRatio Summary // to the bare plugin
	Started    Memory  // after the first token
	Surveyed   Memory  // when all accounts have been seen
	SurveyCPU  float64 // µs of Vault and plugin for an account
	ReadAll    Memory  // when all tokens have been read
	Cold       Latency
	Warm       Latency
}

// Latency is that of reads of accounts drawn at random, in ms.
type Latency struct{ P50, P99, Rate Summary }

// Scale is what "make bench-scale" measured.
type Scale struct {
	Machine  Machine
	Accounts int
	Ladder   Ladder
	Unseal   Unseal
	Idle     []Idle
	Fresh    Fresh
}

// Unseal is how long the first answer takes after an unseal, in ms.
type Unseal struct {
	Rounds                int
	Active                Summary // from the unseal request until Vault says that it is active
	Token, Bare           Summary // from the unseal request
	TokenAfter, BareAfter Summary // from the time at which Vault is active
}

// Idle is what a Vault costs that nobody asks anything, in ms of processor time a minute.
type Idle struct {
	State         string
	Vault, Plugin float64
}

// Fresh is how accounts with auto_refresh were kept.
type Fresh struct {
	Accounts, Lifetime             int
	Minutes                        float64
	Exchanges, Reads               int
	Waited, Stale, Failed, Expired int
	LeastRemaining                 float64 // s
	MaxLatency                     float64 // ms
	Memory                         Memory
	CPU                            float64 // ms of the plugin a minute
	Simulated                      string  // what the test of a simulated hour printed
}
