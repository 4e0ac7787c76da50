package sandbox

import (
	"encoding/json"
	"net/http"
	"time"
)

// faultJSON is the JSON form of a fault.
type faultJSON struct {
	ID        int               `json:"id,omitempty"` // in answers
	Hits      int               `json:"hits"`         // in answers
	Endpoint  Endpoint          `json:"endpoint"`
	When      FaultTime         `json:"when"`
	Count     int               `json:"count"`
	User      string            `json:"user,omitempty"`
	GrantType string            `json:"grant_type,omitempty"`
	Delay     string            `json:"delay,omitempty"` // as time.ParseDuration reads it
	Jitter    string            `json:"jitter,omitempty"`
	Action    FaultAction       `json:"action"`
	Bytes     int               `json:"bytes,omitempty"`
	Status    int               `json:"status,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      string            `json:"body,omitempty"`
}

func (f faultJSON) decode() (Fault, error) {
	var delay, jitter time.Duration
	for _, d := range []struct {
		text string
		to   *time.Duration
	}{{f.Delay, &delay}, {f.Jitter, &jitter}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.to, err = time.ParseDuration(d.text); err != nil {
			return Fault{}, err
		}
	}
	return Fault{
		Endpoint: f.Endpoint, When: f.When, Count: f.Count, User: f.User, GrantType: f.GrantType,
		Delay: delay, Jitter: jitter, Action: f.Action, Bytes: f.Bytes, Status: f.Status, Headers: f.Headers, Body: f.Body,
	}, nil
}

// encode returns the JSON form. The caller holds faultTable.mu.
func (h *FaultHandle) encode() faultJSON {
	f := h.fault
	out := faultJSON{
		ID: h.id, Hits: h.hits,
		Endpoint: f.Endpoint, When: f.When, Count: f.Count, User: f.User, GrantType: f.GrantType,
		Action: f.Action, Bytes: f.Bytes, Status: f.Status, Headers: f.Headers, Body: f.Body,
	}
	if f.Delay > 0 {
		out.Delay = f.Delay.String()
	}
	if f.Jitter > 0 {
		out.Jitter = f.Jitter.String()
	}
	return out
}

func (s *Server) handleSetFault(w http.ResponseWriter, r *http.Request) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBody))
	decoder.DisallowUnknownFields()
	var wire faultJSON
	if err := decoder.Decode(&wire); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	fault, err := wire.decode()
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	handle, err := s.faults.add(fault)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	s.faults.mu.Lock()
	wire = handle.encode()
	s.faults.mu.Unlock()
	writeJSON(w, http.StatusCreated, wire)
}

func (s *Server) handleListFaults(w http.ResponseWriter, _ *http.Request) {
	list := []faultJSON{}
	s.faults.mu.Lock()
	for _, handle := range s.faults.set {
		list = append(list, handle.encode())
	}
	s.faults.mu.Unlock()
	writeJSON(w, http.StatusOK, list)
}

func (s *Server) handleClearFaults(w http.ResponseWriter, _ *http.Request) {
	s.faults.clearAll()
	w.WriteHeader(http.StatusNoContent)
}

// requestJSON is the JSON form of a recorded request. Its body is text.
type requestJSON struct {
	Time       time.Time   `json:"time"`
	Endpoint   Endpoint    `json:"endpoint"`
	Method     string      `json:"method"`
	Path       string      `json:"path"`
	Query      string      `json:"query,omitempty"`
	Proto      string      `json:"proto"`
	Header     http.Header `json:"header"`
	Body       string      `json:"body"`
	RemoteAddr string      `json:"remote_addr"`
	Processed  time.Time   `json:"processed,omitzero"`
	Done       bool        `json:"done"`
	Status     int         `json:"status"`
	Result     string      `json:"result"`
	Fault      FaultAction `json:"fault,omitempty"`
	User       string      `json:"user,omitempty"`
	Refresh    string      `json:"refresh_token,omitempty"`      // presented
	Next       string      `json:"next_refresh_token,omitempty"` // issued
	Access     string      `json:"access_token,omitempty"`       // issued
	Repeated   bool        `json:"repeated,omitempty"`
	Gone       bool        `json:"gone,omitempty"`
	Ended      time.Time   `json:"ended,omitzero"`
	Told       bool        `json:"told,omitempty"` // the answer held the whole next refresh token
}

// handleRequests answers with the recorded requests to the endpoint that the query
// names, by default the token endpoint.
func (s *Server) handleRequests(w http.ResponseWriter, r *http.Request) {
	endpoint := Endpoint(r.URL.Query().Get("endpoint"))
	if endpoint == "" {
		endpoint = EndpointToken
	}
	list := []requestJSON{}
	for _, q := range s.requests.list(endpoint) {
		list = append(list, requestJSON{
			Time: q.Time, Endpoint: q.Endpoint, Method: q.Method, Path: q.Path, Query: q.Query,
			Proto: q.Proto, Header: q.Header, Body: string(q.Body), RemoteAddr: q.RemoteAddr,
			Processed: q.Processed, Done: q.Done, Status: q.Status, Result: q.Result, Fault: q.Fault,
			User: q.User, Refresh: q.RefreshToken, Next: q.NextRefreshToken, Access: q.AccessToken, Repeated: q.Repeated,
			Gone: q.Gone, Ended: q.Ended, Told: q.Told,
		})
	}
	writeJSON(w, http.StatusOK, list)
}

func (s *Server) handleStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.Stats())
}
