package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
)

// ErrUnknownToken says that the sandbox never issued this refresh token.
var ErrUnknownToken = errors.New("the sandbox did not issue this refresh token")

// ErrRevoked says that the grant was revoked: none of its refresh tokens works.
var ErrRevoked = errors.New("the grant was revoked")

// tokenHash identifies a refresh token where the token itself is not needed.
type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// signature returns the hash in the form that fosite passes on. fromSignature is its inverse.
func (h tokenHash) signature() string { return string(h[:]) }

func fromSignature(signature string) (h tokenHash) {
	copy(h[:], signature)
	return h
}

// prefix identifies the token in the log: the first 8 hex digits of its SHA-256.
func (h tokenHash) prefix() string { return hex.EncodeToString(h[:4]) }

// TokenHash returns the SHA-256 of a refresh token in hex. It is the token's key in
// Stats; the log shows its first 8 digits.
func TokenHash(refreshToken string) string {
	h := hashToken(refreshToken)
	return hex.EncodeToString(h[:])
}

// grant is one chain of refresh tokens, which a login has begun.
type grant struct {
	// exchange is held from the look-up of a refresh token until the next one is
	// issued. fosite looks up first and rotates later, so that two requests between
	// these steps would both succeed.
	// Grants that are tied together share it.
	exchange *sync.Mutex

	id        string
	clientID  string
	username  string
	browserID string // of the browser session that it was begun in; "" if there was none
	scopes    []string

	// lastExchange is guarded by exchange, and nil unless replays have a grace period.
	lastExchange *completedExchange

	// Guarded by grantTable.mu.
	current       string // the newest refresh token; "" while it is being replaced
	currentHash   tokenHash
	accessTokenID string // of the newest access token
	revoked       bool
	stale         bool // a grant that it is tied to was used
}

// tokenState is what is kept of every refresh token ever issued or presented.
type tokenState struct {
	grant     *grant // nil if the token was never issued here
	presented uint32 // how many requests brought it
}

// grantTable holds all grants and finds them by any of their refresh tokens.
// It is safe for concurrent use.
type grantTable struct {
	ties TieMode

	mu        sync.RWMutex
	byID      map[string]*grant
	byUser    map[string][]*grant
	byBrowser map[string][]*grant // by the browser session; only of grants that are tied
	byToken   map[tokenHash]tokenState
	replays   int
}

func newGrantTable(ties TieMode) *grantTable {
	return &grantTable{
		ties:      ties,
		byID:      map[string]*grant{},
		byUser:    map[string][]*grant{},
		byBrowser: map[string][]*grant{},
		byToken:   map[tokenHash]tokenState{},
	}
}

// add begins a grant, which has no token yet.
func (t *grantTable) add(g *grant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g.exchange = &sync.Mutex{}
	t.tie(g)
	t.byID[g.id] = g
	t.byUser[g.username] = append(t.byUser[g.username], g)
}

func (t *grantTable) find(id string) *grant {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

// findByToken finds the grant of a refresh token, which may have been used. It
// returns nil if there is none.
func (t *grantTable) findByToken(h tokenHash) *grant {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byToken[h].grant
}

// issue makes token the one refresh token of g that works. A revoked grant stays
// revoked: the new token is known then, but does not work. accessTokenID is that of
// the access token that is issued with it.
func (t *grantTable) issue(g *grant, token, accessTokenID string) {
	h := hashToken(token)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byToken[h] = tokenState{grant: g}
	g.currentHash, g.accessTokenID = h, accessTokenID
	if !g.revoked {
		g.current = token
	}
}

// spend ends the token. It reports whether it was the one that works.
func (t *grantTable) spend(g *grant, h tokenHash) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.revoked || g.stale || g.current == "" || g.currentHash != h {
		return false
	}
	g.current, g.currentHash = "", tokenHash{}
	for _, other := range t.tiedTo(g) {
		other.stale = other != g
	}
	return true
}

// isNewest reports whether the token is the one of g that works.
func (t *grantTable) isNewest(g *grant, h tokenHash) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return !g.stale && g.current != "" && g.currentHash == h
}

// hasNewestAccessToken reports whether the access token is the newest one of a grant
// that was not revoked.
func (t *grantTable) hasNewestAccessToken(grantID, accessTokenID string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	g := t.byID[grantID]
	return g != nil && !g.revoked && g.accessTokenID == accessTokenID
}

// tokenStatus says whether a presented refresh token works, and why it does not.
type tokenStatus int

const (
	tokenUnknown tokenStatus = iota
	tokenActive
	tokenUsed    // a newer one has replaced it, and the grant lives
	tokenRevoked // its grant was revoked
	tokenStale   // a grant that its grant is tied to was used
)

// look returns the grant and the status of a presented token. It counts a replay
// if the token was used before.
func (t *grantTable) look(h tokenHash) (*grant, tokenStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.byToken[h].grant
	switch {
	case g == nil:
		return nil, tokenUnknown
	case g.current != "" && g.currentHash == h && g.stale:
		return g, tokenStale
	case g.current != "" && g.currentHash == h:
		return g, tokenActive
	}
	if g.revoked && g.currentHash == h {
		return g, tokenRevoked // the newest token of a revoked grant was never used
	}
	t.replays++
	if g.revoked {
		return g, tokenRevoked
	}
	return g, tokenUsed
}

// countPresentation counts a request that brought this token.
func (t *grantTable) countPresentation(h tokenHash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state := t.byToken[h]
	state.presented++
	t.byToken[h] = state
}

// revoke ends a grant for good, and with TieStaleEndsBoth those that are tied to it.
// It keeps the hash of the newest token, so that a
// later presentation of that token does not count as a replay.
func (t *grantTable) revoke(g *grant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ties != TieStaleEndsBoth {
		g.end()
		return
	}
	for _, tied := range t.tiedTo(g) {
		tied.end()
	}
}

// newest returns the refresh token of g that works.
func (t *grantTable) newest(g *grant) (string, error) {
	g.exchange.Lock() // between spend and issue there is none
	defer g.exchange.Unlock()
	t.mu.RLock()
	defer t.mu.RUnlock()
	if g.revoked {
		return "", ErrRevoked
	}
	return g.current, nil
}

// ofUser returns the user's grants, oldest first.
func (t *grantTable) ofUser(username string) []*grant {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clone(t.byUser[username])
}

// counts fills in the table's part of Stats.
func (t *grantTable) counts(s *Stats) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s.Replays = t.replays
	for g := range maps.Values(t.byID) {
		if g.revoked {
			s.RevokedGrants++
		} else {
			s.Grants++
		}
	}
	for h, state := range t.byToken {
		if state.presented > 0 {
			s.Presented[hex.EncodeToString(h[:])] = int(state.presented)
		}
	}
}

func (t *grantTable) timesPresented(h tokenHash) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return int(t.byToken[h].presented)
}
