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

// Paths. Pagero has the same, except for those below /sandbox/.
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

// maxRequestBody is the largest request body, in bytes.
const maxRequestBody = 1 << 20

// Endpoint is a part of the service, for faults and for the record of requests.
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

// Results of requests, in addition to the error codes.
const (
	resultOK           = "ok"
	resultNotProcessed = "not_processed" // a fault came first
)

// call is the state of a request that is being served.
type call struct {
	endpoint  Endpoint
	start     time.Time
	grantType string
	clientID  string
	username  string    // the user of the refresh token's grant, or of the login
	presented tokenHash // of the refresh token in the form
	hasToken  bool
	// refreshTokenIn is that refresh token itself; only the record needs it.
	refreshTokenIn string

	// Set by the handler.
	result       string // resultOK, resultNotProcessed or an error code
	accessToken  string
	refreshToken string
	repeated     bool // the tokens were issued to an earlier request
}

// answer is a response that has not been sent yet, so that a fault can still
// replace it. It implements http.ResponseWriter because fosite needs one.
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

// serve wraps a handler with what all requests have in common: the record, the
// faults and the log line. The answer is sent last, so that a client that has its
// answer finds the request recorded, counted and logged.
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
		entry := s.requests.add(c, r, body)
		defer s.requests.ended(entry)
		defer context.AfterFunc(r.Context(), func() { s.requests.clientGone(entry) })()
		if c.hasToken && endpoint == EndpointToken {
			s.grants.countPresentation(c.presented)
		}
		// The handler reads the body again. It goes on even if the client closes the
		// connection, as a real server does.
		inner := r.WithContext(context.WithoutCancel(r.Context()))
		inner.Body = io.NopCloser(bytes.NewReader(body))

		fault := s.faults.take(c, false)
		if fault.at(FaultBefore) {
			fault.strike(s.closing.Done())
			if fault.replacesAnswer() {
				c.result = resultNotProcessed
				s.sendFault(w, r, fault, nil, c, entry)
				return
			}
		}
		a := newAnswer()
		handle(a, inner, c)
		s.requests.processed(entry, c)
		if fault == nil {
			fault = s.faults.take(c, true)
		}
		if fault.at(FaultAfter) {
			fault.strike(s.closing.Done())
			if fault.replacesAnswer() {
				s.sendFault(w, r, fault, a, c, entry)
				return
			}
		}
		s.finish(c, entry, fault, a.status, c.nextTokenIn(a.body.Bytes()))
		a.send(w)
	})
}

// sendFault does what the fault does instead of sending the right answer a, which is
// nil if the request was not processed.
func (s *Server) sendFault(w http.ResponseWriter, r *http.Request, fault *FaultHandle, a *answer, c *call, entry *Request) {
	out, told := fault.fault.answer(a, c)
	status := 0
	if out != nil {
		status = out.status
	}
	s.finish(c, entry, fault, status, told)
	switch fault.fault.Action {
	case ActionHang:
		select {
		case <-r.Context().Done():
		case <-fault.released:
		case <-s.closing.Done():
		}
		panic(http.ErrAbortHandler) // closes the connection
	case ActionDrop, ActionReset, ActionTruncate:
		if err := breakConnection(w, fault.fault, out); err != nil {
			s.log.Error("fault could not be carried out", "fault", fault.describe(), "error", err)
			panic(http.ErrAbortHandler)
		}
	default:
		out.send(w)
	}
}

// nextTokenIn reports whether a body holds the whole next refresh token.
func (c *call) nextTokenIn(body []byte) bool {
	return c.refreshToken != "" && bytes.Contains(body, []byte(`"`+c.refreshToken+`"`))
}

// newCall reads what the faults, the counts and the log line need from the request.
func (s *Server) newCall(endpoint Endpoint, r *http.Request, body []byte) *call {
	c := &call{endpoint: endpoint, start: time.Now()}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return c
	}
	c.grantType = form.Get("grant_type")
	if name := form.Get("username"); s.storage.hasUser(name) {
		c.username = name // an unknown name is not logged: it may be a password in the wrong field
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

// finish records, counts and logs the result of a request. A status of 0 means that
// no answer is sent.
func (s *Server) finish(c *call, entry *Request, fault *FaultHandle, status int, told bool) {
	s.requests.finish(entry, c, fault.action(), status, told)
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

// shorten limits what a client can write into the log.
func shorten(value string) string {
	const limit = 64
	if len(value) <= limit {
		return value
	}
	return value[:limit] + "..."
}
