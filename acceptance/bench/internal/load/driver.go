package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// Process is a running load process. It runs one job at a time.
type Process struct {
	mu    sync.Mutex
	cmd   *exec.Cmd
	in    io.WriteCloser
	jobs  *json.Encoder
	reply *json.Decoder
}

// Start starts a program that calls Serve.
func Start(program string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(context.Background(), program, args...)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.jobs, p.reply = json.NewEncoder(p.in), json.NewDecoder(out)
	return p, p.cmd.Start()
}

// Run runs a job and waits until it ends. It returns an error if a request failed.
func (p *Process) Run(ctx context.Context, job Job) (Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	var r Result
	err := p.jobs.Encode(job)
	if err == nil {
		err = p.reply.Decode(&r)
	}
	switch {
	case err != nil:
		return r, errors.Join(ctx.Err(), fmt.Errorf("the load process: %w", err))
	case r.Failed > 0:
		return r, fmt.Errorf("%d of %d requests failed, the first: %s", r.Failed, r.Failed+r.Requests, r.Failure)
	case r.Requests == 0:
		return r, fmt.Errorf("%s: no request was answered", job.URL)
	}
	return r, nil
}

// Close ends the process.
func (p *Process) Close() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}
