package backend

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/rotation"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/runner"
)

const (
	eventPrefix  = "pagero/"
	eventTimeout = 5 * time.Second
	// maxEvents bounds the queue of events, in case Vault does not take them.
	maxEvents = 1024
)

// events sends the events of accounts to Vault's event system, in order. It sends them
// in the background, so that no exchange waits for Vault to take one. Events may be
// lost, because the state of the account is what counts. events is safe for concurrent
// use.
type events struct {
	sender     logical.EventSender
	background *runner.Group
	logger     hclog.Logger

	mu      sync.Mutex // guards what follows, for a few instructions
	queue   []rotation.Event
	sending bool
	dropped int
}

// notify implements rotation.Options.Notify.
func (e *events) notify(event rotation.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= maxEvents {
		e.dropped++
		return
	}
	e.queue = append(e.queue, event)
	if !e.sending {
		e.sending = e.background.Go(e.sendAll)
	}
}

// sendAll sends until the queue is empty. The end of the mount does not stop it: the
// last events are those of the exchanges that the mount waited for.
func (e *events) sendAll(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	for {
		event, dropped, ok := e.next()
		if dropped > 0 {
			e.logger.Warn("events were lost: Vault did not take them in time", "events", dropped)
		}
		if !ok {
			return
		}
		e.background.Safely(func() { e.send(ctx, event) })
	}
}

// next takes an event out of the queue. If the queue is empty, ok is false: the caller
// must end, and dropped is the number of events that the queue had no room for.
func (e *events) next() (event rotation.Event, dropped int, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		dropped = e.dropped
		e.queue, e.sending, e.dropped = nil, false, 0
		return rotation.Event{}, dropped, false
	}
	event = e.queue[0]
	e.queue = e.queue[1:]
	return event, 0, true
}

func (e *events) send(ctx context.Context, event rotation.Event) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	metadata := []string{
		logical.EventMetadataPath, accountsPrefix + event.Account,
		logical.EventMetadataOperation, string(event.Type),
		"account", event.Account,
	}
	switch event.Type {
	case rotation.EventRefreshed, rotation.EventSpareUsed:
		metadata = append(metadata, logical.EventMetadataModified, "true", logical.EventMetadataDataPath, tokenPrefix+event.Account)
	case rotation.EventWritten, rotation.EventDeleted:
		metadata = append(metadata, logical.EventMetadataModified, "true", logical.EventMetadataDataPath, accountsPrefix+event.Account)
	}
	if event.Client != "" {
		metadata = append(metadata, "client", event.Client, "state", string(event.State))
	}
	err := logical.SendEvent(ctx, e.sender, eventPrefix+string(event.Type), metadata...)
	if err != nil && !errors.Is(err, framework.ErrNoEvents) {
		e.logger.Debug("an event was not sent", "type", event.Type, "account", event.Account, "error", err)
	}
}
