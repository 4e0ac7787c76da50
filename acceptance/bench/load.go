package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// target is what one measurement reads.
type target struct {
	name string
	path string // below /v1/
}

// loader sends requests to one Vault. It writes a prepared request and reads no more of an answer
// than it must, so that its own work does not hide the differences that are measured.
type loader struct {
	address string // host:port
	token   string
}

// measure reads the target over the given number of connections for the given time and returns
// the answers per second.
func (l loader) measure(ctx context.Context, t target, connections int, duration time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		group    sync.WaitGroup
		answers  atomic.Int64
		stop     atomic.Bool
		prepared = fmt.Appendf(nil, "GET /v1/%s HTTP/1.1\r\nHost: %s\r\nX-Vault-Token: %s\r\n\r\n", t.path, l.address, l.token)
	)
	start := time.Now()
	timer := time.AfterFunc(duration, func() { stop.Store(true) })
	defer timer.Stop()
	for range connections {
		group.Go(func() {
			if err := l.connection(ctx, prepared, &answers, &stop); err != nil {
				stop.Store(true)
				cancel(fmt.Errorf("reading %s: %w", t.path, err))
			}
		})
	}
	group.Wait()
	elapsed := time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return float64(answers.Load()) / elapsed.Seconds(), nil
}

// connection sends the request again and again over one connection until told to stop.
func (l loader) connection(ctx context.Context, prepared []byte, answers *atomic.Int64, stop *atomic.Bool) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for !stop.Load() {
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write(prepared); err != nil {
			return err
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", response.Status)
		}
		answers.Add(1)
	}
	return nil
}
