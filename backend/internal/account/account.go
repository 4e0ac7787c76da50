package account

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// State is an account's state, as users see it.
type State string

// The states of an account.
const (
	StateNew     State = "new"                      // enrolled with a refresh token, never refreshed
	StateReady   State = "ready"                    // the last exchange, or the login, gave an access token
	StateFailing State = "failing"                  // the last exchange failed and will be tried again
	StateInDoubt State = "in_doubt"                 // an exchange was sent and its outcome is not known
	StateDead    State = "reauthorization_required" // the grant was rejected for good
)

// SpareState tells what there is of a spare grant.
type SpareState string

// The states of a spare grant.
const (
	SpareNone  SpareState = "none"  // there never was one
	SpareReady SpareState = "ready" // it waits for the grant to die
	SpareUsed  SpareState = "used"  // it has become the grant; enrol another
)

// Account is one user's authorization of one client: what is stored of it, and
// nothing else but Unsaved. Values are immutable once they are shared: a
// transition returns a changed copy, and replaces what pointers point to.
type Account struct {
	Client        string
	MinTTL        time.Duration // 0: the mount's
	RefreshOnRead bool          // every read runs the refresh grant
	AutoRefresh   bool          // refreshed in the background, so that no read waits
	// Credentials are kept to log in again when the grant dies; nil: none are.
	Credentials *Credentials

	Grant     Grant
	Spare     *Grant // nil: none
	SpareUsed bool   // the grant was a spare once
	// Retired are the FirstTokenHash of grants that are gone, the oldest first.
	Retired []string

	// Access is the newest access token, over or not. It may be of a grant that has
	// died since: a spare takes over without one. nil: there was none since a refresh
	// token was written.
	Access *AccessToken
	// LastRefresh is the last successful exchange, RefreshCount how many there were
	// since a refresh token was written or a login gave one. A spare that takes over
	// goes on with them; what it did as a spare does not count. Zero: none.
	LastRefresh  time.Time
	RefreshCount int64

	Failure   *Failure   // why the next exchange waits; nil: it does not
	LastError *LastError // the last thing that went wrong, kept after recovery; nil: nothing

	// Unsaved marks a rescue copy: the storage does not hold this state yet.
	// It is not stored.
	Unsaved bool
}

// Grant is one chain of refresh tokens, begun by one login.
type Grant struct {
	RefreshToken oauth.Secret
	// FirstTokenHash is the SHA-256 of the refresh token that began the chain,
	// in hex. It recognizes an old token that is written again.
	FirstTokenHash string
	Authorized     time.Time // when that token was written, or a login gave it
	// Intent is written before each POST and removed with its outcome. One of
	// another process says that its exchange is under way, or that the process died
	// or lost the storage in the middle of it.
	Intent *Intent
	// DoubtSince is when the first exchange with this refresh token was sent
	// whose outcome is not known; zero: none.
	DoubtSince time.Time
	Death      *Death // nil: alive
	// Used is when an exchange with one of its tokens succeeded last; zero: not
	// since Authorized.
	Used time.Time
	// Rest is, of a spare, the time before which it is not presented again after
	// a failure.
	Rest time.Time
}

// Credentials are a user's, kept where the operator wants it.
type Credentials struct {
	oauth.Credentials
	LastUsed time.Time // the last login that the plugin began by itself; zero: none
	Refused  bool      // the server refused them: they are not used again
}

// Intent says that a process is about to present a refresh token.
type Intent struct {
	ID       string
	Process  string    // of the process that wrote it
	Started  time.Time // when it was written
	Deadline time.Time // no POST of this intent is under way after it
}

// Death says how a grant ended.
type Death struct {
	Time time.Time
	Code oauth.ErrorCode
	// LostSince is set where an exchange had no answer before the grant was
	// rejected: the next refresh token was lost in transit then.
	LostSince time.Time
}

// AccessToken is an access token and what the server said of it.
type AccessToken struct {
	Token     oauth.Secret
	Scope     string
	Claims    string
	HasClaims bool      // the server sent claims, perhaps ""
	Issued    time.Time // the moment before the request for it was sent
	Obtained  time.Time // when the answer was there
	Expires   time.Time
}

// Lifetime is the life that the server gave the token.
func (t *AccessToken) Lifetime() time.Duration { return t.Expires.Sub(t.Issued) }

// Remaining is the life that is left of the token at now, never more than its
// lifetime (a clock may have been set back), 0 where it is over or there is no
// token.
func (t *AccessToken) Remaining(now time.Time) time.Duration {
	if t == nil {
		return 0
	}
	return max(0, min(t.Expires.Sub(now), t.Lifetime()))
}

// FailureKind is a class of failure that decides who has to do what. The
// values are stored.
type FailureKind string

// The kinds of failure.
const (
	FailedUnreachable FailureKind = "unreachable" // no connection: the token is untouched
	FailedInDoubt     FailureKind = "in_doubt"    // sent, outcome not known
	FailedThrottled   FailureKind = "throttled"   // the server is busy (429 and the like), or a spare that took over still rests
	FailedClient      FailureKind = "client"      // the server refuses the client
	FailedRequest     FailureKind = "request"     // the server refuses the request
	FailedAnswer      FailureKind = "answer"      // rotated, but without an access token
	FailedStorage     FailureKind = "storage"     // Vault's storage failed before the POST
)

// unsent tells whether a failure of this kind came before the server saw
// anything.
func (k FailureKind) unsent() bool { return k == FailedUnreachable || k == FailedStorage }

// Failure is why the next exchange waits.
type Failure struct {
	Kind        FailureKind
	Code        oauth.ErrorCode // where the server sent one
	Reason      string          // a fixed phrase, never a server's text
	Count       int             // failures in a row
	NextAttempt time.Time
	// ClientRevision is the client's revision at the attempt: where the client may be
	// to blame, a change of it ends the wait.
	ClientRevision string
}

// LastError is the last thing that went wrong.
type LastError struct {
	Time    time.Time
	Message string
}

// hash is the SHA-256 of a secret, in hex.
func hash(s oauth.Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// inDoubt tells whether the refresh token was presented without an outcome.
func (g *Grant) inDoubt() bool { return g.Intent != nil || !g.DoubtSince.IsZero() }

// State derives the account's state.
func (a *Account) State() State {
	switch {
	case a.Grant.Death != nil:
		return StateDead
	case a.Grant.inDoubt():
		return StateInDoubt
	case a.Failure != nil:
		return StateFailing
	case a.LastRefresh.IsZero() && a.Access == nil:
		return StateNew
	default:
		return StateReady
	}
}

// SpareState derives what there is of a spare.
func (a *Account) SpareState() SpareState {
	switch {
	case a.Spare != nil:
		return SpareReady
	case a.SpareUsed:
		return SpareUsed
	default:
		return SpareNone
	}
}
