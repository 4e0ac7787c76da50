package main

import (
	"context"
	"io"
	"net/http"
	"time"
)

// firstPoll is the time between two requests to a path that does not answer yet.
const firstPoll = 2 * time.Millisecond

// firstAnswer is the time of the first answer of a path with status 200.
type firstAnswer struct {
	at   time.Time
	err  error
	done chan struct{}
}

// waitFor starts to request a path until it answers.
func (f *fixture) waitFor(ctx context.Context, path string) *firstAnswer {
	first := &firstAnswer{done: make(chan struct{})}
	go func() {
		defer close(first.done)
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		ticker := time.NewTicker(firstPoll)
		defer ticker.Stop()
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for {
			ok, err := f.answers(ctx, client, path)
			if ok {
				first.at = time.Now()
				return
			}
			if first.err = err; ctx.Err() != nil {
				first.err = ctx.Err()
				return
			}
			<-ticker.C
		}
	}()
	return first
}

// answers reports whether a path answers with status 200.
func (f *fixture) answers(ctx context.Context, client *http.Client, path string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.node.Address+"/v1/"+path, nil)
	if err != nil {
		return false, err
	}
	request.Header.Set("X-Vault-Token", f.cluster.RootToken)
	response, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK, err
}

// wait waits for the first answer and returns its time.
func (f *firstAnswer) wait(ctx context.Context) (time.Time, error) {
	select {
	case <-f.done:
		if f.at.IsZero() {
			return f.at, f.err
		}
		return f.at, nil
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}
