package account

import (
	"fmt"
	"time"
)

// ErrorKind is a class of errors that have the same remedy, and so the same HTTP
// status.
type ErrorKind int

// The kinds of errors.
const (
	KindStorage     ErrorKind = iota // Vault's storage failed, an entry cannot be read, or the plugin has a defect
	KindNotFound                     // no such account, or no such client
	KindInvalid                      // the request makes no sense
	KindDead                         // a person has to authorize the account again
	KindClient                       // the server refused the client or the request, or the client must not be used
	KindUnavailable                  // no exchange is possible now
)

// Error is an error about one account. Its text says what happened and what to
// do next, and holds no token, no secret and nothing that a server wrote.
type Error struct {
	Kind    ErrorKind
	Account string
	Text    string
	// NextAttempt is when the plugin will try again; zero if it is not known.
	NextAttempt time.Time
	// Unreadable marks an entry that exists but that this version of the plugin
	// cannot read. Trying again does not help.
	Unreadable bool
}

// Error implements error. A dead account's message begins with
// "reauthorization required", so that programs can recognize it.
func (e *Error) Error() string {
	if e.Kind == KindDead {
		return fmt.Sprintf("reauthorization required: account %q: %s", e.Account, e.Text)
	}
	return fmt.Sprintf("account %q: %s", e.Account, e.Text)
}

// HoldError says in words why an exchange does not run now: as an error for a
// reader without a token, and as a warning for one with a token.
func HoldError(name string, a *Account, h Hold, now time.Time) *Error {
	e := &Error{Kind: KindUnavailable, Account: name, NextAttempt: h.Until}
	switch h.Reason {
	case HeldUnsaved:
		e.Kind = KindStorage
		e.Text = "the newest refresh token is held in memory because Vault's storage refuses to save it; " +
			"fix the storage and do not stop Vault or the plugin before it is saved"
	case HeldByIntent:
		e.Text = fmt.Sprintf("another process began an exchange at %s and did not report its outcome (a crash or a failover); next attempt at %s",
			Stamp(a.Current().Intent.Started), Stamp(h.Until))
	case HeldDead:
		e.Kind = KindDead
		e.Text = fmt.Sprintf("%s; %slog in again: authorize/%s begins a login in a browser, or write a new refresh_token to accounts/%s",
			a.describeDeath(), a.describeNextLogin(now), name, name)
	default:
		a.Current().Failure.explain(e, a, name, now)
	}
	return e
}

// OutcomeError says how the last exchange has failed, or returns nil if it has
// not.
func OutcomeError(name string, a *Account, now time.Time) error {
	switch g := a.Current(); {
	case g.Death != nil:
		return HoldError(name, a, Hold{Reason: HeldDead}, now)
	case g.Failure != nil:
		return HoldError(name, a, Hold{Reason: HeldByFailure, Until: g.Failure.NextAttempt}, now)
	}
	return nil
}

// describeNextLogin says what the plugin does with kept credentials. The message
// goes on with what a person can do.
func (a *Account) describeNextLogin(now time.Time) string {
	next, ok := a.nextLogin(now)
	switch {
	case a.Credentials == nil:
		return ""
	case !ok:
		return "the server refused the kept password, too; "
	case now.Before(next):
		return fmt.Sprintf("the plugin logs in again with the kept password at %s, not more often than once an hour; to be quicker, ", Stamp(next))
	default:
		return "the next read logs in again with the kept password; to be quicker, "
	}
}

// explain words a failure: what happened, whether the refresh token is untouched,
// and what to do.
func (f *Failure) explain(e *Error, a *Account, name string, now time.Time) {
	again := "next attempt at " + Stamp(f.NextAttempt)
	if !now.Before(f.waitsUntil(now)) {
		again = "the next read tries again"
	}
	switch f.Kind {
	case FailedClient:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("%s: it refuses the client %q; the refresh token is untouched; correct clients/%s (client_id, client_secret, auth_method) and read again; otherwise %s",
			f.Reason, a.Client, a.Client, again)
	case FailedRequest:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("%s; check clients/%s; if that is right, the refresh token may have been rejected: log in again and write the new refresh_token to accounts/%s; otherwise %s",
			f.Reason, a.Client, name, again)
	case FailedUnreachable:
		e.Text = fmt.Sprintf("%s; nothing was sent and the refresh token is untouched; check the network from Vault and clients/%s (token_url, ca_cert); %s", f.Reason, a.Client, again)
	case FailedRefused:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("%s, so the refresh token is probably untouched; something in front of the server may be wrong, or clients/%s (token_url); %s", f.Reason, a.Client, again)
	case FailedSetup:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("%s; nothing was sent and the refresh token is untouched; %s", f.Reason, again)
	case FailedHeldBack:
		e.Text = fmt.Sprintf("%s; %s", f.Reason, again)
	case FailedThrottled:
		e.Text = fmt.Sprintf("%s; the refresh token is untouched; %s", f.Reason, again)
	case FailedAnswer:
		e.Text = fmt.Sprintf("%s; the refresh token is saved; %s", f.Reason, again)
	case FailedStorage:
		e.Kind = KindStorage
		e.Text = fmt.Sprintf("%s; the refresh token is untouched; fix Vault's storage; %s", f.Reason, again)
	default:
		e.Text = fmt.Sprintf("%s, so it is not known whether the refresh token was spent; it will be presented once more; %s", f.Reason, again)
		if since := a.Current().DoubtSince; !since.IsZero() {
			e.Text = fmt.Sprintf("in doubt since %s: %s", Stamp(since), e.Text)
		}
	}
}
