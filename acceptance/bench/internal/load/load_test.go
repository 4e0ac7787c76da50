package load

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// run runs jobs as the load process does.
func run(t *testing.T, jobs ...Job) []Result {
	t.Helper()
	var in, out bytes.Buffer
	for _, job := range jobs {
		if err := json.NewEncoder(&in).Encode(job); err != nil {
			t.Fatal(err)
		}
	}
	if err := Serve(&in, &out); err != nil {
		t.Fatal(err)
	}
	var results []Result
	for decoder := json.NewDecoder(&out); ; {
		var r Result
		if err := decoder.Decode(&r); err == io.EOF {
			return results
		} else if err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
}

// seen records the requests to a server.
type seen struct {
	mu      sync.Mutex
	now     int
	most    int
	paths   map[string]int
	bodies  []string
	headers map[string]bool
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.paths[r.Method+" "+r.URL.Path]++
	s.bodies = append(s.bodies, string(body))
	s.headers[r.Header.Get("X-Vault-Token")] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now--
	}()
	if strings.HasSuffix(r.URL.Path, "/missing") {
		http.Error(w, "there is none", http.StatusNotFound)
	}
}

func serve(t *testing.T) (*seen, string) {
	t.Helper()
	s := &seen{paths: map[string]int{}, headers: map[string]bool{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func TestAJobSendsSoManyRequestsOverSoManyConnections(t *testing.T) {
	s, url := serve(t)
	r := run(t, Job{
		Connections: 4, Requests: 30, Method: "PUT", URL: url + "/a{}", Names: 3, Bodies: []string{"x", "y"},
		Header: map[string]string{"X-Vault-Token": "token"}, Samples: true,
	})[0]
	if r.Requests != 30 || r.Failed != 0 || len(r.Samples) != 30 || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P99 || r.Latency.P99 > r.Latency.Max {
		t.Errorf("%+v", r)
	}
	if len(s.paths) != 3 || s.paths["PUT /a000002"] != 10 || s.most > 4 || len(s.headers) != 1 || !s.headers["token"] {
		t.Errorf("the server saw %+v", s.paths)
	}
	if x := strings.Count(strings.Join(s.bodies, ""), "x"); x != 15 {
		t.Errorf("%d bodies are x", x)
	}
}

func TestAJobLastsAsLongAsItIsToldTo(t *testing.T) {
	_, url := serve(t)
	r := run(t, Job{Connections: 2, Duration: 50 * time.Millisecond, URL: url + "/a"})[0]
	if r.Requests == 0 || r.Elapsed < 20*time.Millisecond {
		t.Errorf("%+v", r)
	}
}

func TestAJobTellsWhatFailed(t *testing.T) {
	_, url := serve(t)
	results := run(t,
		Job{Connections: 1, Requests: 2, URL: url + "/missing"},
		Job{Connections: 1, Requests: 1, URL: "http://127.0.0.1:1/"},
		Job{Connections: 1, Requests: 1, URL: url + "/a"})
	if r := results[0]; r.Failed != 2 || r.Requests != 0 || !strings.Contains(r.Failure, "404") || !strings.Contains(r.Failure, "there is none") {
		t.Errorf("%+v", r)
	}
	if r := results[1]; r.Failed != 1 || r.Failure == "" {
		t.Errorf("%+v", r)
	}
	if r := results[2]; r.Failed != 0 || r.Requests != 1 {
		t.Errorf("a job after failures: %+v", r)
	}
}
