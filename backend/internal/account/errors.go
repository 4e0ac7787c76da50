package account

import (
	"errors"
	"fmt"
	"time"
)

// ErrReadOnly says that this node must not write: Vault forwards the request
// to the one that may. It is returned bare.
var ErrReadOnly = errors.New("account: this node cannot write")

// ErrorKind says who can mend an error, and so which status it gets.
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
	// NextAttempt is when the plugin will try again; zero: not known.
	NextAttempt time.Time
	// Unreadable marks an entry that is there, but that this version of the plugin
	// cannot read: trying again is of no use.
	Unreadable bool
}

// Error implements error. A dead account's message begins with
// "reauthorization required", for those who look for it.
func (e *Error) Error() string {
	if e.Kind == KindDead {
		return fmt.Sprintf("reauthorization required: account %q: %s", e.Account, e.Text)
	}
	return fmt.Sprintf("account %q: %s", e.Account, e.Text)
}

func notFound(name string) *Error {
	return &Error{Kind: KindNotFound, Account: name, Text: fmt.Sprintf(
		"does not exist; enrol it: a write to authorize/%s begins a login, or write a refresh_token to accounts/%s", name, name)}
}

func storageError(name, doing string, err error) *Error {
	return &Error{Kind: KindStorage, Account: name, Text: fmt.Sprintf(
		"Vault's storage failed while %s: %v; see Vault's log, mend the storage and try again", doing, err)}
}

func closing(name string) *Error {
	return &Error{Kind: KindUnavailable, Account: name, Text: "the plugin is being stopped or reloaded; try again"}
}

func contended(name string) *Error {
	return &Error{Kind: KindUnavailable, Account: name, Text: "the account is being changed all the time; try again"}
}

// trouble says in words why an exchange does not run now, for a reader without a
// token as an error, for one with a token as a warning.
func trouble(name string, a *Account, b Block, now time.Time) *Error {
	e := &Error{Kind: KindUnavailable, Account: name, NextAttempt: b.Until}
	switch b.Reason {
	case BlockUnsaved:
		e.Kind = KindStorage
		e.Text = "the newest refresh token is held in memory because Vault's storage refuses to save it; " +
			"mend the storage and do not stop Vault or the plugin before it is saved"
	case BlockIntent:
		e.Text = fmt.Sprintf("another process began an exchange at %s and did not report its outcome (a crash or a failover); next attempt at %s",
			stamp(a.Grant.Intent.Started), stamp(b.Until))
	case BlockDead:
		e.Kind = KindDead
		e.Text = fmt.Sprintf("%s; %slog in again: authorize/%s begins a login in a browser, or write a new refresh_token to accounts/%s",
			a.Grant.Death.describe(), a.describeNextLogin(now), name, name)
	default:
		a.Failure.explain(e, a, name, now)
	}
	return e
}

// describeNextLogin says what becomes of kept credentials, for a message that
// goes on with what a person can do.
func (a *Account) describeNextLogin(now time.Time) string {
	next, ok := a.nextLogin()
	switch {
	case a.Credentials == nil:
		return ""
	case !ok:
		return "the server refused the kept password, too; "
	case now.Before(next):
		return fmt.Sprintf("the plugin logs in again with the kept password at %s, not more often than once an hour; to be quicker, ", stamp(next))
	default:
		return "the next read logs in again with the kept password; to be quicker, "
	}
}

// explain words a failure: what happened, what of the refresh token, what to do.
func (f *Failure) explain(e *Error, a *Account, name string, now time.Time) {
	again := "next attempt at " + stamp(f.NextAttempt)
	if !now.Before(f.NextAttempt) {
		again = "the next read tries again"
	}
	switch f.Kind {
	case FailedClient:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("%s: it refuses the client %q; the refresh token is untouched; correct clients/%s (client_id, client_secret, auth_method) and read again; otherwise %s",
			f.Reason, a.Client, a.Client, again)
	case FailedRequest:
		e.Kind = KindClient
		e.Text = fmt.Sprintf("%s; check clients/%s; where that is right, the refresh token may have been rejected: log in at Pagero again and write the new refresh_token to accounts/%s; otherwise %s",
			f.Reason, a.Client, name, again)
	case FailedUnreachable:
		e.Text = fmt.Sprintf("%s; nothing was sent and the refresh token is untouched; check the network from Vault and clients/%s (token_url, ca_cert); %s", f.Reason, a.Client, again)
	case FailedThrottled:
		e.Text = fmt.Sprintf("%s; the refresh token is untouched; %s", f.Reason, again)
	case FailedAnswer:
		e.Text = fmt.Sprintf("%s; the refresh token is saved; %s", f.Reason, again)
	case FailedStorage:
		e.Kind = KindStorage
		e.Text = fmt.Sprintf("%s; the refresh token is untouched; mend Vault's storage; %s", f.Reason, again)
	default:
		e.Text = fmt.Sprintf("%s, so it is not known whether the refresh token was spent; it will be presented once more; %s", f.Reason, again)
		if since := a.Grant.DoubtSince; !since.IsZero() {
			e.Text = fmt.Sprintf("in doubt since %s: %s", stamp(since), e.Text)
		}
	}
}
