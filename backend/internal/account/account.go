package account

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// DefaultClient is the client of an account that names none.
const DefaultClient = "default"

// clockTolerance is how far another machine's clock may be ahead before a time
// that it wrote counts as wrong.
const clockTolerance = 2 * time.Second

// State is an account's state, as users see it.
type State string

// The states of an account.
const (
	StateNew     State = "new"                      // enrolled with a refresh token, never refreshed
	StateReady   State = "ready"                    // the last exchange, or the login, gave an access token
	StateFailing State = "failing"                  // the last exchange failed and will be tried again
	StateInDoubt State = "in_doubt"                 // an exchange was sent and its outcome is not known
	StateDead    State = "reauthorization_required" // every grant was rejected for good
)

// States are all states.
var States = []State{StateNew, StateReady, StateFailing, StateInDoubt, StateDead}

// SpareState says whether an account has a spare grant.
type SpareState string

// The states of a spare grant.
const (
	SpareNone  SpareState = "none"  // there is none
	SpareReady SpareState = "ready" // a grant waits that can take over
	SpareUsed  SpareState = "used"  // it has taken over; enrol another
)

// SpareStates are all states of a spare grant.
var SpareStates = []SpareState{SpareNone, SpareReady, SpareUsed}

// Account is one user's authorization of one client. All of it is stored, except
// Unsaved. Values are immutable once they are shared.
type Account struct {
	Client string
	Settings
	// Credentials are kept to log in again when every grant is dead; nil if the
	// account keeps none.
	Credentials *Credentials

	// Grants are in the order in which they are used; see the package documentation.
	Grants []Grant
	// SpareUsed is set once a spare has taken over.
	SpareUsed bool
	// RetiredHashes are the FirstTokenHash of grants that are gone, the oldest first.
	RetiredHashes []string

	// Access is the newest access token, which may have expired. Its grant may have
	// died since. It is nil until the first exchange of a written refresh token.
	Access *AccessToken
	// LastRefresh is the last successful exchange for readers, and RefreshCount is
	// the number of them since a person wrote a refresh token or logged in. A spare
	// that takes over goes on counting.
	LastRefresh  time.Time
	RefreshCount int64

	// LastError is the last thing that went wrong, and is kept after recovery.
	LastError *LastError

	// Generation counts the writes of the entry since the account was enrolled. It
	// tells a newer state from an older one.
	Generation int64

	// Unsaved marks a rescue copy: the storage does not hold this state yet.
	Unsaved bool
}

// Settings are the settings of one account.
type Settings struct {
	MinTTL        time.Duration // 0 for the mount's
	RefreshOnRead bool          // a read runs the refresh grant, unless the token is young
	AutoRefresh   bool          // refreshed in the background when its TTL is over
}

// Grant is one chain of refresh tokens, begun by one login.
type Grant struct {
	RefreshToken oauth.Secret
	// FirstTokenHash is the SHA-256 of the refresh token that began the chain, in
	// hex. It identifies the grant, and recognizes an old token that is written
	// again.
	FirstTokenHash string
	AuthorizedAt   time.Time // when that token was written, or a login returned it
	// Replaced marks a grant that a written refresh token has replaced. It waits
	// until the new one has worked once.
	Replaced bool
	// Intent is written before each POST and removed with its outcome. An intent of
	// another process means that its exchange is in progress, or that the process
	// died or lost the storage during the exchange.
	Intent *Intent
	// DoubtSince is when the first exchange with this refresh token was sent whose
	// outcome is not known; zero if there is none.
	DoubtSince   time.Time
	Unreadable   bool      // an answer came in this doubt that could not be read
	Death        *Death    // nil while the grant lives
	LastExchange time.Time // the last successful exchange; zero if there was none
	Failure      *Failure  // why the next exchange waits; nil if it does not
}

// Credentials are a user's name and password, kept at the operator's wish.
type Credentials struct {
	oauth.Credentials
	LastUsed time.Time // the last login that the plugin began by itself; zero if none
	Refused  bool      // the server refused them; they are not used again
}

// Intent says that a process is about to present a refresh token.
type Intent struct {
	ID       string
	Process  string    // the process that wrote it
	Started  time.Time // when it was written, on that process's clock
	Deadline time.Time // no POST of this intent is in progress after it
}

// Death says how a grant ended.
type Death struct {
	Time time.Time
	Code oauth.ErrorCode
	// LostSince is set if an exchange had no answer before the server rejected the
	// refresh token: the next refresh token was lost in transit.
	LostSince time.Time
}

// AccessToken is an access token and what the server said about it.
type AccessToken struct {
	Token     oauth.Secret
	TokenType string // "" is Bearer
	Scope     string
	Claims    string
	HasClaims bool      // the server sent claims, perhaps ""
	Issued    time.Time // the moment before the request for it was sent
	Obtained  time.Time // when the answer was read
	Expires   time.Time
}

// Lifetime is the life that the server gave the token.
func (t *AccessToken) Lifetime() time.Duration { return t.Expires.Sub(t.Issued) }

// Remaining is the life that is left of the token at now; 0 if it has expired or
// there is no token. A token that was issued in the future is of unknown age,
// because a clock was wrong: it counts as expired.
func (t *AccessToken) Remaining(now time.Time) time.Duration {
	if t == nil || t.Issued.After(now.Add(clockTolerance)) {
		return 0
	}
	return max(0, min(t.Expires.Sub(now), t.Lifetime()))
}

// LastError is the last thing that went wrong.
type LastError struct {
	Time    time.Time
	Message string
}

// State derives the account's state from the grant in use.
func (a *Account) State() State {
	g := a.Current()
	switch {
	case g.Death != nil:
		return StateDead
	case g.inDoubt():
		return StateInDoubt
	case g.Failure != nil:
		return StateFailing
	case a.LastRefresh.IsZero() && a.Access == nil:
		return StateNew
	default:
		return StateReady
	}
}

// SpareState derives whether there is a spare.
func (a *Account) SpareState() SpareState {
	switch {
	case a.Spare() != nil:
		return SpareReady
	case a.SpareUsed:
		return SpareUsed
	default:
		return SpareNone
	}
}

// hash is the SHA-256 of a secret, in hex.
func hash(s oauth.Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// Stamp is the form in which times appear in messages: RFC 3339, UTC.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
