package backend

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/account"
)

const (
	eventPrefix  = "pagero/"
	eventTimeout = 5 * time.Second
	// maxEvents bounds the events that wait for a Vault that does not take them.
	maxEvents = 1024
)

// events sends what happens to accounts to Vault's event system, in order, from
// a goroutine that lives as long as there is something to send: nobody waits for
// Vault to take an event, least of all an exchange. Events may be lost; the
// account's state is what counts.
type events struct {
	sender logical.EventSender
	logger hclog.Logger

	mu      sync.Mutex // guards what follows
	queue   []account.Event
	sending bool
	dropped int
}

// notify implements account.Options.Notify.
func (e *events) notify(event account.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= maxEvents {
		e.dropped++
		return
	}
	e.queue = append(e.queue, event)
	if !e.sending {
		e.sending = true
		go e.drain()
	}
}

// drain sends until nothing is left.
func (e *events) drain() {
	for {
		e.mu.Lock()
		if len(e.queue) == 0 {
			dropped := e.dropped
			e.queue, e.sending, e.dropped = nil, false, 0
			e.mu.Unlock()
			if dropped > 0 {
				e.logger.Warn("events were lost: Vault did not take them in time", "events", dropped)
			}
			return
		}
		event := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		e.send(event)
	}
}

// send sends one event. A panic must not end the process: exchanges may be under way
// in it.
func (e *events) send(event account.Event) {
	defer func() {
		if p := recover(); p != nil {
			e.logger.Error("panic in the background work", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
	defer cancel()
	metadata := []string{
		logical.EventMetadataPath, accountsPrefix + event.Account,
		logical.EventMetadataOperation, string(event.Type),
		"account", event.Account,
	}
	switch event.Type {
	case account.EventRefreshed, account.EventSpareUsed:
		metadata = append(metadata, logical.EventMetadataModified, "true", logical.EventMetadataDataPath, tokenPrefix+event.Account)
	case account.EventWritten, account.EventDeleted:
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
