package account

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func secret(s string) oauth.Secret { return oauth.NewSecret(s) }

// grantOf returns a living grant that the refresh token began an hour ago.
func grantOf(token string, changes ...func(*Grant)) Grant {
	g := newGrant(secret(token), noon.Add(-time.Hour))
	for _, change := range changes {
		change(&g)
	}
	return g
}

func dead(g *Grant) {
	g.Death = &Death{Time: noon.Add(-time.Minute), Code: oauth.CodeInvalidGrant}
}

func replaced(g *Grant) { g.Replaced = true }

// failed gives a grant a failure whose wait ends in the given time after noon.
func failed(kind FailureKind, wait time.Duration) func(*Grant) {
	return func(g *Grant) {
		g.Failure = &Failure{Kind: kind, Reason: "a reason", Count: 1, NextAttempt: noon.Add(wait), ClientRevision: "r1"}
	}
}

// refused gives a grant so many refusals. Its wait is over at noon.
func refused(times int) func(*Grant) {
	return func(g *Grant) {
		g.Failure = &Failure{Kind: FailedRequest, Reason: "the server refused the request", Count: times, Refusals: times, NextAttempt: noon.Add(time.Duration(times) * time.Minute), ClientRevision: "r1"}
	}
}

// waited ends the wait of a failure.
func waited(g *Grant) { g.Failure.NextAttempt = noon }

// intentOf gives a grant the intent of a process, which claims so long a time.
func intentOf(process string, lasts time.Duration) func(*Grant) {
	return func(g *Grant) {
		g.Intent = &Intent{ID: "i", Process: process, Started: noon, Deadline: noon.Add(lasts)}
	}
}

func accountOf(grants ...Grant) Account {
	return Account{Client: DefaultClient, Grants: grants}
}

// living returns a ready account with a token of 600 s, so much of which is left
// at noon.
func living(left time.Duration, changes ...func(*Account)) Account {
	a := accountOf(grantOf("rt"))
	issued := noon.Add(left - 600*time.Second)
	a.Access = &AccessToken{Token: secret("at"), Issued: issued, Obtained: issued, Expires: issued.Add(600 * time.Second)}
	a.LastRefresh = issued
	for _, change := range changes {
		change(&a)
	}
	return a
}

// first applies changes to the first grant of an account.
func first(changes ...func(*Grant)) func(*Account) {
	return func(a *Account) {
		for _, change := range changes {
			change(&a.Grants[0])
		}
	}
}

// tokensOf returns the refresh tokens of an account in the order of its grants.
func tokensOf(a *Account) string {
	var tokens []string
	for _, g := range a.Grants {
		tokens = append(tokens, g.RefreshToken.Reveal())
	}
	return strings.Join(tokens, " ")
}

func lastError(a *Account) string {
	if a.LastError == nil {
		return ""
	}
	return a.LastError.Message
}

// The outcomes of an exchange that was sent at noon.

func succeeded(next string) oauth.Result {
	return oauth.Result{
		Outcome: oauth.Succeeded, SentAt: noon, AnsweredAt: noon.Add(time.Second),
		Tokens: oauth.Tokens{RefreshToken: secret(next), AccessToken: secret("at-" + next), ExpiresIn: 600 * time.Second},
	}
}

// succeededWithoutAccess is an answer with a refresh token but no access token.
func succeededWithoutAccess(next string) oauth.Result {
	r := succeeded(next)
	r.Tokens.AccessToken = oauth.Secret{}
	return r
}

func rejected(code oauth.ErrorCode) oauth.Result {
	return oauth.Result{
		Outcome: oauth.Rejected, Code: code, Status: 400, Reason: "the server answered " + string(code),
		SentAt: noon, AnsweredAt: noon.Add(time.Second),
	}
}

func notSent() oauth.Result {
	return oauth.Result{Outcome: oauth.NotSent, Reason: "no connection", SentAt: noon, AnsweredAt: noon.Add(time.Second)}
}

func noAnswer() oauth.Result {
	return oauth.Result{Outcome: oauth.InDoubt, Reason: "no answer", SentAt: noon, AnsweredAt: noon.Add(time.Second)}
}

// exchange runs an exchange of the grant at i.
func (a Account) exchange(i int, r oauth.Result) (Account, FollowUp) {
	begun := a.WithIntent(i, Intent{ID: "new", Process: "me", Started: noon, Deadline: noon.Add(20 * time.Second)})
	return begun.Settle(i, Outcome{Result: r, ClientRevision: "r1"})
}

// refresh runs exchanges of the grants in use, one for each result.
func (a Account) refresh(results ...oauth.Result) (Account, FollowUp) {
	var next FollowUp
	for _, r := range results {
		a, next = a.exchange(a.InUse(), r)
	}
	return a, next
}

func apply(t *testing.T, old *Account, c Change) (*Account, []string) {
	t.Helper()
	a, warnings, err := c.Apply("acme", old, noon)
	if err != nil {
		t.Fatal(err)
	}
	return a, warnings
}

// What rapid draws.

func drawDuration(t *rapid.T, label string, from, to time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(int64(from), int64(to)).Draw(t, label))
}

func drawTime(t *rapid.T, label string) time.Time {
	return noon.Add(drawDuration(t, label, -2*time.Hour, 2*time.Hour)).Truncate(time.Millisecond)
}

func drawFailure(t *rapid.T) *Failure {
	return &Failure{
		Kind: rapid.SampledFrom([]FailureKind{
			FailedUnreachable, FailedInDoubt, FailedThrottled, FailedClient, FailedRequest, FailedAnswer, FailedStorage,
		}).Draw(t, "kind"),
		Code:   rapid.SampledFrom([]oauth.ErrorCode{"", oauth.CodeInvalidRequest}).Draw(t, "code"),
		Reason: "a reason", Count: rapid.IntRange(1, 1000).Draw(t, "count"), Refusals: rapid.IntRange(0, 3).Draw(t, "refusals"),
		NextAttempt: drawTime(t, "next attempt"), ClientRevision: "r1",
	}
}

// drawGrant draws a grant whose first refresh token is token.
func drawGrant(t *rapid.T, token string) Grant {
	g := newGrant(secret(token), drawTime(t, "authorized"))
	if rapid.Bool().Draw(t, "exchanged") {
		g.RefreshToken, g.LastExchange = secret(token+", exchanged"), drawTime(t, "last exchange")
	}
	if rapid.Bool().Draw(t, "has an intent") {
		started := drawTime(t, "started")
		g.Intent = &Intent{
			ID: "i", Process: rapid.SampledFrom([]string{"me", "other"}).Draw(t, "process of the intent"),
			Started: started, Deadline: started.Add(drawDuration(t, "claimed", -time.Minute, 10*time.Minute)).Truncate(time.Millisecond),
		}
	}
	if rapid.Bool().Draw(t, "in doubt") {
		g.DoubtSince = drawTime(t, "doubt")
	}
	switch rapid.IntRange(0, 2).Draw(t, "dead or failing") {
	case 1:
		g.Death = &Death{Time: drawTime(t, "death"), Code: oauth.CodeInvalidGrant, LostSince: g.DoubtSince}
	case 2:
		g.Failure = drawFailure(t)
	}
	return g
}

func drawAccount(t *rapid.T) Account {
	a := Account{
		Client: DefaultClient,
		Settings: Settings{
			MinTTL:        drawDuration(t, "min_ttl", 0, 20*time.Minute).Truncate(time.Second),
			RefreshOnRead: rapid.Bool().Draw(t, "refresh on read"), AutoRefresh: rapid.Bool().Draw(t, "auto refresh"),
		},
		SpareUsed: rapid.Bool().Draw(t, "spare used"), Unsaved: rapid.Bool().Draw(t, "unsaved"),
		Generation: rapid.Int64Range(1, 100).Draw(t, "generation"), RefreshCount: rapid.Int64Range(0, 5).Draw(t, "refresh count"),
	}
	names := []string{"one", "two", "three", "four"}
	for i, name := range names[:rapid.IntRange(1, len(names)).Draw(t, "grants")] {
		g := drawGrant(t, name)
		g.Replaced = i > 0 && rapid.Bool().Draw(t, "replaced")
		a.Grants = append(a.Grants, g)
	}
	// With room behind it, an append that forgets to clone changes what is shared.
	a.Grants = slices.Grow(a.Grants, 4)
	for i := range rapid.IntRange(0, maxRetired).Draw(t, "retired") {
		a.RetiredHashes = append(a.RetiredHashes, hash(secret("retired "+strings.Repeat("i", i))))
	}
	if rapid.Bool().Draw(t, "has a token") {
		issued := drawTime(t, "issued")
		a.Access = &AccessToken{
			Token: secret("at"), TokenType: rapid.SampledFrom([]string{"", "Bearer", "DPoP"}).Draw(t, "type"), Scope: rapid.SampledFrom([]string{"", "all"}).Draw(t, "scope"),
			Issued: issued, Obtained: issued, Expires: issued.Add(drawDuration(t, "lifetime", time.Second, 2*time.Hour)),
		}
		if a.Access.HasClaims = rapid.Bool().Draw(t, "has claims"); a.Access.HasClaims {
			a.Access.Claims = rapid.SampledFrom([]string{"", "c"}).Draw(t, "claims")
		}
		a.LastRefresh = issued
	}
	if rapid.Bool().Draw(t, "has credentials") {
		a.Credentials = &Credentials{
			Credentials: oauth.Credentials{Username: "alice", Password: secret("password")},
			LastUsed:    drawTime(t, "last used"), Refused: rapid.Bool().Draw(t, "credentials refused"),
		}
	}
	if rapid.Bool().Draw(t, "has a last error") {
		a.LastError = &LastError{Time: drawTime(t, "last error"), Message: "a message"}
	}
	return a
}

func drawResult(t *rapid.T) oauth.Result {
	r := oauth.Result{
		Outcome:    rapid.SampledFrom([]oauth.Outcome{oauth.InDoubt, oauth.NotSent, oauth.Rejected, oauth.Succeeded}).Draw(t, "outcome"),
		Reason:     "a reason",
		RetryAfter: drawDuration(t, "retry after", 0, 48*time.Hour),
		SentAt:     noon, AnsweredAt: noon.Add(time.Second),
	}
	switch r.Outcome {
	case oauth.Rejected:
		r.Status = 400
		r.Code = rapid.SampledFrom([]oauth.ErrorCode{
			oauth.CodeInvalidGrant, oauth.CodeInvalidClient, oauth.CodeInvalidRequest, oauth.CodeOther, oauth.CodeTemporarilyUnavailable,
		}).Draw(t, "code")
	case oauth.Succeeded:
		r.Reason = ""
		r.Tokens.ExpiresIn = 600 * time.Second
		if rapid.Bool().Draw(t, "with a refresh token") {
			r.Tokens.RefreshToken = secret("next")
		}
		if rapid.Bool().Draw(t, "with an access token") || !r.Tokens.RefreshToken.IsSet() {
			r.Tokens.AccessToken = secret("at")
		}
	default:
	}
	return r
}

func drawConditions(t *rapid.T) Conditions {
	age := drawDuration(t, "age of the intent", 0, 10*time.Minute)
	return Conditions{
		Now: noon, Process: rapid.SampledFrom([]string{"me", "other"}).Draw(t, "process"),
		MinTTL:         drawDuration(t, "mount's min_ttl", 0, 20*time.Minute),
		Spread:         rapid.Float64Range(0, 0.999).Draw(t, "spread"),
		ClientRevision: rapid.SampledFrom([]string{"", "r1", "r2"}).Draw(t, "client revision"),
		IntentAge:      func(string) time.Duration { return age },
	}
}
