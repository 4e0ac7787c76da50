package sandbox

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

// journalSize is how many requests are remembered for each endpoint.
const journalSize = 10_000

// Request is a request as it arrived, with all its secrets.
type Request struct {
	Time       time.Time
	Endpoint   Endpoint
	Method     string
	Path       string // without the query
	Query      string
	Proto      string // such as HTTP/1.1
	Header     http.Header
	Body       []byte
	RemoteAddr string

	// Processed is when the request had been processed: what it has changed, such
	// as the refresh token that it spent, holds from then on, whether or not the
	// client hears of it. Zero: not yet, or not at all.
	Processed time.Time
	// Done says whether the rest is known. It is when the client has the answer.
	Done   bool
	Status int         // 0: no answer was sent
	Result string      // "ok", "not_processed" or the error code
	Fault  FaultAction // of the fault that struck, if any

	// Of requests to the token endpoint and the revocation endpoint: whose grant
	// it is about, and which refresh token it brought; empty where not known.
	User         string
	RefreshToken string
	// What was issued: the presented token is spent then. It is known before
	// Done, while the answer is held back.
	AccessToken      string
	NextRefreshToken string
	// Gone says that the client closed the connection before it had an answer.
	Gone bool
	// Ended is when the client had gone, or else when its answer was sent or the
	// connection broken off. Zero: the client still waits.
	Ended time.Time
	// Told says that NextRefreshToken was in the answer, whole, and that the
	// client was still connected when it was sent. Whether the client has read
	// it, nobody here can know.
	Told bool
}

// Stats counts what has happened since the start.
type Stats struct {
	// Exchanges counts refresh grants by result: "ok", an OAuth error code, or
	// "not_processed" where a fault came first.
	Exchanges map[string]int `json:"exchanges"`
	// Logins counts the other grants in the same way.
	Logins map[string]int `json:"logins"`
	// Presented counts the requests that brought a refresh token to the token
	// endpoint, whatever came of them, by TokenHash.
	Presented map[string]int `json:"presented"`
	// Replays counts the refresh tokens that were processed although they had
	// been used before.
	Replays       int `json:"replays"`
	Grants        int `json:"grants"` // alive
	RevokedGrants int `json:"revoked_grants"`
}

// journal remembers requests and counts results. It is safe for concurrent use.
type journal struct {
	mu        sync.Mutex
	rings     map[Endpoint]*ring
	exchanges map[string]int
	logins    map[string]int
}

// ring holds the last journalSize requests.
type ring struct {
	requests []*Request
	oldest   int
}

func newJournal() *journal {
	return &journal{rings: map[Endpoint]*ring{}, exchanges: map[string]int{}, logins: map[string]int{}}
}

// add notes that a request has arrived. Of the entry returned, what process,
// leave, finish and end change may not be read.
func (j *journal) add(c *call, r *http.Request, body []byte) *Request {
	endpoint := c.endpoint
	entry := &Request{
		Time:         time.Now(),
		Endpoint:     endpoint,
		Method:       r.Method,
		Path:         r.URL.Path,
		Query:        r.URL.RawQuery,
		Proto:        r.Proto,
		Header:       r.Header.Clone(),
		Body:         body,
		RemoteAddr:   r.RemoteAddr,
		User:         c.username,
		RefreshToken: c.refreshTokenIn,
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	log := j.rings[endpoint]
	if log == nil {
		log = &ring{}
		j.rings[endpoint] = log
	}
	if len(log.requests) < journalSize {
		log.requests = append(log.requests, entry)
		return entry
	}
	log.requests[log.oldest] = entry
	log.oldest = (log.oldest + 1) % journalSize
	return entry
}

// process notes that a request has been processed, and what it was given.
func (j *journal) process(entry *Request, c *call) {
	j.mu.Lock()
	defer j.mu.Unlock()
	entry.Processed = time.Now()
	entry.User, entry.AccessToken, entry.NextRefreshToken = c.username, c.accessToken, c.refreshToken
}

// leave notes that the client has gone.
func (j *journal) leave(entry *Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !entry.Done {
		entry.Gone = true
	}
	entry.end()
}

// end notes that the client waits no longer.
func (j *journal) end(entry *Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	entry.end()
}

// end sets when the client waited no longer, unless that is known; the caller holds
// journal.mu.
func (r *Request) end() {
	if r.Ended.IsZero() {
		r.Ended = time.Now()
	}
}

// finish notes what became of a request. told says whether the answer that will
// be sent holds the next refresh token.
func (j *journal) finish(entry *Request, c *call, action FaultAction, status int, told bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	entry.Done, entry.Status, entry.Result, entry.Fault = true, status, c.result, action
	entry.Told = told && !entry.Gone
	if c.endpoint != EndpointToken {
		return
	}
	switch c.grantType {
	case GrantRefreshToken:
		j.exchanges[c.result]++
	case GrantAuthorizationCode, GrantPassword:
		j.logins[c.result]++
	}
}

// list returns copies of the remembered requests, oldest first.
func (j *journal) list(endpoint Endpoint) []Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	log := j.rings[endpoint]
	if log == nil {
		return nil
	}
	list := make([]Request, 0, len(log.requests))
	for i := range log.requests {
		entry := *log.requests[(log.oldest+i)%len(log.requests)]
		entry.Header, entry.Body = entry.Header.Clone(), bytes.Clone(entry.Body)
		list = append(list, entry)
	}
	return list
}

// Requests returns the last requests to the token endpoint, at most 10,000,
// oldest first, those in flight included.
func (s *Server) Requests() []Request { return s.journal.list(EndpointToken) }

// RequestsTo does the same for any endpoint.
func (s *Server) RequestsTo(endpoint Endpoint) []Request { return s.journal.list(endpoint) }

// Stats returns the counts so far. Its size grows with the number of refresh
// tokens that were presented.
func (s *Server) Stats() Stats {
	stats := Stats{Exchanges: map[string]int{}, Logins: map[string]int{}, Presented: map[string]int{}}
	s.grants.counts(&stats)
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	for result, n := range s.journal.exchanges {
		stats.Exchanges[result] = n
	}
	for result, n := range s.journal.logins {
		stats.Logins[result] = n
	}
	return stats
}

// Presented returns how many requests brought this refresh token to the token
// endpoint, whatever came of them.
func (s *Server) Presented(refreshToken string) int {
	return s.grants.timesPresented(hashToken(refreshToken))
}
