package account

import (
	"fmt"
	"time"
)

const (
	// attentionAfter is after how long without a success an account needs a person, and
	// attentionExpired the same once no access token lives.
	attentionAfter   = time.Hour
	attentionExpired = 10 * time.Minute
)

// Mount stands for the mount's path in a remedy, which this package does not know.
const Mount = "<mount>/"

// Problem is an account that needs a person.
type Problem struct {
	Account string
	State   State
	Since   time.Time
	Error   string // what happened
	Remedy  string // what to do: a command, if there is one
}

// Attention returns what a person has to know and do about the account, and from when
// on; nil if nothing is wrong with it. A dead account and a refusal need a person at
// once. Everything else does after it has not worked for a while.
func (a *Account) Attention(name string, now time.Time) (p *Problem, from time.Time) {
	g := a.Current()
	switch {
	case g.Death != nil:
		return &Problem{
			Account: name, State: StateDead, Since: g.Death.Time, Error: a.describeDeath(), Remedy: a.describeNextLogin(now) + loginCommand(name),
		}, g.Death.Time
	case g.Failure == nil && !g.inDoubt():
		return nil, time.Time{}
	case g.Failure == nil && g.Intent == nil:
		return &Problem{
			Account: name, State: StateInDoubt, Since: g.DoubtSince, Remedy: refreshCommand(name),
			Error: "the exchange sent at " + Stamp(g.DoubtSince) + " got no answer",
		}, g.DoubtSince.Add(attentionExpired)
	case g.Failure == nil: // another process has left an intent
		return &Problem{
			Account: name, State: StateInDoubt, Since: g.Intent.Started, Remedy: refreshCommand(name),
			Error: "another process began an exchange at " + Stamp(g.Intent.Started) + " and did not report its outcome",
		}, g.Intent.Started.Add(attentionExpired)
	}
	f := g.Failure
	p = &Problem{Account: name, State: a.State(), Since: f.Since, Error: f.Reason, Remedy: f.remedy(a, name)}
	if a.LastError != nil && f.Kind != FailedSetup && f.Kind != FailedHeldBack {
		p.Error = a.LastError.Message
	}
	if f.Kind.refusal() || f.Kind == FailedSetup {
		return p, f.Since
	}
	from = f.Since.Add(attentionExpired)
	if a.Access != nil && a.Access.Expires.After(f.Since) {
		from = a.Access.Expires.Add(attentionExpired)
	}
	if late := f.Since.Add(attentionAfter); late.Before(from) {
		from = late
	}
	return p, from
}

// remedy says what to do about a failure that lasts.
func (f *Failure) remedy(a *Account, name string) string {
	switch f.Kind {
	case FailedClient:
		return fmt.Sprintf("correct the client: vault write %sclients/%s client_id=<id> client_secret=@<file>", Mount, a.Client)
	case FailedSetup:
		return fmt.Sprintf("correct the client: vault read %sclients/%s; or allowed_hosts: vault read %sconfig", Mount, a.Client, Mount)
	case FailedRequest:
		return fmt.Sprintf("look at the client: vault read %sclients/%s; if it is right, %s", Mount, a.Client, loginCommand(name))
	case FailedRefused:
		return fmt.Sprintf("look at token_url, and at what stands in front of the server: vault read %sclients/%s", Mount, a.Client)
	case FailedStorage:
		return "fix Vault's storage"
	case FailedHeldBack, FailedUnreadable, FailedInDoubt, FailedUnreachable:
		return fmt.Sprintf("look at the way from Vault to the token endpoint; then try: %s", refreshCommand(name))
	default:
		return "try: " + refreshCommand(name)
	}
}

// loginCommand begins a login that lasts until the next morning.
func loginCommand(name string) string {
	return fmt.Sprintf("log in again: vault write %sauthorize/%s spare=true ttl=12h", Mount, name)
}

func refreshCommand(name string) string { return "vault write -f " + Mount + "refresh/" + name }

// AuthorizationEnd is when the authorization of the grant in use is expected to end,
// given how long one lasts; zero if lifetime is 0, for not known.
func (a *Account) AuthorizationEnd(lifetime time.Duration) time.Time {
	if lifetime == 0 {
		return time.Time{}
	}
	return a.Current().AuthorizedAt.Add(lifetime)
}
