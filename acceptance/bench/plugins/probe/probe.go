// Package probe lets the benchmark look into a plugin: what it has allocated, what it has cost, and
// its profiles. Vault passes nothing of the kind out of a plugin, so a plugin that is built for the
// benchmark listens on a socket in its directory for temporary files, which is its Vault's.
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

// What the bare plugin does beside answering from memory.
const (
	// ExchangePath is where a read of it asks Vault for as much as an exchange does.
	ExchangePath = "exchange"
	// EntrySize is about the size of an account's entry, in bytes.
	EntrySize = 1500
)

// Cost is what a process has used since its start.
type Cost struct {
	CPU     time.Duration // user and system
	Mallocs uint64        // objects
	Bytes   uint64        // that they had
	Heap    uint64        // bytes in use now
}

// Socket is the path of a plugin's socket.
func Socket(dir, plugin string) string { return filepath.Join(dir, plugin+".sock") }

// Listen serves the probe of a plugin, with what else it can do. Vault starts a plugin
// more than once to get to know it; the last one started is the one that can be asked.
func Listen(plugin string, more map[string]http.HandlerFunc) error {
	socket := Socket(os.TempDir(), plugin)
	_ = os.Remove(socket) // of a process that was killed
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

// cost answers with the Cost.
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
