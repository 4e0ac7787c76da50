package crashfixture

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// WaitForExchanges waits until at least count exchanges are under way.
func (f *Fixture) WaitForExchanges(count int) {
	f.T.Helper()
	f.WaitFor("exchanges to be under way", func() bool {
		underWay := 0
		for _, r := range f.Sandbox.Requests() {
			if r.Ended.IsZero() {
				underWay++
			}
		}
		return underWay >= count
	})
}

// How long DuringExchanges lets the server hold an exchange: if a reader still waits for it, and if no reader does.
// Vault stops a plugin about a second after the last request has ended, which is between the two.
const (
	heldAwaited   = 500 * time.Millisecond
	heldUnawaited = 2500 * time.Millisecond
)

// DuringExchanges calls do in the middle of an exchange of every account. It returns one error for each account, nil if
// its reader got a token or has left.
//
// The server holds all exchanges while do begins, half of them after the refresh token is spent. It answers them a
// moment later. Half of the readers leave before do is called. Vault lets requests end before it stops a plugin, so
// the plugin itself has to wait only for an exchange whose reader has left.
func (f *Fixture) DuringExchanges(do func()) []error {
	f.T.Helper()
	var (
		readers            sync.WaitGroup
		awaited, unawaited []*sandbox.FaultHandle
		answers            = make([]error, len(f.Accounts))
	)
	impatient, leave := context.WithCancel(f.Ctx)
	defer leave()
	for i, account := range f.Accounts {
		when := []sandbox.FaultTime{sandbox.FaultBefore, sandbox.FaultAfter}[i/2%2]
		fault, err := f.Sandbox.SetFault(sandbox.Fault{User: account.Name, When: when, Count: 1, Action: sandbox.ActionHold})
		fixture.Must(f.T, err)
		if i/4%2 == 1 {
			unawaited = append(unawaited, fault)
			readers.Go(func() { _ = f.AskUntil(impatient, http.MethodGet, "token/"+account.Name) })
			continue
		}
		awaited = append(awaited, fault)
		readers.Go(func() {
			a, err := f.Ask(http.MethodGet, "token/"+account.Name)
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("%s: status %d: %q", account.Name, a.Status, a.Errors)
			}
			answers[i] = err
		})
	}
	for _, fault := range slices.Concat(awaited, unawaited) {
		fixture.Must(f.T, fault.Wait(f.Ctx, 1))
	}
	leave()
	time.AfterFunc(heldAwaited, func() { clearAll(awaited) })
	time.AfterFunc(heldUnawaited, func() { clearAll(unawaited) })
	do()
	readers.Wait()
	return answers
}

// clearAll ends faults.
func clearAll(faults []*sandbox.FaultHandle) {
	for _, fault := range faults {
		fault.Clear()
	}
}
