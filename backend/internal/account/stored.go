package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// storedVersion is the version of the stored form that this package writes.
// A field that an older plugin would drop when it writes the entry again needs
// a new version: older plugins refuse a newer one.
const storedVersion = 1

// stored is an account's entry in storage. The names are for ever.
type stored struct {
	Version          int                `json:"version"`
	Client           string             `json:"client"`
	MinTTLSeconds    int64              `json:"min_ttl_seconds,omitempty"`
	RefreshOnRead    bool               `json:"refresh_on_read,omitempty"`
	AutoRefresh      bool               `json:"auto_refresh,omitempty"`
	Grant            storedGrant        `json:"grant"`
	Spare            *storedGrant       `json:"spare,omitempty"`
	SpareUsed        bool               `json:"spare_used,omitempty"`
	Retired          []string           `json:"retired_sha256,omitempty"`
	Access           *storedAccess      `json:"access,omitempty"`
	Credentials      *storedCredentials `json:"credentials,omitempty"`
	LastRefresh      time.Time          `json:"last_refresh,omitzero"`
	RefreshCount     int64              `json:"refresh_count,omitempty"`
	Failure          *storedFailure     `json:"failure,omitempty"`
	LastErrorTime    time.Time          `json:"last_error_time,omitzero"`
	LastErrorMessage string             `json:"last_error,omitempty"`
}

type storedGrant struct {
	RefreshToken   string        `json:"refresh_token"`
	FirstTokenHash string        `json:"first_token_sha256,omitempty"`
	Authorized     time.Time     `json:"authorized,omitzero"`
	Intent         *storedIntent `json:"intent,omitempty"`
	DoubtSince     time.Time     `json:"doubt_since,omitzero"`
	Death          *storedDeath  `json:"death,omitempty"`
	Used           time.Time     `json:"used,omitzero"`
	Rest           time.Time     `json:"rest,omitzero"`
}

type storedIntent struct {
	ID       string    `json:"id"`
	Process  string    `json:"process"`
	Started  time.Time `json:"started"`
	Deadline time.Time `json:"deadline"`
}

type storedDeath struct {
	Time      time.Time `json:"time"`
	Code      string    `json:"code"`
	LostSince time.Time `json:"lost_since,omitzero"`
}

type storedAccess struct {
	Token    string    `json:"token"`
	Scope    string    `json:"scope"`
	Claims   *string   `json:"claims,omitempty"`
	Issued   time.Time `json:"issued"`
	Obtained time.Time `json:"obtained"`
	Expires  time.Time `json:"expires"`
}

type storedCredentials struct {
	Username string    `json:"username"`
	Password string    `json:"password"`
	LastUsed time.Time `json:"last_used,omitzero"`
	Refused  bool      `json:"refused,omitempty"`
}

type storedFailure struct {
	Kind           string    `json:"kind"`
	Code           string    `json:"code,omitempty"`
	Reason         string    `json:"reason,omitempty"`
	Count          int       `json:"count"`
	NextAttempt    time.Time `json:"next_attempt"`
	ClientRevision string    `json:"client_revision,omitempty"`
}

// encode returns the account's entry. It cannot fail: nothing that can fail
// stands between a token endpoint's answer and the Put.
func encode(a *Account) []byte {
	s := stored{
		Version:       storedVersion,
		Client:        a.Client,
		MinTTLSeconds: int64(a.MinTTL / time.Second),
		RefreshOnRead: a.RefreshOnRead,
		AutoRefresh:   a.AutoRefresh,
		Grant:         encodeGrant(&a.Grant),
		SpareUsed:     a.SpareUsed,
		Retired:       a.Retired,
		LastRefresh:   a.LastRefresh,
		RefreshCount:  a.RefreshCount,
	}
	if a.Spare != nil {
		spare := encodeGrant(a.Spare)
		s.Spare = &spare
	}
	if t := a.Access; t != nil {
		s.Access = &storedAccess{Token: t.Token.Reveal(), Scope: t.Scope, Issued: t.Issued, Obtained: t.Obtained, Expires: t.Expires}
		if t.HasClaims {
			s.Access.Claims = &t.Claims
		}
	}
	if c := a.Credentials; c != nil {
		s.Credentials = &storedCredentials{Username: c.Username, Password: c.Password.Reveal(), LastUsed: c.LastUsed, Refused: c.Refused}
	}
	if f := a.Failure; f != nil {
		s.Failure = &storedFailure{
			Kind: string(f.Kind), Code: string(f.Code), Reason: f.Reason, Count: f.Count,
			NextAttempt: f.NextAttempt, ClientRevision: f.ClientRevision,
		}
	}
	if e := a.LastError; e != nil {
		s.LastErrorTime, s.LastErrorMessage = e.Time, e.Message
	}
	b, err := json.Marshal(s)
	if err != nil {
		// The only errors of json.Marshal for this type are times outside of the
		// years 0 to 9999.
		panic("account: an account that cannot be stored: " + err.Error())
	}
	return b
}

func encodeGrant(g *Grant) storedGrant {
	s := storedGrant{
		RefreshToken:   g.RefreshToken.Reveal(),
		FirstTokenHash: g.FirstTokenHash,
		Authorized:     g.Authorized,
		DoubtSince:     g.DoubtSince,
		Used:           g.Used,
		Rest:           g.Rest,
	}
	if in := g.Intent; in != nil {
		s.Intent = &storedIntent{ID: in.ID, Process: in.Process, Started: in.Started, Deadline: in.Deadline}
	}
	if d := g.Death; d != nil {
		s.Death = &storedDeath{Time: d.Time, Code: string(d.Code), LostSince: d.LostSince}
	}
	return s
}

// decode reads an entry that this version or an older one wrote. Its errors
// hold nothing of the entry.
func decode(b []byte) (*Account, error) {
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, errors.New("its entry is not readable; it was left as it is; restore it, or delete the account and enrol it again")
	}
	switch {
	case s.Version > storedVersion:
		return nil, fmt.Errorf("its entry has version %d; this plugin reads up to %d; it was left as it is; register the newer plugin again", s.Version, storedVersion)
	case s.Version < 1:
		return nil, errors.New("its entry has no version; it was left as it is; restore it, or delete the account and enrol it again")
	}
	a := &Account{
		Client:        s.Client,
		MinTTL:        time.Duration(s.MinTTLSeconds) * time.Second,
		RefreshOnRead: s.RefreshOnRead,
		AutoRefresh:   s.AutoRefresh,
		Grant:         decodeGrant(&s.Grant),
		SpareUsed:     s.SpareUsed,
		Retired:       s.Retired,
		LastRefresh:   s.LastRefresh,
		RefreshCount:  s.RefreshCount,
	}
	if s.Spare != nil {
		spare := decodeGrant(s.Spare)
		a.Spare = &spare
	}
	if t := s.Access; t != nil {
		a.Access = &AccessToken{Token: oauth.NewSecret(t.Token), Scope: t.Scope, Issued: t.Issued, Obtained: t.Obtained, Expires: t.Expires}
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
	if f := s.Failure; f != nil {
		a.Failure = &Failure{
			Kind: FailureKind(f.Kind), Code: oauth.ErrorCode(f.Code), Reason: f.Reason, Count: f.Count,
			NextAttempt: f.NextAttempt, ClientRevision: f.ClientRevision,
		}
	}
	if s.LastErrorMessage != "" {
		a.LastError = &LastError{Time: s.LastErrorTime, Message: s.LastErrorMessage}
	}
	return a, nil
}

func decodeGrant(s *storedGrant) Grant {
	g := Grant{
		RefreshToken:   oauth.NewSecret(s.RefreshToken),
		FirstTokenHash: s.FirstTokenHash,
		Authorized:     s.Authorized,
		DoubtSince:     s.DoubtSince,
		Used:           s.Used,
		Rest:           s.Rest,
	}
	if in := s.Intent; in != nil {
		g.Intent = &Intent{ID: in.ID, Process: in.Process, Started: in.Started, Deadline: in.Deadline}
	}
	if d := s.Death; d != nil {
		g.Death = &Death{Time: d.Time, Code: oauth.ErrorCode(d.Code), LostSince: d.LostSince}
	}
	return g
}
