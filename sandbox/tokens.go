package sandbox

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
)

// Prefixes of random tokens. That of refresh tokens makes them look like Pagero's.
const (
	accessTokenPrefix  = "_0XBPWQQ_"
	refreshTokenPrefix = "_1XBPWQQ_"
)

// publicIDs is the name space of the IDs that PublicID returns.
var publicIDs = uuid.MustParse("6f0e6c52-31a4-4d3c-9a0c-5b1f6f2f7d10")

// tokenMaker makes and checks tokens. Access and ID tokens are JWTs signed with
// ES256; refresh tokens, codes and opaque access tokens are random. It implements
// fosite's token strategy and is safe for concurrent use.
type tokenMaker struct {
	issuer   string
	now      func() time.Time
	lifetime atomic.Int64 // of access tokens, a time.Duration
	signer   jose.Signer
	public   jose.JSONWebKey

	mu     sync.RWMutex
	opaque map[tokenHash]*accessClaims // of opaque access tokens; nil if they are JWTs
}

var _ oauth2.CoreStrategy = (*tokenMaker)(nil)

// accessClaims are the members of an access token.
type accessClaims struct {
	jwt.Claims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	PublicID string `json:"publicid"`
	GrantID  string `json:"delegationId"` // Curity's name
}

// idClaims are the members of an ID token.
type idClaims struct {
	jwt.Claims
	Nonce    string `json:"nonce,omitempty"`
	PublicID string `json:"publicid"`
}

// PublicID returns the value of the claim publicid for a user. It looks random and
// is always the same; the claim sub is the user's name itself.
func PublicID(username string) string {
	return uuid.NewSHA1(publicIDs, []byte(username)).String()
}

func newTokenMaker(cfg Config) (*tokenMaker, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the signing key: %w", err)
	}
	private := jose.JSONWebKey{Key: key, KeyID: uuid.NewString(), Algorithm: string(jose.ES256), Use: "sig"}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: private},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return nil, fmt.Errorf("making the token signer: %w", err)
	}
	m := &tokenMaker{now: cfg.Now, signer: signer, public: private.Public()}
	m.lifetime.Store(int64(cfg.AccessTokenLifetime))
	if cfg.AccessToken == AccessTokenOpaque {
		m.opaque = map[tokenHash]*accessClaims{}
	}
	return m, nil
}

func (m *tokenMaker) accessTokenLifetime() time.Duration { return time.Duration(m.lifetime.Load()) }

// registered returns the claims that every JWT of the sandbox has. It rounds the
// expiry up, so that a token never expires before its expires_in is over.
func (m *tokenMaker) registered(subject, audience string, lifetime time.Duration) jwt.Claims {
	now := m.now()
	return jwt.Claims{
		Issuer:   m.issuer,
		Subject:  subject,
		Audience: jwt.Audience{audience},
		ID:       uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(now.Add(lifetime + time.Second - 1)),
	}
}

func (m *tokenMaker) sign(claims any) (string, error) {
	return jwt.Signed(m.signer).Claims(claims).Serialize()
}

// GenerateAccessToken makes an access token for the user and client of r.
func (m *tokenMaker) GenerateAccessToken(ctx context.Context, r fosite.Requester) (token, signature string, err error) {
	s, err := sessionOf(r)
	if err != nil {
		return "", "", err
	}
	s.lifetime = m.accessTokenLifetime()
	claims := accessClaims{
		Claims:   m.registered(s.subject, m.issuer, s.lifetime),
		ClientID: r.GetClient().GetID(),
		Scope:    joinScopes(r.GetGrantedScopes()),
		PublicID: PublicID(s.subject),
		GrantID:  r.GetID(),
	}
	s.accessTokenID = claims.ID
	if m.opaque == nil {
		token, err = m.sign(claims)
	} else {
		token = accessTokenPrefix + uuid.NewString()
		m.mu.Lock()
		m.opaque[hashToken(token)] = &claims
		m.mu.Unlock()
	}
	return token, m.AccessTokenSignature(ctx, token), err
}

// idToken signs an ID token (OpenID Connect Core section 2).
func (m *tokenMaker) idToken(s *session, clientID string) (string, error) {
	return m.sign(idClaims{
		Claims: m.registered(s.subject, clientID, s.lifetime), Nonce: s.nonce, PublicID: PublicID(s.subject),
	})
}

// verify checks an access token's origin and expiry, and returns its claims.
func (m *tokenMaker) verify(token string) (*accessClaims, error) {
	claims, err := m.read(token)
	if err != nil {
		return nil, err
	}
	if claims.Expiry == nil {
		return nil, errors.New("no expiry")
	}
	// An ID token is signed with the same key; it differs in its audience.
	expected := jwt.Expected{Issuer: m.issuer, AnyAudience: jwt.Audience{m.issuer}, Time: m.now()}
	if err := claims.ValidateWithLeeway(expected, 0); err != nil {
		return nil, err
	}
	return claims, nil
}

// read returns the claims of an opaque token, or of a JWT that has a valid signature.
func (m *tokenMaker) read(token string) (*accessClaims, error) {
	if m.opaque != nil {
		m.mu.RLock()
		defer m.mu.RUnlock()
		claims := m.opaque[hashToken(token)]
		if claims == nil {
			return nil, errors.New("unknown token")
		}
		return claims, nil
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, fmt.Errorf("not a JWT signed with ES256: %w", err)
	}
	var claims accessClaims
	if err := parsed.Claims(m.public.Key, &claims); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return &claims, nil
}

// AccessTokenSignature returns the token's hash. fosite would store the token under
// it, but storage keeps no access tokens.
func (m *tokenMaker) AccessTokenSignature(_ context.Context, token string) string {
	return hashToken(token).signature()
}

// ValidateAccessToken checks the token itself.
func (m *tokenMaker) ValidateAccessToken(_ context.Context, _ fosite.Requester, token string) error {
	_, err := m.verify(token)
	return err
}

// RefreshTokenSignature returns the token's hash, under which it is stored.
func (m *tokenMaker) RefreshTokenSignature(_ context.Context, token string) string {
	return hashToken(token).signature()
}

// GenerateRefreshToken makes the next refresh token and sets it in the session,
// where storage finds it.
func (m *tokenMaker) GenerateRefreshToken(_ context.Context, r fosite.Requester) (token, signature string, err error) {
	s, err := sessionOf(r)
	if err != nil {
		return "", "", err
	}
	s.refreshToken = newRefreshToken()
	return s.refreshToken, hashToken(s.refreshToken).signature(), nil
}

// ValidateRefreshToken accepts every token: storage has found it, so it is valid.
func (m *tokenMaker) ValidateRefreshToken(context.Context, fosite.Requester, string) error {
	return nil
}

// AuthorizeCodeSignature returns the code's hash, under which it is stored.
func (m *tokenMaker) AuthorizeCodeSignature(_ context.Context, code string) string {
	return hashToken(code).signature()
}

// GenerateAuthorizeCode makes a random authorization code.
func (m *tokenMaker) GenerateAuthorizeCode(context.Context, fosite.Requester) (code, signature string, err error) {
	code = rand.Text()
	return code, hashToken(code).signature(), nil
}

// ValidateAuthorizeCode accepts every code: storage has found it and checked its expiry.
func (m *tokenMaker) ValidateAuthorizeCode(context.Context, fosite.Requester, string) error {
	return nil
}

func newRefreshToken() string { return refreshTokenPrefix + uuid.NewString() }
