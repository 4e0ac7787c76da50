package rotation

import "github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"

// EventType names something that happened to an account. The values are part of
// the plugin's interface.
type EventType string

// The types of events.
const (
	EventRefreshed               EventType = "refresh"                  // there is a new access token
	EventRefreshFailed           EventType = "refresh-failed"           // it will be tried again
	EventReauthorizationRequired EventType = "reauthorization-required" // a person has to log in again
	EventSpareUsed               EventType = "spare-used"               // the grant died and its spare took over
	EventSpareLost               EventType = "spare-lost"               // the spare died; the grant lives
	EventLoggedIn                EventType = "login"                    // a login gave the account a grant, or a spare
	EventWritten                 EventType = "account-write"            // a person wrote the account
	EventDeleted                 EventType = "account-delete"
)

// Event is something that happened to an account. It holds no secret.
type Event struct {
	Type    EventType
	Account string
	Client  string        // "" for EventDeleted
	State   account.State // afterwards; "" for EventDeleted
}

func (m *Manager) notify(t EventType, name string, a *account.Account) {
	e := Event{Type: t, Account: name}
	if a != nil {
		e.Client, e.State = a.Client, a.State()
	}
	m.opts.Notify(e)
}
