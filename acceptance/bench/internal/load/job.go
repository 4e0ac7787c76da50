// Package load sends requests to a Vault from another process, so that the measurements do not include its cost. vegeta sends
// the requests and measures the times.
//
// The process reads one job per line from its standard input and writes one result per line to its standard output, both as
// JSON. It ends with its input.
package load

import (
	"slices"
	"time"
)

// Job is a load: requests over a number of connections. A connection sends its next request when it has the answer to the
// last one.
type Job struct {
	Connections int
	// Duration and Requests, the number of requests, bound the job. 0 is no bound.
	Duration time.Duration
	Requests int

	Method string // default GET
	// URL may contain {}, which becomes a number below Names with six digits. The numbers come in turn or, with Random, at
	// random.
	URL    string
	Names  int
	Random bool
	Header map[string]string
	// Bodies are sent in turn. If there are none, requests have no body.
	Bodies []string
	// CACert, if it is set, is trusted instead of the certificate authorities of the system. Each such request has its own
	// connection.
	CACert string
	// Samples requests every latency in the result.
	Samples bool
}

// Result is the outcome of a job.
type Result struct {
	Requests int
	Failed   int    // requests without an answer of status 200 to 399
	Failure  string // the first failure
	Began    time.Time
	Elapsed  time.Duration
	Latency  Latency
	Samples  []time.Duration // in the order of the answers
	CPU      time.Duration   // of this process, while the job ran
}

// Rate returns the answers per second.
func (r Result) Rate() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// Latency summarises the latencies of a job.
type Latency struct{ P50, P99, Max time.Duration }

// latencyOf sorts and summarises a series.
func latencyOf(series []time.Duration) Latency {
	if len(series) == 0 {
		return Latency{}
	}
	slices.Sort(series)
	at := func(part float64) time.Duration { return series[int(part*float64(len(series)-1))] }
	return Latency{P50: at(0.5), P99: at(0.99), Max: series[len(series)-1]}
}
