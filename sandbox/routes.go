package sandbox

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Paths as at Pagero, and those that only the sandbox has.
const (
	PathToken     = "/oauth/v2/oauth-token"
	PathAuthorize = "/oauth/v2/oauth-authorize"
	PathRevoke    = "/oauth/v2/oauth-revoke"
	PathDocuments = "/document/v1/documents"
	PathMetadata  = "/.well-known/oauth-authorization-server"
	PathJWKS      = "/oauth/v2/oauth-anonymous/jwks"

	PathFaults   = "/sandbox/faults"
	PathRequests = "/sandbox/requests"
	PathStats    = "/sandbox/stats"
)

// maxRequestBody bounds what a request may bring, in bytes.
const maxRequestBody = 1 << 20

// Endpoint names a part of the service, for faults and records.
type Endpoint string

// The endpoints.
const (
	EndpointToken     Endpoint = "token"
	EndpointAuthorize Endpoint = "authorize"
	EndpointRevoke    Endpoint = "revoke"
	EndpointAPI       Endpoint = "api"
)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(PathToken, s.serve(EndpointToken, s.handleToken))
	mux.Handle(PathAuthorize, s.serve(EndpointAuthorize, s.handleAuthorize))
	mux.Handle(PathRevoke, s.serve(EndpointRevoke, s.handleRevoke))
	mux.Handle(PathDocuments, s.serve(EndpointAPI, s.handleDocuments))
	mux.HandleFunc("GET "+PathMetadata, s.handleMetadata)
	mux.HandleFunc("GET "+PathJWKS, s.handleJWKS)
	if s.cfg.Faults {
		mux.HandleFunc("POST "+PathFaults, s.handleSetFault)
		mux.HandleFunc("GET "+PathFaults, s.handleListFaults)
		mux.HandleFunc("DELETE "+PathFaults, s.handleClearFaults)
		mux.HandleFunc("GET "+PathRequests, s.handleRequests)
		mux.HandleFunc("GET "+PathStats, s.handleStats)
	}
	return mux
}

// Results of requests, beside the error codes.
const (
	resultOK           = "ok"
	resultNotProcessed = "not_processed" // a fault came first
)

// call is what is known of a request while it is being served.
type call struct {
	endpoint  Endpoint
	start     time.Time
	grantType string
	clientID  string
	username  string    // whose grant the refresh token belongs to, or who logs in
	presented tokenHash // of the refresh token in the form
	hasToken  bool
	// refreshTokenIn is that refresh token itself, for the record only.
	refreshTokenIn string

	// Set by the handler.
	result       string // resultOK, resultNotProcessed or an error code
	accessToken  string
	refreshToken string
}

// answer is a response that has not been sent yet, so that a fault can still
// spoil it. It implements http.ResponseWriter for fosite's sake.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{status: http.StatusOK, header: http.Header{}} }

// Header returns the headers to be sent.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader sets the status; the last call counts.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write adds to the body.
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

func (a *answer) send(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // an error means that the client has gone
}

// serve wraps a handler with all that requests have in common: the record, the
// faults and the log line, in that order around the handler. The answer is sent
// last, so that whoever has it finds the request recorded, counted and logged.
func (s *Server) serve(endpoint Endpoint, handle func(*answer, *http.Request, *call)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.begin() {
			panic(http.ErrAbortHandler)
		}
		defer s.inFlight.Done()

		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
		if err != nil {
			http.Error(w, "the request body is too large or broke off", http.StatusRequestEntityTooLarge)
			return
		}
		c := s.newCall(endpoint, r, body)
		entry := s.journal.add(c, r, body)
		defer s.journal.end(entry)
		defer context.AfterFunc(r.Context(), func() { s.journal.leave(entry) })()
		if c.hasToken && endpoint == EndpointToken {
			s.grants.present(c.presented)
		}
		// The handler sees the body anew, and goes on when the client has gone
		// away: so does a real server.
		inner := r.WithContext(context.WithoutCancel(r.Context()))
		inner.Body = io.NopCloser(bytes.NewReader(body))

		fault := s.faults.take(c)
		if fault.at(FaultBefore) {
			fault.strike(s.closing.Done())
			if fault.spoils() {
				c.result = resultNotProcessed
				s.spoil(w, r, fault, nil, c, entry)
				return
			}
		}
		a := newAnswer()
		handle(a, inner, c)
		s.journal.process(entry, c)
		if fault.at(FaultAfter) {
			fault.strike(s.closing.Done())
			if fault.spoils() {
				s.spoil(w, r, fault, a, c, entry)
				return
			}
		}
		s.finish(c, entry, fault, a.status, c.tells(a.body.Bytes()))
		a.send(w)
	})
}

// spoil carries out what a fault does in place of sending the answer a, which
// is nil where the request was not processed.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, fault *FaultHandle, a *answer, c *call, entry *Request) {
	spoiled := fault.compose(a, c)
	if spoiled == nil {
		s.finish(c, entry, fault, 0, false)
	} else {
		s.finish(c, entry, fault, spoiled.status, c.tells(fault.fault.cut(spoiled.body.Bytes())))
	}
	switch fault.fault.Action {
	case ActionHang:
		select {
		case <-r.Context().Done():
		case <-fault.released:
		case <-s.closing.Done():
		}
		panic(http.ErrAbortHandler) // closes the connection
	case ActionDrop, ActionReset, ActionTruncate:
		if err := breakOff(w, fault.fault, spoiled); err != nil {
			s.log.Error("fault could not be carried out", "fault", fault.describe(), "error", err)
			panic(http.ErrAbortHandler)
		}
	default:
		spoiled.send(w)
	}
}

// tells reports whether a body holds the next refresh token, whole.
func (c *call) tells(body []byte) bool {
	return c.refreshToken != "" && bytes.Contains(body, []byte(`"`+c.refreshToken+`"`))
}

// newCall reads from the request what faults, counts and the log line need.
func (s *Server) newCall(endpoint Endpoint, r *http.Request, body []byte) *call {
	c := &call{endpoint: endpoint, start: time.Now()}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return c
	}
	c.grantType = form.Get("grant_type")
	if name := form.Get("username"); s.storage.hasUser(name) {
		c.username = name // not logged otherwise: it may be a password in the wrong field
	}
	if cred, err := readCredentials(r, form); err == nil {
		c.clientID = cred.id
	}
	if c.clientID == "" && endpoint == EndpointAuthorize {
		c.clientID = r.URL.Query().Get("client_id")
	}
	token := form.Get("refresh_token")
	if endpoint == EndpointRevoke {
		token = form.Get("token")
	}
	if token != "" {
		c.presented, c.hasToken, c.refreshTokenIn = hashToken(token), true, token
		if g := s.grants.findByToken(c.presented); g != nil {
			c.username = g.username
		}
	}
	return c
}

// finish records, counts and logs the end of a request. status 0 means that no
// answer is sent.
func (s *Server) finish(c *call, entry *Request, fault *FaultHandle, status int, told bool) {
	s.journal.finish(entry, c, fault.action(), status, told)
	attrs := []any{"endpoint", c.endpoint, "method", entry.Method, "path", entry.Path}
	for _, attr := range []struct{ key, value string }{
		{"grant_type", c.grantType}, {"client_id", c.clientID}, {"user", c.username},
	} {
		if attr.value != "" {
			attrs = append(attrs, attr.key, shorten(attr.value))
		}
	}
	if c.hasToken {
		attrs = append(attrs, "refresh_token", c.presented.prefix())
	}
	if c.refreshToken != "" {
		attrs = append(attrs, "next_refresh_token", hashToken(c.refreshToken).prefix())
	}
	if fault != nil {
		attrs = append(attrs, "fault", fault.describe())
	}
	s.log.Info("request", append(attrs, "result", c.result, "status", status,
		"duration", time.Since(c.start).Round(time.Microsecond))...)
}

// shorten keeps what a stranger sent from flooding the log.
func shorten(value string) string {
	const limit = 64
	if len(value) <= limit {
		return value
	}
	return value[:limit] + "..."
}
