package account

import (
	"slices"
	"time"
)

// rescue keeps new tokens in memory while the storage refuses them, serves
// readers from the copy and tries to save it until that holds. The account's
// lock is held all the time, so that no other exchange or write comes between.
// served is called as soon as the copy can be read. It gives up when Close has
// waited long enough, or when another node's word is newer.
func (m *Manager) rescue(s *slot, name string, a *Account, err error, served func()) {
	unsaved := *a
	unsaved.Unsaved = true
	s.ahead = a
	s.publish(&unsaved)
	served()
	for count := 1; ; count++ {
		m.Logger.Error("a new refresh token is not saved yet; it is kept in memory and saving is tried again", "account", name, "attempt", count, "error", err)
		select {
		case <-time.After(backOff(count, m.Jitter())):
		case <-m.ctx.Done():
			m.Logger.Error("the plugin ends before a new refresh token was saved; it is lost, unless the storage still takes an earlier attempt",
				"account", name, "error", err)
			return
		}
		var saved *Account
		if saved, err = m.saveCopy(name, a); err != nil {
			continue
		}
		s.ahead = nil
		switch saved {
		case a:
			s.publish(a)
			m.Logger.Info("the new refresh token is saved", "account", name, "attempts", count+1)
			return
		case nil:
			m.table.forget(s)
			m.census.forget(name)
		default:
			s.publish(saved)
		}
		m.Logger.Error("a refresh token that was not saved is given up: another node has written a newer authorization of the account, or deleted it", "account", name)
		return
	}
}

// saveCopy tries once more to save a rescue copy, and returns what the storage holds
// afterwards. A node that has lost the lead may be able to write again while it closes,
// after another one has led: what a person did there in the meantime must not be undone.
func (m *Manager) saveCopy(name string, a *Account) (saved *Account, err error) {
	stored, err := m.store.get(m.ctx, name)
	if err != nil {
		return nil, err
	}
	if a.overtakenBy(stored) {
		return stored, nil
	}
	return a, m.store.put(m.ctx, name, a, storageTimeout)
}

// overtakenBy tells of a rescue copy whether what the storage holds, nil for nothing,
// was written by somebody else, and has to stay: a grant that the copy never knew, the
// copy's own spare as the grant, or a deletion of what was exchanged. It compares no
// times: another node's clock may differ.
func (a *Account) overtakenBy(stored *Account) bool {
	if stored == nil {
		return !a.Grant.Used.IsZero() || a.Spare != nil && !a.Spare.Used.IsZero() // its intent was there
	}
	spareTookOver := a.Spare != nil && a.Spare.FirstTokenHash != "" && a.Spare.FirstTokenHash == stored.Grant.FirstTokenHash
	return spareTookOver || !a.knew(&stored.Grant) || !a.knew(stored.Spare)
}

// knew tells whether the account has, or had, a grant.
func (a *Account) knew(g *Grant) bool {
	return g == nil || g.FirstTokenHash == "" || g.FirstTokenHash == a.Grant.FirstTokenHash ||
		a.Spare != nil && g.FirstTokenHash == a.Spare.FirstTokenHash || slices.Contains(a.Retired, g.FirstTokenHash)
}
