package account

import (
	"fmt"
	"slices"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// FollowUp is what the exchange does after a transition.
type FollowUp int

// What follows.
const (
	Finish        FollowUp = iota // save the outcome
	RetryPromptly                 // present the same token once more, in 1 to 2 s
	UseNextGrant                  // exchange the grant that is in use now, at once
	LogIn                         // log in with the credentials that are kept
)

// Outcome is an outcome of an exchange, with what a transition has to know beside
// it.
type Outcome struct {
	oauth.Result
	ClientRevision string
	Jitter         float64   // in [0, 1)
	RetryAt        time.Time // when exchanges that are held back may be tried again
}

// rejectsGrant reports whether the server has rejected the refresh token for good.
func (o Outcome) rejectsGrant() bool {
	return o.Outcome == oauth.Rejected && o.Code == oauth.CodeInvalidGrant
}

// refusalKind is the class of a complete refusal other than invalid_grant. It is
// no proof that the refresh token is bad.
func (o Outcome) refusalKind() FailureKind {
	switch {
	case o.Busy():
		return FailedThrottled
	case o.Code == oauth.CodeInvalidClient, o.Code == oauth.CodeUnauthorizedClient,
		o.Code == oauth.CodeUnsupportedGrantType, o.Code == oauth.CodeInvalidScope:
		return FailedClient
	default:
		return FailedRequest
	}
}

// WithIntent returns the account with the intent to present the refresh token of
// the grant at i. An intent that is still there was left by an exchange whose
// outcome is not known.
func (a Account) WithIntent(i int, intent Intent) Account {
	g := a.Grants[i]
	if left := g.Intent; left != nil && g.DoubtSince.IsZero() {
		g.DoubtSince = left.Started
	}
	g.Intent = &intent
	return a.withGrantAt(i, g)
}

// WithoutIntent returns the account as it is if its intent for the grant at i could
// not be written: nothing was sent, and the next attempt waits.
func (a Account) WithoutIntent(i int, o Outcome) Account {
	return a.withGrantAt(i, a.Grants[i].becomeFailing(FailedStorage, o)).withLastError(i, o)
}

// NotBegun returns the account after an exchange that could not even begin, because of
// its client (FailedSetup) or because exchanges are held back (FailedHeldBack). Nothing
// was sent. before is the account as it was shown last, whose failure goes on.
func (a Account) NotBegun(before *Account, kind FailureKind, o Outcome) Account {
	i := a.InUse()
	g := a.Grants[i]
	if before != nil && g.Failure == nil && len(before.Grants) > i {
		g.Failure = before.Grants[i].Failure
	}
	if g.Failure != nil && g.Failure.Kind != kind && o.AnsweredAt.Before(g.Failure.waitsUntil(o.AnsweredAt)) {
		return a
	}
	g = g.becomeFailing(kind, o)
	if !o.RetryAt.IsZero() {
		f := *g.Failure
		f.NextAttempt = o.RetryAt
		g.Failure = &f
	}
	return a.withGrantAt(i, g).withLastError(i, o)
}

// Settle takes over the outcome of the exchange of the grant at i that WithIntent
// began, and says what follows.
func (a Account) Settle(i int, o Outcome) (Account, FollowUp) {
	waiting, before := i != a.InUse(), a.Grants[i]
	after := before.settle(o)
	a = a.withGrantAt(i, after)
	switch {
	case o.rejectsGrant():
		return a.afterDeath(i, waiting, o)
	case o.Outcome == oauth.Succeeded && (!waiting || a.InUse() == i): // perhaps since this success
		return a.becomeReady(i, before, o), Finish
	case o.Outcome == oauth.Succeeded:
		return a, Finish
	}
	if !waiting {
		a = a.withLastError(i, o)
	}
	switch {
	case before.retriesPromptly(o):
		return a, RetryPromptly
	case !waiting && a.InUse() != i: // refused again, and another grant is ready
		return a, UseNextGrant
	}
	return a, Finish
}

// retriesPromptly reports whether the refresh token is presented once more at once,
// because its outcome is in doubt for the first time. An answer that could not be read
// comes from a path on which nothing more is sent for now.
func (g Grant) retriesPromptly(o Outcome) bool {
	return (o.Outcome == oauth.InDoubt || o.Outcome == oauth.Refused) && g.DoubtSince.IsZero() && o.RetryAfter == 0
}

// settle takes over the outcome of an exchange of the grant.
func (g Grant) settle(o Outcome) Grant {
	g.Intent = nil
	switch {
	case o.Outcome == oauth.Succeeded:
		return g.becomeReady(o)
	case o.Outcome == oauth.NotSent:
		return g.becomeFailing(FailedUnreachable, o)
	case o.rejectsGrant():
		return g.becomeDead(o)
	case o.Outcome == oauth.Rejected:
		return g.becomeFailing(o.refusalKind(), o)
	case o.Outcome == oauth.Refused:
		return g.becomeInDoubt(FailedRefused, o)
	case o.Outcome == oauth.Unreadable:
		g.Unreadable = true
		return g.becomeInDoubt(FailedUnreadable, o)
	default:
		return g.becomeInDoubt(FailedInDoubt, o)
	}
}

// becomeReady takes over the next refresh token, whatever else the answer lacks.
func (g Grant) becomeReady(o Outcome) Grant {
	if o.Tokens.RefreshToken.IsSet() {
		g.RefreshToken = o.Tokens.RefreshToken
	}
	g.DoubtSince, g.Unreadable, g.Death, g.LastExchange = time.Time{}, false, nil, o.AnsweredAt
	if !o.Tokens.AccessToken.IsSet() {
		o.Reason = "the server's answer held a new refresh token but no usable access token"
		if g.Failure != nil { // it was not refused this time
			f := *g.Failure
			f.Refusals, g.Failure = 0, &f
		}
		return g.becomeFailing(FailedAnswer, o)
	}
	g.Failure = nil
	return g
}

func (g Grant) becomeInDoubt(kind FailureKind, o Outcome) Grant {
	prompt := g.retriesPromptly(o)
	if g.DoubtSince.IsZero() {
		g.DoubtSince = o.SentAt
	}
	g.Failure = g.Failure.after(kind, o, prompt)
	return g
}

func (g Grant) becomeDead(o Outcome) Grant {
	g.Death = &Death{Time: o.AnsweredAt, Code: o.Code, LostSince: g.DoubtSince}
	g.Failure = nil
	return g
}

// becomeFailing records why the next exchange waits, and until when.
func (g Grant) becomeFailing(kind FailureKind, o Outcome) Grant {
	g.Failure = g.Failure.after(kind, o, false)
	return g
}

// becomeReady takes over the access token of an exchange for readers with the
// grant at i, which is in use from now on. before is the grant before the exchange.
func (a Account) becomeReady(i int, before Grant, o Outcome) Account {
	switch {
	case i > 0 && before.Replaced:
		a.LastError = &LastError{Time: o.AnsweredAt, Message: "the refresh token that was written was useless: " + a.endOf(0) +
			"; the account goes on with the grant that it had before"}
	case i > 0:
		a.SpareUsed = true
		a.LastError = &LastError{Time: o.AnsweredAt, Message: a.endOf(0) + "; the spare grant has taken over"}
	case !before.DoubtSince.IsZero():
		a.LastError = &LastError{Time: o.AnsweredAt, Message: fmt.Sprintf(
			"recovered: the exchange sent at %s got no answer; the server has accepted the same refresh token since", Stamp(before.DoubtSince))}
	}
	failure := a.Grants[i].Failure
	a = a.promote(i)
	a.LastRefresh = o.AnsweredAt
	a.RefreshCount++
	if failure != nil { // there is no access token
		return a.withLastError(0, Outcome{Result: oauth.Result{Reason: failure.Reason, AnsweredAt: o.AnsweredAt}})
	}
	a.Access = o.accessToken()
	return a
}

// endOf says why the grant at i is not used any more.
func (a *Account) endOf(i int) string {
	switch g := &a.Grants[i]; {
	case g.Death != nil:
		return g.Death.describe()
	case g.Failure != nil:
		return g.Failure.Reason
	default:
		return "it was not used"
	}
}

// accessToken is the access token in the server's answer.
func (o Outcome) accessToken() *AccessToken {
	return &AccessToken{
		Token:     o.Tokens.AccessToken,
		TokenType: o.Tokens.TokenType,
		Scope:     o.Tokens.Scope,
		Claims:    o.Tokens.Claims,
		HasClaims: o.Tokens.HasClaims,
		Issued:    o.SentAt,
		Obtained:  o.AnsweredAt,
		Expires:   o.SentAt.Add(o.Tokens.ExpiresIn),
	}
}

// afterDeath says what the death of the grant at i means for the account: nothing
// for readers if it was waiting; otherwise the next grant takes over, or a kept
// password logs in, or a person is needed.
func (a Account) afterDeath(i int, waiting bool, o Outcome) (Account, FollowUp) {
	died := a.Grants[i]
	if waiting {
		a.Grants = slices.Delete(slices.Clone(a.Grants), i, i+1)
		a = a.retire(died)
		a.LastError = &LastError{Time: o.AnsweredAt, Message: "the spare grant is gone: " + died.Death.describe() + "; the account goes on with its grant"}
		return a, Finish
	}
	a.LastError = &LastError{Time: o.AnsweredAt, Message: a.describeDeath()}
	switch {
	case a.Current().Death != nil: // no grant is left
	case died.Unreadable: // the next one must not follow through the same hole
		return a, Finish
	default:
		return a, UseNextGrant
	}
	if at, ok := a.nextLogin(o.AnsweredAt); ok && !o.AnsweredAt.Before(at) {
		return a, LogIn
	}
	return a, Finish
}

// describeDeath says how the dead grants ended.
func (a *Account) describeDeath() string {
	var text string
	for i := range a.Grants {
		switch d := a.Grants[i].Death; {
		case d == nil:
		case text == "":
			text = d.describe()
		default:
			text += "; the next grant, too: " + d.describe()
		}
	}
	return text
}

// describe says how the grant ended.
func (d *Death) describe() string {
	if d.LostSince.IsZero() {
		return fmt.Sprintf("the server rejected the refresh token (%s) at %s", d.Code, Stamp(d.Time))
	}
	return fmt.Sprintf("lost in transit: the exchange sent at %s got no answer, and the server rejected the refresh token (%s) at %s, "+
		"so it was spent and its successor never arrived", Stamp(d.LostSince), d.Code, Stamp(d.Time))
}

// withLastError records the failure of an exchange of the grant at i.
func (a Account) withLastError(i int, o Outcome) Account {
	message := o.Reason
	if since := a.Grants[i].DoubtSince; !since.IsZero() {
		message = fmt.Sprintf("in doubt since %s: %s", Stamp(since), o.Reason)
	}
	a.LastError = &LastError{Time: o.AnsweredAt, Message: message}
	return a
}
