package account

import (
	"context"
	"errors"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// spareRest is how long a spare is left alone after a failure that may be gone in
// a moment. One that a person has to mend gets humanBackOff.
const spareRest = time.Minute

// refreshSpare exchanges the spare's refresh token, by the rules for the grant's:
// the intent first, one POST, one Put, and a rescue copy where that fails. Readers
// are not concerned: the grant stays as it is, and the access token that comes
// with the answer is not used.
func (m *Manager) refreshSpare(s *slot, name string, f *flight, a *Account, client *Client, timeout time.Duration) error {
	begun, err := m.announce(name, a.beginSpare, client, timeout)
	if err != nil {
		if errors.Is(err, ErrReadOnly) {
			return ErrReadOnly
		}
		// The intent may stand in the storage; memory knows that no POST follows.
		s.ahead = a
		s.publish(a)
		return storageError(name, "announcing an exchange of the spare; its refresh token is untouched", err)
	}
	f.begun, f.ofSpare = begun, true
	jitter := m.Jitter()
	result, current := m.present(ForSpare, begun.Spare.Intent.Deadline, client, timeout, func(ctx context.Context, c oauth.Client) oauth.Result {
		return m.Exchanger.Refresh(ctx, c, begun.Spare.RefreshToken)
	})
	settled := begun.settleSpare(outcome{Result: result, jitter: jitter})
	// From here on a panic must not bring back the account before the answer, whose
	// token may be spent.
	f.begun, s.ahead = nil, &settled
	err = m.store.put(m.ctx, name, &settled, storageTimeout)
	m.reportSpare(name, &settled, result)
	switch {
	case err == nil:
		s.ahead = nil
		s.publish(&settled)
	case result.Outcome == oauth.Succeeded:
		m.rescue(s, name, &settled, err, func() { s.land(f, nil) })
	default:
		s.publish(&settled)
		m.Logger.Warn("the outcome of an exchange of the spare is kept in memory: saving it failed", "account", name, "error", err)
	}
	if result.Outcome == oauth.Succeeded && current {
		m.secretWorked(a.Client, client)
	}
	return nil
}

// reportSpare is report for an exchange of the spare.
func (m *Manager) reportSpare(name string, after *Account, r oauth.Result) {
	fields := []any{"account", name, "client", after.Client, "outcome", r.Outcome.String()}
	switch {
	case r.Outcome == oauth.Succeeded:
		m.Logger.Info("spare refreshed", fields...)
	case after.Spare == nil:
		m.Logger.Warn("spare grant died; enrol another", append(fields, "error", after.LastError.Message)...)
		m.notify(EventSpareLost, name, after)
	default:
		m.Logger.Warn("exchange of the spare failed", append(fields, "reason", r.Reason, "next_attempt", stamp(after.Spare.Rest))...)
	}
}

// swapped returns the account with grant and spare in each other's place.
func (a Account) swapped() Account {
	grant := a.Grant
	a.Grant, a.Spare = *a.Spare, &grant
	return a
}

// beginSpare writes the intent to present the spare's refresh token.
func (a Account) beginSpare(intent Intent) Account {
	return a.swapped().begin(intent).swapped()
}

// settleSpare takes over the outcome of the exchange that beginSpare announced.
// The grant and its access token are not touched.
func (a Account) settleSpare(o outcome) Account {
	spare := *a.Spare
	spare.Intent = nil
	rest := max(spareRest, min(o.RetryAfter, maxRetryAfter))
	switch {
	case o.Outcome == oauth.Succeeded:
		if o.Tokens.RefreshToken.IsSet() {
			spare.RefreshToken = o.Tokens.RefreshToken
		}
		spare.Used, spare.DoubtSince, rest = o.AnsweredAt, time.Time{}, 0
	case o.Outcome == oauth.Rejected && o.Code == oauth.CodeInvalidGrant:
		death := Death{Time: o.AnsweredAt, Code: o.Code, LostSince: spare.DoubtSince}
		a = a.retire(&spare)
		a.Spare = nil
		a.LastError = &LastError{Time: o.AnsweredAt, Message: "the spare grant is gone: " + death.describe() + "; the account goes on with its grant"}
		return a
	case o.Outcome == oauth.Rejected && !o.busy():
		rest = humanBackOff
	case o.Outcome.Unknown() && spare.DoubtSince.IsZero():
		spare.DoubtSince = o.SentAt
		if o.RetryAfter == 0 {
			rest = time.Second + time.Duration(o.jitter*float64(time.Second))
		}
	}
	spare.Rest = o.AnsweredAt.Add(rest)
	a.Spare = &spare
	return a
}
