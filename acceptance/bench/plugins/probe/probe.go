// Package probe gives the benchmark access to the allocations, the processor time and the profiles of a plugin. Vault has no
// way to read these from a plugin. A plugin that is built for the benchmark listens on a socket in its directory for temporary
// files, which is that of its Vault.
package probe

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// What the bare plugin can do in addition to answers from memory.
const (
	// ExchangePath is the path whose reads do the storage operations of an exchange.
	ExchangePath = "exchange"
	// EntrySize is the approximate size of an account's entry, in bytes.
	EntrySize = 1500
)

// Cost is what a process has used since its start.
type Cost struct {
	CPU     time.Duration // user and system
	Mallocs uint64        // allocated objects
	Bytes   uint64        // allocated in total
	Heap    uint64        // bytes in use now
}

// Socket returns the path of a plugin's socket.
func Socket(dir, plugin string) string { return filepath.Join(dir, plugin+".sock") }

// Listen serves the probe of a plugin, with more handlers. Vault starts a plugin several times when it registers it. The
// process that was started last owns the socket.
func Listen(plugin string, more map[string]http.HandlerFunc) error {
	socket := Socket(os.TempDir(), plugin)
	_ = os.Remove(socket) // a killed process leaves it behind
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/cost", cost)
	for path, handler := range more {
		mux.HandleFunc(path, handler)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	return nil
}

// cost answers with the Cost of this process.
func cost(w http.ResponseWriter, _ *http.Request) {
	var (
		memory runtime.MemStats
		usage  syscall.Rusage
	)
	runtime.ReadMemStats(&memory)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	text, err := json.Marshal(Cost{
		CPU:     time.Duration(usage.Utime.Nano() + usage.Stime.Nano()),
		Mallocs: memory.Mallocs, Bytes: memory.TotalAlloc, Heap: memory.HeapAlloc,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(text)
}
