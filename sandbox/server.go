package sandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
)

// Server is a running sandbox. It is safe for concurrent use.
type Server struct {
	cfg   Config
	addr  string // host:port, fixed at the first listen
	certs *certificates
	log   *slog.Logger

	tokens   *tokenMaker
	storage  *storage
	grants   *grantTable
	provider fosite.OAuth2Provider
	sessions *sessionTable
	codes    sync.Mutex // serializes the exchanges of codes, as grant.exchange does those of refresh tokens

	faults   *faultTable
	requests *requestLog

	closing  context.Context // done when the server closes
	close    context.CancelFunc
	inFlight sync.WaitGroup

	mu     sync.Mutex
	http   *http.Server  // nil while paused
	served chan struct{} // closed once http no longer listens
	closed bool
}

// Start begins to serve on a loopback address, over TLS with a certificate of the
// sandbox's own authority. The caller closes the server.
func Start(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("sandbox configuration: %w", err)
	}
	certs, err := newCertificates()
	if err != nil {
		return nil, err
	}
	tokens, err := newTokenMaker(cfg)
	if err != nil {
		return nil, err
	}
	closing, cancel := context.WithCancel(context.Background())
	store := newStorage(cfg)
	s := &Server{
		cfg:      cfg,
		addr:     cfg.Addr,
		certs:    certs,
		log:      cfg.Logger,
		tokens:   tokens,
		storage:  store,
		grants:   store.grants,
		provider: newProvider(store, tokens),
		sessions: newSessionTable(),
		faults:   newFaultTable(),
		requests: newRequestLog(),
		closing:  closing,
		close:    cancel,
	}
	if err := s.Resume(); err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// newProvider puts fosite together: three grants and PKCE.
func newProvider(store *storage, tokens *tokenMaker) fosite.OAuth2Provider {
	return compose.Compose(
		&fosite.Config{
			ClientAuthenticationStrategy: store.authenticateClient,
			ScopeStrategy:                fosite.ExactScopeStrategy,
			AudienceMatchingStrategy:     fosite.DefaultAudienceMatchingStrategy, // otherwise fosite sets it later, which is a race
			RefreshTokenScopes:           []string{},                             // every grant gets a refresh token
			MinParameterEntropy:          1,                                      // Pagero sets no minimum for state
			OmitRedirectScopeParam:       true,
			FormPostHTMLTemplate:         formPostPage,
		},
		store,
		tokens,
		compose.OAuth2AuthorizeExplicitFactory,
		compose.OAuth2PKCEFactory, // must follow the code handler
		compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2ResourceOwnerPasswordCredentialsFactory, //nolint:staticcheck // deprecated with the grant, which Pagero has
	)
}

// Resume listens again after Pause, on the same address.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return http.ErrServerClosed
	}
	if s.http != nil {
		return nil
	}
	listener, err := Listen(s.closing, s.addr)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if s.tokens.issuer == "" { // the first time; from now on the port is fixed
		s.addr = listener.Addr().String()
		s.tokens.issuer = s.URL()
	}

	var protocols http.Protocols
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler:           s.routes(),
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{s.certs.server},
			MinVersion:   tls.VersionTLS12,
		},
		ErrorLog: log.New(io.Discard, "", 0), // failed TLS handshakes; the client says why
	}
	served := make(chan struct{})
	s.http, s.served = server, served
	go func() {
		defer close(served)
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("sandbox stopped serving", "error", err)
		}
	}()
	return nil
}

// Pause closes the listener and all connections, as if the service were down:
// connections are refused until Resume. All grants are kept.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		return nil
	}
	err := s.http.Close()
	<-s.served // if Close came before Serve, only Serve closes the listener
	s.http = nil
	return err
}

// Close stops serving, ends the requests that a fault holds back, and waits for
// all requests in flight. No line is logged after it returns.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	err := s.Pause()
	s.inFlight.Wait()
	return err
}

// begin counts a new request. It reports whether the server still takes requests.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.inFlight.Add(1)
	return true
}

// URL returns the base URL, which is also the issuer, such as https://127.0.0.1:40123.
func (s *Server) URL() string { return "https://" + s.addr }

// TokenURL returns the URL of the token endpoint.
func (s *Server) TokenURL() string { return s.URL() + PathToken }

// AuthorizeURL returns the URL of the authorization endpoint.
func (s *Server) AuthorizeURL() string { return s.URL() + PathAuthorize }

// RevokeURL returns the URL of the revocation endpoint.
func (s *Server) RevokeURL() string { return s.URL() + PathRevoke }

// DocumentsURL returns the URL of the protected API.
func (s *Server) DocumentsURL() string { return s.URL() + PathDocuments }

// CACertPEM returns the certificate authority that a client must trust.
func (s *Server) CACertPEM() []byte { return s.certs.caPEM }

// Client returns a new HTTP client with its own connections that trusts the
// sandbox and ignores the environment's proxies.
func (s *Server) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.certs.pool, MinVersion: tls.VersionTLS12},
	}}
}

// Login begins a grant without HTTP, as if the user had logged in, and returns
// its first refresh token.
func (s *Server) Login(ctx context.Context, clientID, username string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	c, err := s.storage.GetClient(ctx, clientID)
	if err != nil {
		return "", fmt.Errorf("client %q: %w", clientID, err)
	}
	if !s.storage.hasUser(username) {
		return "", fmt.Errorf("user %q is not known", username)
	}
	g := &grant{id: uuid.NewString(), clientID: c.GetID(), username: username}
	token := newRefreshToken()
	s.grants.add(g)
	s.grants.issue(g, token, "")
	return token, nil
}
