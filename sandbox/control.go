package sandbox

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// duration is a time.Duration that is text in JSON, as time.ParseDuration reads it.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler. An empty text is 0.
func (d *duration) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = 0
		return nil
	}
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// faultJSON is the JSON form of a fault.
type faultJSON struct {
	ID     int    `json:"id,omitempty"`     // in answers
	Hits   int    `json:"hits"`             // in answers
	Preset string `json:"preset,omitempty"` // in requests; see Preset

	Endpoint    Endpoint          `json:"endpoint"`
	When        FaultTime         `json:"when"`
	Count       int               `json:"count"`
	Lasts       duration          `json:"for,omitempty"`
	Result      string            `json:"result,omitempty"`
	User        string            `json:"user,omitempty"`
	GrantType   string            `json:"grant_type,omitempty"`
	Delay       duration          `json:"delay,omitempty"`
	Jitter      duration          `json:"jitter,omitempty"`
	Action      FaultAction       `json:"action"`
	Bytes       int               `json:"bytes,omitempty"`
	Status      int               `json:"status,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Members     map[string]any    `json:"members,omitempty"`
	Body        string            `json:"body,omitempty"`
	Encoding    Encoding          `json:"encoding,omitempty"`
	HeaderBytes int               `json:"header_bytes,omitempty"`
	DateSkew    duration          `json:"date_skew,omitempty"`
}

func (f faultJSON) fault() Fault {
	return Fault{
		Endpoint: f.Endpoint, When: f.When, Count: f.Count, Lasts: time.Duration(f.Lasts),
		Result: f.Result, User: f.User, GrantType: f.GrantType,
		Delay: time.Duration(f.Delay), Jitter: time.Duration(f.Jitter), Action: f.Action,
		Bytes: f.Bytes, Status: f.Status, Headers: f.Headers, Members: f.Members, Body: f.Body,
		Encoding: f.Encoding, HeaderBytes: f.HeaderBytes, DateSkew: time.Duration(f.DateSkew),
	}
}

func (f Fault) json() faultJSON {
	return faultJSON{
		Endpoint: f.Endpoint, When: f.When, Count: f.Count, Lasts: duration(f.Lasts),
		Result: f.Result, User: f.User, GrantType: f.GrantType,
		Delay: duration(f.Delay), Jitter: duration(f.Jitter), Action: f.Action,
		Bytes: f.Bytes, Status: f.Status, Headers: f.Headers, Members: f.Members, Body: f.Body,
		Encoding: f.Encoding, HeaderBytes: f.HeaderBytes, DateSkew: duration(f.DateSkew),
	}
}

// json returns the JSON form. The caller holds faultTable.mu.
func (h *FaultHandle) json() faultJSON {
	out := h.fault.json()
	out.ID, out.Hits = h.id, h.hits
	return out
}

// readFault reads a fault from a request. If the request names a preset, its other
// fields change that preset.
func readFault(body []byte) (Fault, error) {
	var named struct {
		Preset string `json:"preset"`
	}
	if err := json.Unmarshal(body, &named); err != nil {
		return Fault{}, err
	}
	var wire faultJSON
	if named.Preset != "" {
		preset, err := Preset(named.Preset)
		if err != nil {
			return Fault{}, err
		}
		wire = preset.json()
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wire); err != nil {
		return Fault{}, err
	}
	return wire.fault(), nil
}

func (s *Server) handleSetFault(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	fault, err := readFault(body)
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
	wire := handle.json()
	s.faults.mu.Unlock()
	writeJSON(w, http.StatusCreated, wire)
}

func (s *Server) handleListFaults(w http.ResponseWriter, _ *http.Request) {
	list := []faultJSON{}
	s.faults.mu.Lock()
	for _, handle := range s.faults.set {
		list = append(list, handle.json())
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
