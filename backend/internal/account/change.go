package account

import (
	"fmt"
	"slices"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// Change is what a write asks of an account. What is nil or unset stays as it is.
type Change struct {
	Client            *string
	RefreshToken      oauth.Secret
	SpareRefreshToken oauth.Secret
	// Settings changes the settings that the write names; nil if it names none.
	Settings func(*Settings)
	// Credentials ask for a login, whose grants replace both refresh tokens.
	// KeepPassword keeps them for the time when every grant is dead.
	Credentials  *oauth.Credentials
	KeepPassword *bool
}

// Apply returns the account as the change wants it, and warnings. old is nil if
// there is no account yet. It spends nothing, and never replaces a newer refresh
// token by an older one: a write of the same token again, as Terraform and scripts
// do it, changes nothing. The error is an *[Error].
func (c Change) Apply(name string, old *Account, now time.Time) (*Account, []string, error) {
	if err := c.check(name, old); err != nil {
		return nil, nil, err
	}
	a := Account{Client: DefaultClient}
	if old != nil {
		a = *old
	}
	if c.Client != nil {
		a = a.withClient(*c.Client)
	}
	if c.Settings != nil {
		c.Settings(&a.Settings)
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

// keep returns the credentials to keep, given those that are kept now.
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

// Repeats reports whether the change asks for a login that the account has had:
// its credentials are kept, and a grant lives. A write of the same again, as
// Terraform and scripts do it, gets no other grant.
func (c Change) Repeats(a *Account) bool {
	kept := a.Credentials
	return c.Credentials != nil && kept != nil && !kept.Refused && a.Current().Death == nil &&
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
		return invalid("username and password get new refresh tokens from the server; write either them or refresh tokens")
	case c.KeepPassword != nil && *c.KeepPassword && c.Credentials == nil && (old == nil || old.Credentials == nil):
		return invalid("keep_password needs the username and the password in the same request")
	case c.Credentials != nil:
		return nil
	case old == nil && !c.RefreshToken.IsSet():
		return invalid("refresh_token, or username and password, is required to enrol an account; authorize/%s begins a login in a browser", name)
	case c.RefreshToken.IsSet() && c.RefreshToken.Equal(c.SpareRefreshToken):
		return invalid("refresh_token and spare_refresh_token are the same; a spare is a grant of its own: log in twice")
	case old == nil:
		return nil
	}
	spare, sameClient := old.Spare(), c.Client == nil || *c.Client == old.Client
	switch {
	case c.RefreshToken.IsSet() && spare != nil && spare.began(c.RefreshToken):
		return invalid("this refresh_token is the account's spare; it takes over by itself when the grant dies")
	case c.RefreshToken.IsSet() && old.Current().Death != nil && old.hasSeen(c.RefreshToken):
		return invalid("this refresh_token was written before and does not work any more; log in again and write the new one")
	case !sameClient && (!c.RefreshToken.IsSet() || old.hasSeen(c.RefreshToken)):
		return invalid("a refresh token works with the client that it was issued to only; to change the client from %q to another, write a new refresh_token with it", old.Client)
	case !sameClient && spare != nil && !c.SpareRefreshToken.IsSet():
		return invalid("the spare grant works with the client %q only; write a new spare_refresh_token with the new client", old.Client)
	}
	return nil
}

// withClient gives the account another client, and drops its grants: a refresh token
// works with the client that it was issued to only. withGrant or LoggedIn follows.
func (a Account) withClient(client string) Account {
	if client == a.Client {
		return a
	}
	a.Client = client
	return a.without(func(Grant) bool { return true })
}

// withGrant gives the account a new grant, and forgets what it knew of the former
// one: its access token and its errors. Grants that live wait until a newer one has
// worked once; a former one that has never worked gives way if [maxReplaced] others
// wait. Spares stay.
func (a Account) withGrant(refreshToken oauth.Secret, now time.Time) Account {
	var former string
	if len(a.Grants) > 0 {
		former = a.Grants[0].FirstTokenHash
	}
	waiting := 0
	for _, g := range a.Grants {
		if g.Replaced && g.Death == nil {
			waiting++
		}
	}
	a = a.without(func(g Grant) bool { return g.Death != nil || waiting >= maxReplaced && g.FirstTokenHash == former })
	grants := []Grant{newGrant(refreshToken, now)}
	for _, g := range a.Grants {
		g.Replaced = g.Replaced || g.FirstTokenHash == former
		grants = append(grants, g)
	}
	a.Grants, a.SpareUsed = grants, false
	a.Access, a.LastError = nil, nil
	a.LastRefresh, a.RefreshCount = time.Time{}, 0
	return a
}

// withSpare gives the account a spare grant in place of any before it. If every
// grant is dead, the spare takes over at once.
func (a Account) withSpare(refreshToken oauth.Secret, now time.Time) Account {
	first := a.firstLiving()
	if first < 0 {
		return a.withGrant(refreshToken, now)
	}
	used := a.Grants[first].FirstTokenHash
	a = a.without(func(g Grant) bool { return g.FirstTokenHash != used && !g.Replaced })
	a.Grants = append(slices.Clone(a.Grants), newGrant(refreshToken, now))
	a.SpareUsed = false
	return a
}
