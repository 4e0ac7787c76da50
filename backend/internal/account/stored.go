package account

import (
	"errors"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/entry"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// storedVersion is the version of the stored form that this package writes.
const storedVersion = 1

// stored is an account's entry in the storage.
type stored struct {
	entry.Header
	Client string `json:"client"`
	storedSettings
	Credentials      *storedCredentials `json:"credentials,omitempty"`
	Grants           []storedGrant      `json:"grants"`
	SpareUsed        bool               `json:"spare_used,omitempty"`
	RetiredHashes    []string           `json:"retired_sha256,omitempty"`
	Access           *storedAccess      `json:"access,omitempty"`
	LastRefresh      time.Time          `json:"last_refresh_time,omitzero"`
	RefreshCount     int64              `json:"refresh_count,omitempty"`
	LastErrorTime    time.Time          `json:"last_error_time,omitzero"`
	LastErrorMessage string             `json:"last_error,omitempty"`
	Generation       int64              `json:"generation"`
}

// storedSettings has the fields of Settings, in the same order.
type storedSettings struct {
	MinTTL        time.Duration `json:"min_ttl_ns,omitempty"`
	RefreshOnRead bool          `json:"refresh_on_read,omitempty"`
	AutoRefresh   bool          `json:"auto_refresh,omitempty"`
}

type storedGrant struct {
	RefreshToken   string         `json:"refresh_token"`
	FirstTokenHash string         `json:"first_token_sha256,omitempty"`
	AuthorizedAt   time.Time      `json:"authorized_time,omitzero"`
	Replaced       bool           `json:"replaced,omitempty"`
	Intent         *storedIntent  `json:"intent,omitempty"`
	DoubtSince     time.Time      `json:"doubt_since,omitzero"`
	Unreadable     bool           `json:"unreadable,omitempty"`
	Death          *storedDeath   `json:"death,omitempty"`
	LastExchange   time.Time      `json:"last_exchange_time,omitzero"`
	Failure        *storedFailure `json:"failure,omitempty"`
}

// storedIntent has the fields of Intent, in the same order.
type storedIntent struct {
	ID       string    `json:"id"`
	Process  string    `json:"process"`
	Started  time.Time `json:"start_time"`
	Deadline time.Time `json:"deadline"`
}

// storedDeath has the fields of Death, in the same order.
type storedDeath struct {
	Time      time.Time       `json:"time"`
	Code      oauth.ErrorCode `json:"code"`
	LostSince time.Time       `json:"lost_since,omitzero"`
}

// storedFailure has the fields of Failure, in the same order.
type storedFailure struct {
	Kind           FailureKind     `json:"kind"`
	Code           oauth.ErrorCode `json:"code,omitempty"`
	Reason         string          `json:"reason,omitempty"`
	Count          int             `json:"count"`
	Refusals       int             `json:"refusals,omitempty"`
	Since          time.Time       `json:"since"`
	Time           time.Time       `json:"time"`
	NextAttempt    time.Time       `json:"next_attempt_time"`
	ClientRevision string          `json:"client_revision,omitempty"`
}

type storedAccess struct {
	Token     string    `json:"token"`
	TokenType string    `json:"token_type,omitempty"`
	Scope     string    `json:"scope"`
	Claims    *string   `json:"claims,omitempty"`
	Issued    time.Time `json:"issue_time"`
	Obtained  time.Time `json:"obtain_time"`
	Expires   time.Time `json:"expire_time"`
}

type storedCredentials struct {
	Username string    `json:"username"`
	Password string    `json:"password"`
	LastUsed time.Time `json:"last_use_time,omitzero"`
	Refused  bool      `json:"refused,omitempty"`
}

// Encode returns the account's entry. It cannot fail: nothing that can fail stands
// between a token endpoint's answer and the Put.
func Encode(a *Account) []byte {
	s := stored{
		Client:         a.Client,
		storedSettings: storedSettings(a.Settings),
		Grants:         make([]storedGrant, len(a.Grants)),
		SpareUsed:      a.SpareUsed,
		RetiredHashes:  a.RetiredHashes,
		LastRefresh:    a.LastRefresh,
		RefreshCount:   a.RefreshCount,
		Generation:     a.Generation,
	}
	for i := range a.Grants {
		s.Grants[i] = encodeGrant(&a.Grants[i])
	}
	if t := a.Access; t != nil {
		s.Access = &storedAccess{Token: t.Token.Reveal(), TokenType: t.TokenType, Scope: t.Scope, Issued: t.Issued, Obtained: t.Obtained, Expires: t.Expires}
		if t.HasClaims {
			s.Access.Claims = &t.Claims
		}
	}
	if c := a.Credentials; c != nil {
		s.Credentials = &storedCredentials{Username: c.Username, Password: c.Password.Reveal(), LastUsed: c.LastUsed, Refused: c.Refused}
	}
	if e := a.LastError; e != nil {
		s.LastErrorTime, s.LastErrorMessage = e.Time, e.Message
	}
	b, err := entry.Encode(storedVersion, &s)
	if err != nil { // a time outside of the years 0 to 9999
		panic("account: an account that cannot be stored: " + err.Error())
	}
	return b
}

func encodeGrant(g *Grant) storedGrant {
	return storedGrant{
		RefreshToken:   g.RefreshToken.Reveal(),
		FirstTokenHash: g.FirstTokenHash,
		AuthorizedAt:   g.AuthorizedAt,
		Replaced:       g.Replaced,
		Intent:         (*storedIntent)(g.Intent),
		DoubtSince:     g.DoubtSince,
		Unreadable:     g.Unreadable,
		Death:          (*storedDeath)(g.Death),
		LastExchange:   g.LastExchange,
		Failure:        (*storedFailure)(g.Failure),
	}
}

// Decode reads an entry that this version or an older one wrote. Its errors say
// what to do and hold nothing of the entry.
func Decode(b []byte) (*Account, error) {
	var s stored
	if err := entry.Decode(b, storedVersion, &s); err != nil {
		return nil, unreadable(err)
	}
	if len(s.Grants) == 0 {
		return nil, errUnreadable
	}
	a := &Account{
		Client:        s.Client,
		Settings:      Settings(s.storedSettings),
		SpareUsed:     s.SpareUsed,
		RetiredHashes: s.RetiredHashes,
		LastRefresh:   s.LastRefresh,
		RefreshCount:  s.RefreshCount,
		Generation:    s.Generation,
	}
	for i := range s.Grants {
		a.Grants = append(a.Grants, decodeGrant(&s.Grants[i]))
	}
	if t := s.Access; t != nil {
		a.Access = &AccessToken{Token: oauth.NewSecret(t.Token), TokenType: t.TokenType, Scope: t.Scope, Issued: t.Issued, Obtained: t.Obtained, Expires: t.Expires}
		if t.Claims != nil {
			a.Access.Claims, a.Access.HasClaims = *t.Claims, true
		}
	}
	if c := s.Credentials; c != nil {
		a.Credentials = &Credentials{
			Credentials: oauth.Credentials{Username: c.Username, Password: oauth.NewSecret(c.Password)},
			LastUsed:    c.LastUsed, Refused: c.Refused,
		}
	}
	if s.LastErrorMessage != "" {
		a.LastError = &LastError{Time: s.LastErrorTime, Message: s.LastErrorMessage}
	}
	return a, nil
}

func unreadable(err error) error {
	var e *entry.UnreadableError
	if errors.As(err, &e) && e.Newer() {
		return errors.New("its entry " + e.Error() + "; register the newer plugin again")
	}
	return errUnreadable
}

var errUnreadable = errors.New("its entry is not readable; it was left as it is; restore it, or delete the account and enrol it again")

func decodeGrant(s *storedGrant) Grant {
	return Grant{
		RefreshToken:   oauth.NewSecret(s.RefreshToken),
		FirstTokenHash: s.FirstTokenHash,
		AuthorizedAt:   s.AuthorizedAt,
		Replaced:       s.Replaced,
		Intent:         (*Intent)(s.Intent),
		DoubtSince:     s.DoubtSince,
		Unreadable:     s.Unreadable,
		Death:          (*Death)(s.Death),
		LastExchange:   s.LastExchange,
		Failure:        (*Failure)(s.Failure),
	}
}
