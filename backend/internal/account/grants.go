package account

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// maxRetired is the number of grants that are gone and still remembered.
const maxRetired = 16

// maxReplaced is the number of grants that may wait until a token that was written over
// them has worked. People write more than one token while none can be tried.
const maxReplaced = 4

// InUse is the index of the grant that the next exchange for readers uses: the first
// living grant. If the server has refused that one twice, it is the living grant whose wait
// ends first, because a refusal may mean a dead grant under another name. If no grant
// lives, it is the first. The list must not be empty.
func (a *Account) InUse() int {
	first := a.firstLiving()
	if first < 0 {
		return 0
	}
	used := first
	if a.Grants[first].refusedRepeatedly() {
		for i := first + 1; i < len(a.Grants); i++ {
			if g := &a.Grants[i]; g.Death == nil && g.nextAttempt().Before(a.Grants[used].nextAttempt()) {
				used = i
			}
		}
	}
	return used
}

// firstLiving is the index of the first grant that lives, or -1.
func (a *Account) firstLiving() int {
	return slices.IndexFunc(a.Grants, func(g Grant) bool { return g.Death == nil })
}

// Current returns the grant in use. It must not be changed. An account that has
// no grant yet, before its first login, gives an empty one.
func (a *Account) Current() *Grant {
	if len(a.Grants) == 0 {
		return &Grant{}
	}
	return &a.Grants[a.InUse()]
}

// Spare returns a grant that waits and can take over, or nil. A grant that was
// replaced by a written refresh token is no spare.
func (a *Account) Spare() *Grant {
	used := -1
	if len(a.Grants) > 0 {
		used = a.InUse()
	}
	for i := range a.Grants {
		if g := &a.Grants[i]; i != used && g.ready() && !g.Replaced {
			return g
		}
	}
	// A spare that is about to take over is still one until it has worked.
	if used > 0 && a.Grants[used].ready() && !a.Grants[used].Replaced {
		return &a.Grants[used]
	}
	return nil
}

// Careful reports whether the grant in use has followed one that died after an answer
// came that could not be read.
func (a *Account) Careful() bool {
	return a.Current().Death == nil && slices.ContainsFunc(a.Grants, func(g Grant) bool { return g.Death != nil && g.Unreadable })
}

// ready reports whether the grant can take over as far as is known.
func (g *Grant) ready() bool { return g.Death == nil && !g.refusedRepeatedly() }

// refusedRepeatedly reports whether the server has refused the grant, or the
// client with it, at least twice since the last success.
func (g *Grant) refusedRepeatedly() bool { return g.Failure != nil && g.Failure.Refusals >= 2 }

// nextAttempt is when the grant may be exchanged after its last failure; zero if it has
// not failed since the last success.
func (g *Grant) nextAttempt() time.Time {
	if g.Failure == nil {
		return time.Time{}
	}
	return g.Failure.NextAttempt
}

// inDoubt reports whether the refresh token was presented and its outcome is not
// known.
func (g *Grant) inDoubt() bool { return g.Intent != nil || !g.DoubtSince.IsZero() }

// began reports whether a refresh token began the grant, or is its newest.
func (g *Grant) began(t oauth.Secret) bool {
	return g.FirstTokenHash == hash(t) || g.RefreshToken.Equal(t)
}

// hasSeen reports whether a refresh token was written to this account before.
func (a *Account) hasSeen(t oauth.Secret) bool {
	return slices.ContainsFunc(a.Grants, func(g Grant) bool { return g.began(t) }) || slices.Contains(a.RetiredHashes, hash(t))
}

// TokenID tells refresh tokens apart without telling them: the first 8 bytes of the
// SHA-256.
type TokenID [8]byte

// IDOf returns the id of a refresh token.
func IDOf(t oauth.Secret) TokenID {
	sum := sha256.Sum256([]byte(t.Reveal()))
	return TokenID(sum[:8])
}

// TokenIDs returns the ids of the refresh tokens that another account must not present:
// the newest of each grant, and the one that began it.
func (a *Account) TokenIDs() []TokenID {
	ids := make([]TokenID, 0, 2*len(a.Grants))
	for i := range a.Grants {
		g := &a.Grants[i]
		ids = append(ids, IDOf(g.RefreshToken))
		var first TokenID
		if len(g.FirstTokenHash) < 2*len(first) {
			continue
		}
		if _, err := hex.Decode(first[:], []byte(g.FirstTokenHash[:2*len(first)])); err == nil && !slices.Contains(ids, first) {
			ids = append(ids, first)
		}
	}
	return ids
}

func newGrant(refreshToken oauth.Secret, now time.Time) Grant {
	return Grant{RefreshToken: refreshToken, FirstTokenHash: hash(refreshToken), AuthorizedAt: now}
}

// withGrantAt returns the account with another value of one grant.
func (a Account) withGrantAt(i int, g Grant) Account {
	a.Grants = slices.Clone(a.Grants)
	a.Grants[i] = g
	return a
}

// promote moves the grant at i to the front, because it has worked. Dead grants are
// retired, and so are those that it replaced, which are behind it. Others go on as spares.
func (a Account) promote(i int) Account {
	front := a.Grants[i]
	front.Replaced = false
	grants := []Grant{front}
	for j, g := range a.Grants {
		switch {
		case j == i:
		case g.Death == nil && (j < i || !g.Replaced):
			g.Replaced = false
			grants = append(grants, g)
		default:
			a = a.retire(g)
		}
	}
	a.Grants = grants
	return a
}

// without retires the grants that match.
func (a Account) without(match func(Grant) bool) Account {
	var grants []Grant
	for _, g := range a.Grants {
		if match(g) {
			a = a.retire(g)
		} else {
			grants = append(grants, g)
		}
	}
	a.Grants = grants
	return a
}

// retire remembers the first token of a grant that goes away, so that it is
// recognized if it is written again.
func (a Account) retire(g Grant) Account {
	if g.FirstTokenHash == "" {
		return a
	}
	hashes := append(slices.Clone(a.RetiredHashes), g.FirstTokenHash)
	a.RetiredHashes = hashes[max(0, len(hashes)-maxRetired):]
	return a
}

// knew reports whether the account has, or had, a grant.
func (a *Account) knew(g Grant) bool {
	return g.FirstTokenHash == "" || slices.Contains(a.RetiredHashes, g.FirstTokenHash) ||
		slices.ContainsFunc(a.Grants, func(own Grant) bool { return own.FirstTokenHash == g.FirstTokenHash })
}

// SupersededBy reports whether stored was written by another node, and must not be
// overwritten by this unsaved copy: it has a grant that the copy never knew, or the
// other node has exchanged or given up one of the copy's grants. Settings that another
// node has written do not supersede a refresh token; see [Account.Over]. It compares
// no times, because another node's clock may differ. process is this process's identity.
func (a *Account) SupersededBy(stored *Account, process string) bool {
	if slices.ContainsFunc(stored.Grants, func(g Grant) bool { return !a.knew(g) }) {
		return true
	}
	if stored.Generation < a.Generation {
		return false
	}
	return slices.ContainsFunc(a.Grants, func(own Grant) bool {
		if slices.Contains(stored.RetiredHashes, own.FirstTokenHash) {
			return true
		}
		i := slices.IndexFunc(stored.Grants, func(g Grant) bool { return g.FirstTokenHash == own.FirstTokenHash })
		if i < 0 || stored.Grants[i].RefreshToken.Equal(own.RefreshToken) {
			return false
		}
		in := stored.Grants[i].Intent // this copy is the outcome of its own
		return in == nil || in.Process != process
	})
}

// Over returns this unsaved copy on top of stored, which does not supersede it: with the
// settings that another node may have written since.
func (a *Account) Over(stored *Account) *Account {
	if stored.Generation < a.Generation {
		return a
	}
	merged := *a
	merged.Settings, merged.Credentials, merged.Generation = stored.Settings, stored.Credentials, stored.Generation+1
	return &merged
}

// NewerThan reports whether stored, read from the storage, is an earlier state
// than this one, which the same process saved before: the storage went back. A state with a grant that this one never knew is a newer
// authorization, whatever its generation.
func (a *Account) NewerThan(stored *Account) bool {
	return stored.Generation < a.Generation && !slices.ContainsFunc(stored.Grants, func(g Grant) bool { return !a.knew(g) })
}
