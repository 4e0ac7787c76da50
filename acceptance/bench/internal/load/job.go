// Package load sends requests to a Vault, from a process of its own, so that what it costs is not
// what the measurements measure. vegeta sends them and takes the times.
//
// The process reads one job a line from its standard input and writes one result a line to its
// standard output, both as JSON. It ends with its input.
package load

import (
	"slices"
	"time"
)

// Job is a load: requests over a number of connections, each of which sends its next request when it
// has the answer to the last.
type Job struct {
	Connections int
	// Duration bounds the job where it is not 0, and Requests, the number of requests, does.
	Duration time.Duration
	Requests int

	Method string // default GET
	// URL may hold a {}, which becomes a number below Names, six digits wide: in turn, or, with
	// Random, at random.
	URL    string
	Names  int
	Random bool
	Header map[string]string
	// Bodies are sent in turn; empty: none is.
	Bodies []string
	// CACert is trusted in place of the system's authorities where it is set. Such requests have a
	// connection of their own each.
	CACert string
	// Samples wants every latency in the result.
	Samples bool
}

// Result is what became of a job.
type Result struct {
	Requests int
	Failed   int    // no answer, or none with a status of 200 to 399
	Failure  string // the first
	Began    time.Time
	Elapsed  time.Duration
	Latency  Latency
	Samples  []time.Duration // in the order of the answers
	CPU      time.Duration   // of this process, while the job ran
}

// Rate is the answers per second.
func (r Result) Rate() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// Latency is the spread of the latencies of a job.
type Latency struct{ P50, P99, Max time.Duration }

// latencyOf sums up a series, which it sorts.
func latencyOf(series []time.Duration) Latency {
	if len(series) == 0 {
		return Latency{}
	}
	slices.Sort(series)
	at := func(part float64) time.Duration { return series[int(part*float64(len(series)-1))] }
	return Latency{P50: at(0.5), P99: at(0.99), Max: series[len(series)-1]}
}
