package account

import (
	"fmt"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

const (
	firstBackOff = time.Second
	maxBackOff   = 60 * time.Second
	// longestBackOff is after how many failures the wait grows no more.
	longestBackOff = 6
	// maxRetryAfter bounds what a server's Retry-After can ask for.
	maxRetryAfter = 10 * time.Minute
	// humanBackOff is the wait after a refusal that repeats until a person
	// corrects something. A correction ends it at once; the rare attempt
	// covers a server that was wrong for a while.
	humanBackOff = time.Hour
)

// next is what a flight does after a transition.
type next int

const (
	land          next = iota // nothing: the flight is over
	retryPromptly             // present the same token once more, in 1 to 2 s
	useSpare                  // exchange at once: a spare has become the grant
	logIn                     // log in with the credentials that are kept
)

// outcome is what a transition has to know beside the account.
type outcome struct {
	oauth.Result
	clientRevision string
	jitter         float64 // in [0, 1)
}

// busy tells whether the server has refused for a reason that passes.
func (o outcome) busy() bool {
	return o.Status == 429 || o.Code == oauth.CodeSlowDown || o.Code == oauth.CodeTemporarilyUnavailable || o.Code == oauth.CodeServerError
}

// begin writes the intent to present the refresh token. An intent that is
// still there was left by an exchange whose outcome is not known.
func (a Account) begin(intent Intent) Account {
	if left := a.Grant.Intent; left != nil && a.Grant.DoubtSince.IsZero() {
		a.Grant.DoubtSince = left.Started
	}
	a.Grant.Intent = &intent
	return a
}

// settle takes over the outcome of the exchange that begin announced.
func (a Account) settle(o outcome) (Account, next) {
	a.Grant.Intent = nil
	switch o.Outcome {
	case oauth.Succeeded:
		return a.rotated(o), land
	case oauth.NotSent:
		return a.failed(FailedUnreachable, o), land
	case oauth.Rejected:
		return a.rejected(o)
	default:
		first := a.Grant.DoubtSince.IsZero()
		if first {
			a.Grant.DoubtSince = o.SentAt
		}
		a = a.failed(FailedInDoubt, o)
		if first && o.RetryAfter == 0 {
			return a, retryPromptly
		}
		return a, land
	}
}

// rotated takes over the tokens: the refresh token whatever else the answer
// lacked.
func (a Account) rotated(o outcome) Account {
	if o.Tokens.RefreshToken.IsSet() {
		a.Grant.RefreshToken = o.Tokens.RefreshToken
	}
	if since := a.Grant.DoubtSince; !since.IsZero() {
		a.LastError = &LastError{Time: o.AnsweredAt, Message: fmt.Sprintf(
			"recovered: the exchange sent at %s got no answer; the server has accepted the same refresh token since",
			stamp(since))}
	}
	a.Grant.DoubtSince, a.Grant.Death = time.Time{}, nil
	a.Grant.Used, a.LastRefresh = o.AnsweredAt, o.AnsweredAt
	a.RefreshCount++
	if !o.Tokens.AccessToken.IsSet() {
		o.Reason = "the server's answer held a new refresh token but no usable access token"
		return a.failed(FailedAnswer, o)
	}
	a.Failure = nil
	a.Access = o.accessToken()
	return a
}

// accessToken is the one that the server's answer holds.
func (o outcome) accessToken() *AccessToken {
	return &AccessToken{
		Token:     o.Tokens.AccessToken,
		Scope:     o.Tokens.Scope,
		Claims:    o.Tokens.Claims,
		HasClaims: o.Tokens.HasClaims,
		Issued:    o.SentAt,
		Obtained:  o.AnsweredAt,
		Expires:   o.SentAt.Add(o.Tokens.ExpiresIn),
	}
}

// loggedIn takes over the grant of a login, and its access token where there is
// a usable one.
func (a Account) loggedIn(o outcome) Account {
	a = a.withGrant(o.Tokens.RefreshToken, o.AnsweredAt)
	if o.Tokens.AccessToken.IsSet() {
		a.Access = o.accessToken()
	}
	return a
}

// rejected takes over a complete refusal. Only invalid_grant is about the
// refresh token; a refused client spends none.
func (a Account) rejected(o outcome) (Account, next) {
	switch {
	case o.Code == oauth.CodeInvalidGrant:
		return a.died(o)
	case o.busy():
		return a.failed(FailedThrottled, o), land
	case o.Code == oauth.CodeInvalidClient || o.Code == oauth.CodeUnauthorizedClient ||
		o.Code == oauth.CodeUnsupportedGrantType || o.Code == oauth.CodeInvalidScope:
		return a.failed(FailedClient, o), land
	default:
		return a.failed(FailedRequest, o), land
	}
}

// died ends the grant; where there is a spare, it takes over.
func (a Account) died(o outcome) (Account, next) {
	a.Grant.Death = &Death{Time: o.AnsweredAt, Code: o.Code, LostSince: a.Grant.DoubtSince}
	a.LastError = &LastError{Time: o.AnsweredAt, Message: a.Grant.Death.describe()}
	a.Failure = nil
	if a.Spare == nil {
		if at, ok := a.nextLogin(); ok && !o.AnsweredAt.Before(at) {
			return a, logIn
		}
		return a, land
	}
	a.LastError.Message += "; the spare grant has taken over"
	a = a.retire(&a.Grant)
	a.Grant, a.Spare, a.SpareUsed = *a.Spare, nil, true
	if rest := a.Grant.Rest; !a.Grant.DoubtSince.IsZero() || rest.After(o.AnsweredAt) {
		// It was presented a short while ago, and not taken. Its waits go on from
		// there: it rests as long as it would have as a spare, and the next failure
		// is not the first.
		a.Failure = &Failure{
			Kind: FailedThrottled, Reason: "the server did not take the spare's refresh token a short while ago",
			Count: longestBackOff, NextAttempt: later(rest, o.AnsweredAt),
		}
		if rest.After(o.AnsweredAt) {
			return a, land
		}
	}
	return a, useSpare
}

// describe says how the grant ended.
func (d *Death) describe() string {
	if d.LostSince.IsZero() {
		return fmt.Sprintf("the server rejected the refresh token (%s) at %s", d.Code, stamp(d.Time))
	}
	return fmt.Sprintf("lost in transit: the exchange sent at %s got no answer, and the server rejected the refresh token (%s) at %s, "+
		"so it was spent and its successor never arrived", stamp(d.LostSince), d.Code, stamp(d.Time))
}

// failed records why the next exchange waits, and until when.
func (a Account) failed(kind FailureKind, o outcome) Account {
	count := 1
	if a.Failure != nil {
		count = a.Failure.Count + 1
	}
	wait := backOff(count, o.jitter)
	switch kind {
	case FailedInDoubt: // 1 to 2 s at least
		wait = backOff(max(count, 2), o.jitter)
	case FailedClient, FailedRequest:
		wait = humanBackOff
	}
	wait = max(wait, min(o.RetryAfter, maxRetryAfter))
	before := a.Failure
	a.Failure = &Failure{
		Kind:           kind,
		Code:           o.Code,
		Reason:         o.Reason,
		Count:          count,
		NextAttempt:    o.AnsweredAt.Add(wait),
		ClientRevision: o.clientRevision,
	}
	if kind.unsent() && before != nil && before.NextAttempt.After(a.Failure.NextAttempt) {
		a.Failure = before // an attempt that never left does not end what the server asked for
	}
	message := o.Reason
	if since := a.Grant.DoubtSince; !since.IsZero() {
		message = fmt.Sprintf("in doubt since %s: %s", stamp(since), o.Reason)
	}
	a.LastError = &LastError{Time: o.AnsweredAt, Message: message}
	return a
}

// backOff is the wait after count failures in a row: doubled from 1 s to 60 s,
// then drawn between half of it and all of it, so that many accounts do not
// come back at one moment.
func backOff(count int, jitter float64) time.Duration {
	wait := maxBackOff
	if shift := count - 1; shift < longestBackOff {
		wait = min(wait, firstBackOff<<max(shift, 0))
	}
	return wait/2 + time.Duration(jitter*float64(wait/2))
}

// stamp is the form in which times appear in messages: RFC 3339, UTC.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
