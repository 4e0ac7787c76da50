package backend

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// A defect in one answer must not end the process in the middle of the exchanges of all
// accounts.
func TestPanicInAnOperationIsAnError(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		for _, use := range op.uses {
			t.Run(op.name+" "+use.String(), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(t *testing.T, m *mount) {
					op.prepare(m)
					use.panic = true
					m.storage.fail(use)
					m.want(op.do(m), 500)
					if !strings.Contains(m.log.String(), "[ERROR]") || !strings.Contains(m.log.String(), "fake_storage_test.go") {
						t.Errorf("the log has no stack: %s", m.log)
					}
					m.storage.heal()
					m.pass(2 * minute)
					m.want(op.do(m), op.status)
				})
			})
		}
	}
}

// wantContained runs what panics, and wants the stack in the log, without the value.
func (m *mount) wantContained(during string, run func() error) {
	m.t.Helper()
	logged := len(m.log.String())
	if err := run(); err != nil && !strings.Contains(err.Error(), "internal error; see Vault's log and report it") {
		m.t.Errorf("%s: %v", during, err)
	}
	text := m.log.String()[logged:]
	for _, part := range []string{"[ERROR]", "internal error: please report this line", during, "panic_test.go"} {
		if !strings.Contains(text, part) {
			m.t.Errorf("the log lacks %q: %s", part, text)
		}
	}
}

func TestPanicInACallOfVaultIsALineInTheLog(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *mount) {
		m.enrol()
		m.PeriodicFunc = func(context.Context, *logical.Request) error { panic(canary) }
		m.Invalidate = func(context.Context, string) { panic(errors.New(canary)) }
		m.InitializeFunc = func(context.Context, *logical.InitializationRequest) error {
			return []error{}[m.starts]
		}
		m.wantContained("a request", func() error {
			_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.storage})
			return err
		})
		m.wantContained("an invalidation", func() error { m.InvalidateKey(t.Context(), "account/acme"); return nil })
		m.wantContained("the start", func() error { return m.Initialize(t.Context(), &logical.InitializationRequest{}) })
		if !strings.Contains(m.log.String(), "index out of range") {
			t.Error("the text of a runtime error is not in the log")
		}
		clean := m.Clean
		m.Clean = func(context.Context) { panic(canary) }
		m.wantContained("the end", func() error { m.Cleanup(t.Context()); return nil })
		m.Clean = clean

		m.storage.fail(fault{verb: get, panic: true})
		m.restart()
		m.wantContained("an existence check", func() error {
			checked, exists, err := m.HandleExistenceCheck(t.Context(), &logical.Request{Operation: logical.CreateOperation, Path: "accounts/acme"})
			if checked || exists || err == nil {
				t.Errorf("%v, %v, %v", checked, exists, err)
			}
			return err
		})
		m.storage.heal()
		m.want(m.read("token/acme"), 200)
	})
}
