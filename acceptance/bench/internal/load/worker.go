package load

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// requestTimeout bounds one request. No request should take so long.
const requestTimeout = 2 * time.Minute

// Serve is the load process. It runs the jobs of in until in ends.
func Serve(in io.Reader, out io.Writer) error {
	w := worker{plain: &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
		MaxIdleConns: 0, MaxIdleConnsPerHost: 10_000, DisableCompression: true,
	}}}
	jobs, results := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var job Job
		if err := jobs.Decode(&job); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		result, err := w.run(job)
		if err != nil {
			return err
		}
		if err := results.Encode(result); err != nil {
			return err
		}
	}
}

// worker runs jobs. Connections stay open from one job to the next.
type worker struct{ plain *http.Client }

// run runs a job.
func (w *worker) run(job Job) (Result, error) {
	client := w.plain
	if job.CACert != "" {
		var err error
		if client, err = clientFor(job.CACert); err != nil {
			return Result{}, err
		}
	}
	attacker := vegeta.NewAttacker(
		vegeta.Client(client),
		vegeta.Workers(uint64(job.Connections)), vegeta.MaxWorkers(uint64(job.Connections)), //nolint:gosec // a small number
	)
	var (
		result    Result
		latencies []time.Duration
		before    = ProcessorTime()
		began     = time.Now()
		answered  = began
	)
	for hit := range attacker.Attack(targets(job), pacer{job.Requests}, job.Duration, "") {
		if hit.Error != "" {
			if result.Failed == 0 {
				result.Failure = fmt.Sprintf("%s %s: %s %s", hit.Method, hit.URL, hit.Error, hit.Body)
			}
			result.Failed++
			continue
		}
		latencies = append(latencies, hit.Latency)
		answered = time.Now()
	}
	result.Requests, result.Began, result.Elapsed, result.CPU = len(latencies), began, answered.Sub(began), ProcessorTime()-before
	if job.Samples {
		result.Samples = append(result.Samples, latencies...)
	}
	result.Latency = latencyOf(latencies)
	return result, nil
}

// targets returns the requests of a job.
func targets(job Job) vegeta.Targeter {
	header := http.Header{}
	for name, value := range job.Header {
		header.Set(name, value)
	}
	if job.Method == "" {
		job.Method = http.MethodGet
	}
	var next atomic.Int64
	return func(t *vegeta.Target) error {
		i := int(next.Add(1) - 1)
		t.Method, t.URL, t.Header = job.Method, job.URL, header
		if job.Names > 0 {
			name := i % job.Names
			if job.Random {
				name = rand.IntN(job.Names) //nolint:gosec // which account is read is no secret
			}
			t.URL = strings.Replace(job.URL, "{}", fmt.Sprintf("%06d", name), 1)
		}
		if len(job.Bodies) > 0 {
			t.Body = []byte(job.Bodies[i%len(job.Bodies)])
		}
		return nil
	}
}

// clientFor returns a client that trusts one authority and keeps no connection.
func clientFor(authority string) (*http.Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(authority)) {
		return nil, errors.New("no certificate in the PEM text")
	}
	return &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}, nil
}

// pacer lets every connection send at once, until this many requests were sent. 0 means as long as the job lasts.
type pacer struct{ requests int }

// Pace implements vegeta.Pacer.
func (p pacer) Pace(_ time.Duration, sent uint64) (time.Duration, bool) {
	return 0, p.requests > 0 && sent >= uint64(p.requests)
}

// Rate implements vegeta.Pacer. There is no rate.
func (pacer) Rate(time.Duration) float64 { return 0 }

// ProcessorTime returns the processor time that this process has used.
func ProcessorTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
