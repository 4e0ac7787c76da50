package sandbox

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

// requestLogSize is how many requests are remembered for each endpoint.
const requestLogSize = 10_000

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

	// Processed is the time at which the request had been processed, or zero if it
	// has not been. Its effects, such as a spent refresh token, hold from then on,
	// whether or not the client gets the answer.
	Processed time.Time
	// Done says that the rest is known. It is set before the answer is sent.
	Done   bool
	Status int         // 0 if no answer was sent
	Result string      // "ok", "not_processed" or the error code
	Fault  FaultAction // of the fault that struck, if one did

	// The user of the grant and the presented refresh token, for requests to the
	// token endpoint and the revocation endpoint; empty if not known.
	User         string
	RefreshToken string
	// The issued tokens. If there are any, the presented token is spent. They are
	// known before Done, while a fault holds the answer back.
	AccessToken      string
	NextRefreshToken string
	// Repeated says that they were issued to an earlier request; see ReplayGrace.
	Repeated bool
	// Gone says that the client closed the connection before the answer was sent.
	Gone bool
	// Ended is the time at which the client closed the connection, or else at which
	// the answer was sent or the sandbox broke the connection. It is zero while the
	// client waits.
	Ended time.Time
	// Told says that the answer held the whole NextRefreshToken and that the client
	// was still connected when it was sent. The sandbox cannot know whether the
	// client read it.
	Told bool
}

// Stats counts what has happened since the start.
type Stats struct {
	// Exchanges counts refresh grants by result: "ok", an OAuth error code, or
	// "not_processed" if a fault came first.
	Exchanges map[string]int `json:"exchanges"`
	// Logins counts the other grants in the same way.
	Logins map[string]int `json:"logins"`
	// Presented counts the requests that brought a refresh token to the token
	// endpoint, whatever their result, by TokenHash.
	Presented map[string]int `json:"presented"`
	// Replays counts the processed requests whose refresh token had been used
	// before.
	Replays       int `json:"replays"`
	Grants        int `json:"grants"` // alive
	RevokedGrants int `json:"revoked_grants"`
}

// requestLog remembers requests and counts results. It is safe for concurrent use.
type requestLog struct {
	mu        sync.Mutex
	rings     map[Endpoint]*ring
	exchanges map[string]int
	logins    map[string]int
}

// ring holds the last requestLogSize requests.
type ring struct {
	requests []*Request
	oldest   int
}

func newRequestLog() *requestLog {
	return &requestLog{rings: map[Endpoint]*ring{}, exchanges: map[string]int{}, logins: map[string]int{}}
}

// add records a request that has arrived. The caller must not read those fields of
// the returned entry that the other methods set.
func (l *requestLog) add(c *call, r *http.Request, body []byte) *Request {
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
	l.mu.Lock()
	defer l.mu.Unlock()
	recent := l.rings[endpoint]
	if recent == nil {
		recent = &ring{}
		l.rings[endpoint] = recent
	}
	if len(recent.requests) < requestLogSize {
		recent.requests = append(recent.requests, entry)
		return entry
	}
	recent.requests[recent.oldest] = entry
	recent.oldest = (recent.oldest + 1) % requestLogSize
	return entry
}

// processed records that a request has been processed, and the issued tokens.
func (l *requestLog) processed(entry *Request, c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry.Processed = time.Now()
	entry.User, entry.AccessToken, entry.NextRefreshToken, entry.Repeated = c.username, c.accessToken, c.refreshToken, c.repeated
}

// clientGone records that the client has closed the connection.
func (l *requestLog) clientGone(entry *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !entry.Done {
		entry.Gone = true
	}
	entry.end()
}

// ended records that the client no longer waits.
func (l *requestLog) ended(entry *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry.end()
}

// end sets Ended unless it is set. The caller holds requestLog.mu.
func (r *Request) end() {
	if r.Ended.IsZero() {
		r.Ended = time.Now()
	}
}

// finish records the result of a request. told says whether the answer, which is
// sent after this, holds the next refresh token.
func (l *requestLog) finish(entry *Request, c *call, action FaultAction, status int, told bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry.Done, entry.Status, entry.Result, entry.Fault = true, status, c.result, action
	entry.Told = told && !entry.Gone
	if c.endpoint != EndpointToken {
		return
	}
	switch c.grantType {
	case GrantRefreshToken:
		l.exchanges[c.result]++
	case GrantAuthorizationCode, GrantPassword:
		l.logins[c.result]++
	}
}

// list returns copies of the remembered requests, oldest first.
func (l *requestLog) list(endpoint Endpoint) []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	recent := l.rings[endpoint]
	if recent == nil {
		return nil
	}
	list := make([]Request, 0, len(recent.requests))
	for i := range recent.requests {
		entry := *recent.requests[(recent.oldest+i)%len(recent.requests)]
		entry.Header, entry.Body = entry.Header.Clone(), bytes.Clone(entry.Body)
		list = append(list, entry)
	}
	return list
}

// Requests returns the last requests to the token endpoint, oldest first, including
// those in flight. They are 10,000 at most.
func (s *Server) Requests() []Request { return s.requests.list(EndpointToken) }

// RequestsTo returns the last requests to any endpoint in the same way.
func (s *Server) RequestsTo(endpoint Endpoint) []Request { return s.requests.list(endpoint) }

// Stats returns the counts so far. Its size grows with the number of refresh
// tokens that were presented.
func (s *Server) Stats() Stats {
	stats := Stats{Exchanges: map[string]int{}, Logins: map[string]int{}, Presented: map[string]int{}}
	s.grants.counts(&stats)
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	for result, n := range s.requests.exchanges {
		stats.Exchanges[result] = n
	}
	for result, n := range s.requests.logins {
		stats.Logins[result] = n
	}
	return stats
}

// Presented returns how many requests brought this refresh token to the token
// endpoint, whatever their result.
func (s *Server) Presented(refreshToken string) int {
	return s.grants.timesPresented(hashToken(refreshToken))
}
