package sandbox

// tie adds a new grant to those of its browser session. The caller holds t.mu, and
// nobody else knows the grant yet.
func (t *grantTable) tie(g *grant) {
	if t.ties == TieNone || g.browserID == "" {
		return
	}
	tied := t.byBrowser[g.browserID]
	if len(tied) > 0 {
		g.exchange = tied[0].exchange // the use of one changes the others
	}
	t.byBrowser[g.browserID] = append(tied, g)
}

// tiedTo returns the grants that are tied to g, including g itself. The caller holds
// t.mu.
func (t *grantTable) tiedTo(g *grant) []*grant {
	if t.ties == TieNone || g.browserID == "" {
		return []*grant{g}
	}
	return t.byBrowser[g.browserID]
}

// endStale does what the presentation of a stale token does to the grants of its
// session. The token itself is refused in any case.
func (t *grantTable) endStale(g *grant) {
	if t.ties == TieStaleEndsBoth {
		t.revoke(g)
	}
}

// end revokes the grant. The caller holds grantTable.mu.
func (g *grant) end() { g.revoked, g.current = true, "" }
