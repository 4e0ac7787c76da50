package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Values of the default configuration. The secrets are fixtures.
const (
	DefaultAddr                = "127.0.0.1:0"
	DefaultAccessTokenLifetime = 600 * time.Second
	DefaultReplayGrace         = 30 * time.Second

	DefaultClientID     = "sandbox-client"
	DefaultClientSecret = "sandbox-secret"
	DefaultUsername     = "alice"
	DefaultPassword     = "alice-password"
)

// ReplayMode says what happens if a used refresh token is presented again.
type ReplayMode string

const (
	// ReplayRevoke revokes the whole grant, the newest token included
	// (RFC 9700 section 4.14.2). It is the default.
	ReplayRevoke ReplayMode = "revoke"
	// ReplayRefuse refuses the used token and leaves the grant alone.
	ReplayRefuse ReplayMode = "refuse"
	// ReplayGrace answers with the same tokens again, as Curity does, for
	// Config.ReplayGrace after the first presentation and as long as the next refresh
	// token has not been used. After that it does what ReplayRevoke does.
	ReplayGrace ReplayMode = "grace"
)

// AccessTokenFormat is the form of access tokens.
type AccessTokenFormat string

const (
	// AccessTokenJWT issues signed JWTs with the claims iss, sub, iat, exp,
	// client_id and publicid. It is the default.
	AccessTokenJWT AccessTokenFormat = "jwt"
	// AccessTokenOpaque issues random strings, from which a client learns nothing.
	AccessTokenOpaque AccessTokenFormat = "opaque"
)

// TieMode says how the server ties the grants of one browser session together, as a
// server does that keeps its tokens in the session.
type TieMode string

const (
	// TieNone leaves them independent. It is the default.
	TieNone TieMode = ""
	// TieStaleRefused makes the tokens of the other grants of the session stale when
	// one grant is used. A stale token is refused with invalid_grant.
	TieStaleRefused TieMode = "stale-refused"
	// TieStaleEndsBoth makes them stale in the same way. A stale token that is
	// presented ends all grants of the session, and so does a revocation or a replay.
	TieStaleEndsBoth TieMode = "stale-ends-both"
)

// Grant types (RFC 6749) that the token endpoint knows.
const (
	GrantRefreshToken      = "refresh_token"
	GrantAuthorizationCode = "authorization_code"
	GrantPassword          = "password"
)

// Client authentication methods (RFC 8414, token_endpoint_auth_methods_supported).
const (
	AuthBasic = "client_secret_basic"
	AuthPost  = "client_secret_post"
)

// Client is a registered OAuth client.
type Client struct {
	ID     string
	Secret string
	// RedirectURIs are compared as strings, except that any port matches if the
	// host is a loopback address (RFC 8252 section 7.3).
	RedirectURIs []string
	// GrantTypes that the client may use; empty means all three.
	GrantTypes []string
	// AuthMethod restricts the client to AuthBasic or AuthPost; empty allows both.
	AuthMethod string
}

// User is a person that can log in.
type User struct {
	Username string
	Password string
}

// Config says how a sandbox behaves. The zero value is usable.
type Config struct {
	// Addr is the loopback address to listen on; others are refused. The
	// default is 127.0.0.1 and any free port.
	Addr string
	// Clients and Users default to DefaultClients and DefaultUsers.
	Clients []Client
	Users   []User
	// AccessTokenLifetime is in whole seconds, 600 s by default.
	AccessTokenLifetime time.Duration
	// Replay defaults to ReplayRevoke.
	Replay ReplayMode
	// ReplayGrace is the grace period of the replay mode of that name, 30 s by
	// default.
	ReplayGrace time.Duration
	// AccessToken defaults to AccessTokenJWT.
	AccessToken AccessTokenFormat
	// EndAccessTokens lets only the newest access token of a grant work: a refresh
	// ends the one before, and a revocation the last one, as with Ory Hydra and
	// Zitadel. Otherwise an access token works until it expires.
	EndAccessTokens bool
	// TieSessions defaults to TieNone.
	TieSessions TieMode
	// OmitClaims leaves the "claims" member out of token answers.
	OmitClaims bool
	// OmitIssuer leaves the parameter "iss" (RFC 9207) out of authorization answers.
	OmitIssuer bool
	// Faults allows faults to be set, and opens the paths below /sandbox/,
	// which show requests with all their secrets.
	Faults bool
	// Logger receives one line for each request, without secrets; nil discards.
	Logger *slog.Logger
	// Now is the clock for the lifetimes of tokens and codes; nil means time.Now.
	Now func() time.Time
}

// DefaultClients returns the client that a sandbox has if none are configured.
func DefaultClients() []Client {
	return []Client{{
		ID:     DefaultClientID,
		Secret: DefaultClientSecret,
		RedirectURIs: []string{
			"http://127.0.0.1:8200/v1/pagero/callback",
			"http://localhost:8200/v1/pagero/callback",
			"http://127.0.0.1/callback",
			"http://[::1]/callback",
		},
	}}
}

// DefaultUsers returns the users that a sandbox has if none are configured.
func DefaultUsers() []User {
	return []User{
		{Username: DefaultUsername, Password: DefaultPassword},
		{Username: "bob", Password: "bob-password"},
		{Username: "carol", Password: "carol-password"},
	}
}

// withDefaults returns the configuration with every default filled in, or an
// error if it is not valid.
func (c Config) withDefaults() (Config, error) {
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	if c.Clients == nil {
		c.Clients = DefaultClients()
	}
	if c.Users == nil {
		c.Users = DefaultUsers()
	}
	if c.AccessTokenLifetime == 0 {
		c.AccessTokenLifetime = DefaultAccessTokenLifetime
	}
	if c.Replay == "" {
		c.Replay = ReplayRevoke
	}
	if c.ReplayGrace == 0 {
		c.ReplayGrace = DefaultReplayGrace
	}
	if c.AccessToken == "" {
		c.AccessToken = AccessTokenJWT
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, c.validate()
}

func (c Config) validate() error {
	if err := checkLoopback(c.Addr); err != nil {
		return err
	}
	if err := checkLifetime(c.AccessTokenLifetime); err != nil {
		return err
	}
	if err := c.validateModes(); err != nil {
		return err
	}
	for _, client := range c.Clients {
		if client.ID == "" || client.Secret == "" {
			return errors.New("a client needs an id and a secret")
		}
		switch client.AuthMethod {
		case "", AuthBasic, AuthPost:
		default:
			return fmt.Errorf("client %q: authentication method %q is not known", client.ID, client.AuthMethod)
		}
	}
	for _, user := range c.Users {
		if user.Username == "" || user.Password == "" {
			return errors.New("a user needs a name and a password")
		}
	}
	return nil
}

// validateModes checks what the sandbox does other than the strictest server.
func (c Config) validateModes() error {
	switch c.Replay {
	case ReplayRevoke, ReplayRefuse, ReplayGrace:
	default:
		return fmt.Errorf("replay mode %q is not %q, %q or %q", c.Replay, ReplayRevoke, ReplayRefuse, ReplayGrace)
	}
	if c.ReplayGrace < 0 {
		return fmt.Errorf("grace period %s is negative", c.ReplayGrace)
	}
	if c.AccessToken != AccessTokenJWT && c.AccessToken != AccessTokenOpaque {
		return fmt.Errorf("access token format %q is neither %q nor %q", c.AccessToken, AccessTokenJWT, AccessTokenOpaque)
	}
	switch c.TieSessions {
	case TieNone, TieStaleRefused, TieStaleEndsBoth:
	default:
		return fmt.Errorf("tie mode %q is neither %q nor %q", c.TieSessions, TieStaleRefused, TieStaleEndsBoth)
	}
	return nil
}

// checkLoopback refuses an address that other machines can reach.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen address %q is not a loopback address", addr)
	}
	return nil
}

// checkLifetime accepts whole seconds: expires_in and the JWT's times have no finer unit.
func checkLifetime(d time.Duration) error {
	if d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("access token lifetime %s is not a whole number of seconds of at least one", d)
	}
	return nil
}
