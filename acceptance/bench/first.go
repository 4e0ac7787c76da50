package main

import (
	"context"
	"io"
	"net/http"
	"time"
)

// firstPoll is how often a path is asked that does not answer yet.
const firstPoll = 2 * time.Millisecond

// firstAnswer waits for a path to answer with 200.
type firstAnswer struct {
	at   time.Time
	err  error
	done chan struct{}
}

// waitFor begins to ask a path.
func (s *stage) waitFor(ctx context.Context, path string) *firstAnswer {
	f := &firstAnswer{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		ticker := time.NewTicker(firstPoll)
		defer ticker.Stop()
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for {
			ok, err := s.answers(ctx, client, path)
			if ok {
				f.at = time.Now()
				return
			}
			if f.err = err; ctx.Err() != nil {
				f.err = ctx.Err()
				return
			}
			<-ticker.C
		}
	}()
	return f
}

// answers tells whether a path answers with 200.
func (s *stage) answers(ctx context.Context, client *http.Client, path string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.node.Address+"/v1/"+path, nil)
	if err != nil {
		return false, err
	}
	request.Header.Set("X-Vault-Token", s.cluster.RootToken)
	response, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK, err
}

// wait returns when the path answered first.
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
