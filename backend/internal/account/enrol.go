package account

import (
	"fmt"
	"slices"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// DefaultClient is the client of an account that names none.
const DefaultClient = "default"

// maxRetired is how many grants that are gone are remembered.
const maxRetired = 16

// Change is what a write asks of an account. What is nil or unset stays as it
// is.
type Change struct {
	Client            *string
	RefreshToken      oauth.Secret
	SpareRefreshToken oauth.Secret
	MinTTL            *time.Duration // 0: the mount's
	RefreshOnRead     *bool
	AutoRefresh       *bool
	// Credentials ask for a login, whose grant comes in the place of both refresh
	// tokens; KeepPassword keeps them for a dead grant.
	Credentials  *oauth.Credentials
	KeepPassword *bool
}

// Apply returns the account as the change wants it, and warnings; old is nil
// where there is none. It spends nothing and never puts an old refresh token in
// the place of a newer one: whoever writes the same token again, as Terraform
// and scripts do, changes nothing.
func (c Change) Apply(name string, old *Account, now time.Time) (*Account, []string, error) {
	if err := c.check(name, old); err != nil {
		return nil, nil, err
	}
	a := Account{Client: DefaultClient}
	if old != nil {
		a = *old
	}
	if c.Client != nil {
		a = a.WithClient(*c.Client)
	}
	if c.MinTTL != nil {
		a.MinTTL = *c.MinTTL
	}
	if c.RefreshOnRead != nil {
		a.RefreshOnRead = *c.RefreshOnRead
	}
	if c.AutoRefresh != nil {
		a.AutoRefresh = *c.AutoRefresh
	}
	a.Credentials = c.keep(a.Credentials)
	var warnings []string
	if t := c.RefreshToken; t.IsSet() {
		if old != nil && old.hasSeen(t) {
			warnings = append(warnings, "this refresh_token was written before; the account keeps its newest one")
		} else {
			a = a.withGrant(t, now)
		}
	}
	if t := c.SpareRefreshToken; t.IsSet() {
		if old != nil && old.hasSeen(t) {
			warnings = append(warnings, "this spare_refresh_token was written before; the account's grants stay as they are")
		} else {
			a = a.withSpare(t, now)
		}
	}
	return &a, warnings, nil
}

// keep returns the credentials to keep, where kept are those that are kept now.
func (c Change) keep(kept *Credentials) *Credentials {
	wanted := kept != nil
	if c.KeepPassword != nil {
		wanted = *c.KeepPassword
	}
	switch {
	case !wanted:
		return nil
	case c.Credentials != nil:
		return &Credentials{Credentials: *c.Credentials}
	default:
		return kept
	}
}

// Repeats tells whether the change asks for a login that the account has had:
// its credentials are kept, and its grant is alive. Whoever writes the same
// again, as Terraform and scripts do, gets no other grant.
func (c Change) Repeats(a *Account) bool {
	kept := a.Credentials
	return c.Credentials != nil && kept != nil && !kept.Refused && a.Grant.Death == nil &&
		kept.Username == c.Credentials.Username && kept.Password.Equal(c.Credentials.Password)
}

// check refuses what would lose or waste a refresh token.
func (c Change) check(name string, old *Account) error {
	invalid := func(format string, args ...any) error {
		return &Error{Kind: KindInvalid, Account: name, Text: fmt.Sprintf(format, args...)}
	}
	written := c.RefreshToken.IsSet() || c.SpareRefreshToken.IsSet()
	switch {
	case c.Credentials != nil && written:
		return invalid("username and password get new refresh tokens from Pagero; write either them or refresh tokens")
	case c.KeepPassword != nil && *c.KeepPassword && c.Credentials == nil && (old == nil || old.Credentials == nil):
		return invalid("keep_password needs the username and the password in the same request")
	case c.Credentials != nil:
		return nil
	case old == nil && !c.RefreshToken.IsSet():
		return invalid("refresh_token, or username and password, is required to enrol an account; authorize/%s begins a login in a browser", name)
	case c.RefreshToken.IsSet() && c.RefreshToken.Equal(c.SpareRefreshToken):
		return invalid("refresh_token and spare_refresh_token are the same; a spare is a grant of its own: log in at Pagero twice")
	case old == nil:
		return nil
	case c.RefreshToken.IsSet() && old.Spare.began(c.RefreshToken):
		return invalid("this refresh_token is the account's spare; it takes over by itself when the grant dies")
	case c.RefreshToken.IsSet() && old.Grant.Death != nil && old.hasSeen(c.RefreshToken):
		return invalid("this refresh_token was written before and is of no use any more; log in at Pagero again and write the new one")
	case c.Client != nil && *c.Client != old.Client && (!c.RefreshToken.IsSet() || old.hasSeen(c.RefreshToken)):
		return invalid("a refresh token works with the client that it was issued to only; to change the client from %q to %q, write a new refresh_token with it", old.Client, *c.Client)
	case c.Client != nil && *c.Client != old.Client && old.Spare != nil && !c.SpareRefreshToken.IsSet():
		return invalid("the spare grant works with the client %q only; write a new spare_refresh_token with the new client", old.Client)
	}
	return nil
}

// hasSeen tells whether a refresh token was written to this account before.
func (a *Account) hasSeen(t oauth.Secret) bool {
	return a.Grant.began(t) || a.Spare.began(t) || slices.Contains(a.Retired, hash(t))
}

// began tells whether a refresh token began the grant, or is its newest.
func (g *Grant) began(t oauth.Secret) bool {
	return g != nil && (g.FirstTokenHash == hash(t) || g.RefreshToken.Equal(t))
}

// WithClient gives the account another client. A spare is gone then: a refresh
// token works with the client that it was issued to only.
func (a Account) WithClient(client string) Account {
	if client == a.Client {
		return a
	}
	a = a.retire(a.Spare)
	a.Client, a.Spare = client, nil
	return a
}

// withGrant gives the account a new grant and forgets what it knew of the old
// one: its access token, its failures, its death. A spare stays.
func (a Account) withGrant(refreshToken oauth.Secret, now time.Time) Account {
	a = a.retire(&a.Grant)
	a.Grant = newGrant(refreshToken, now)
	a.SpareUsed = false
	a.Access, a.Failure, a.LastError = nil, nil, nil
	a.LastRefresh, a.RefreshCount = time.Time{}, 0
	return a
}

// withSpare gives the account a spare grant in place of any before it. Where the
// grant is dead, the spare takes over at once.
func (a Account) withSpare(refreshToken oauth.Secret, now time.Time) Account {
	if a.Grant.Death != nil {
		return a.withGrant(refreshToken, now)
	}
	a = a.retire(a.Spare)
	spare := newGrant(refreshToken, now)
	a.Spare, a.SpareUsed = &spare, false
	return a
}

func newGrant(refreshToken oauth.Secret, now time.Time) Grant {
	return Grant{RefreshToken: refreshToken, FirstTokenHash: hash(refreshToken), Authorized: now}
}

// retire remembers the first token of a grant that goes away, so that it is
// recognized when it is written again.
func (a Account) retire(g *Grant) Account {
	if g == nil || g.FirstTokenHash == "" {
		return a
	}
	retired := append(slices.Clone(a.Retired), g.FirstTokenHash)
	a.Retired = retired[max(0, len(retired)-maxRetired):]
	return a
}
