package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

// Many callers do everything at once to a few accounts. The fake of Pagero
// fails the test when a spent token is presented, or when two exchanges of one
// account are in progress.
func TestStormOnAFewAccounts(t *testing.T) {
	t.Parallel()
	const (
		workers = 24
		steps   = 200
	)
	inBubble(t, func(t *testing.T, m *mount) {
		m.want(m.write("clients/default", minimalClient), 204)
		names := []string{"one", "two", "three"}
		watch := &stormWatch{pagero: m.pagero}
		m.pagero.set(watch.answer)
		m.pagero.answersAfter(20 * time.Millisecond)
		var callers sync.WaitGroup
		for worker := range workers {
			callers.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(worker)))
				for step := range steps {
					name := names[random.IntN(len(names))]
					s := pick(random, name, fmt.Sprintf("%d-%d", worker, step))
					a := m.do(s.op, s.path, s.data)
					if a.readOnly || !slices.Contains(s.statuses, a.status) {
						t.Errorf("%s", a)
					}
					if random.IntN(20) == 0 {
						m.InvalidateKey(t.Context(), []string{"config", "account/" + name, "client/default"}[random.IntN(3)])
					}
					m.pass(time.Duration(random.IntN(int(20 * time.Second))))
				}
			})
		}
		callers.Wait()

		m.pagero.set(nil)
		for _, name := range names {
			m.want(m.write("accounts/"+name, fields{"refresh_token": "rt-" + canary + "-" + name + "-last", "refresh_on_read": false}), 204)
			token := m.want(m.read("token/"+name), 200).token()
			m.restart()
			if m.want(m.read("token/"+name), 200).token() != token {
				t.Errorf("%s: memory and storage are of two minds", name)
			}
		}
		m.wantData(m.read("clients/default"), fields{"client_id": "our-app"})
		if n := len(m.pagero.take()); n < 200 {
			t.Errorf("only %d exchanges: no storm", n)
		}
	})
}

type stormStep struct {
	op       logical.Operation
	path     string
	data     fields
	statuses []int
}

// pick draws a step. Accounts come and go, so 404 is always possible, and Pagero
// fails now and then, so 503 and 400 are.
func pick(random *rand.Rand, name, unique string) stormStep {
	const read, update = logical.ReadOperation, logical.UpdateOperation
	fresh := fields{"refresh_token": "rt-" + canary + "-" + name + "-" + unique}
	tokens := []int{200, 400, 404, 503}
	switch n := random.IntN(100); {
	case n < 40:
		return stormStep{read, "token/" + name, nil, tokens}
	case n < 50:
		return stormStep{update, "token/" + name, fields{"min_ttl": "5m"}, tokens}
	case n < 60:
		return stormStep{update, "refresh/" + name, nil, tokens}
	case n < 68:
		return stormStep{read, "accounts/" + name, nil, []int{200, 404}}
	case n < 80:
		return stormStep{update, "accounts/" + name, fresh, []int{204, 503}}
	case n < 84: // of one that is not there any more: 400
		return stormStep{update, "accounts/" + name, fields{"min_ttl": random.IntN(300), "refresh_on_read": random.IntN(4) == 0}, []int{204, 400, 503}}
	case n < 88:
		return stormStep{logical.DeleteOperation, "accounts/" + name, nil, []int{204, 503}}
	case n < 91:
		return stormStep{update, "config", fields{"min_ttl": random.IntN(300)}, []int{204}}
	case n < 93:
		return stormStep{logical.DeleteOperation, "config", nil, []int{204}}
	case n < 96:
		return stormStep{update, "clients/default", fields{"client_secret": "cs-" + canary + "-" + unique}, []int{204}}
	default:
		return stormStep{logical.ListOperation, "accounts/", nil, []int{200, 404}}
	}
}

// stormWatch answers as a Pagero that fails now and then.
type stormWatch struct {
	pagero *pagero
	count  atomic.Int64
}

func (w *stormWatch) answer(sent post) oauth.Result {
	switch count := w.count.Add(1); {
	case count%7 == 0:
		return isUnreachable(sent)
	case count%11 == 0:
		return rejects("", 429)(sent)
	case count%13 == 0:
		return isDead(sent)
	case count%17 == 0:
		return rejects(oauth.CodeInvalidClient, 401)(sent)
	default:
		return w.pagero.grantFor(sent, 60*time.Second)
	}
}

// A second writer must wait while the Put of a first one is in progress. This test runs
// outside of a bubble, whose time stands still while a goroutine waits for a mutex.
func TestWriterWaitsForTheOneBeforeIt(t *testing.T) {
	t.Parallel()
	const update = logical.UpdateOperation
	for _, test := range []struct {
		path   string
		first  fields
		op     logical.Operation // of the second writer
		second fields
		want   fields // what is there when both are done
	}{
		{"config", fields{"min_ttl": 1}, update, fields{"exchange_timeout": 2}, fields{"min_ttl": 1, "exchange_timeout": 2}},
		{"config", fields{"min_ttl": 1}, logical.DeleteOperation, nil, fields{"min_ttl": 120}},
		{
			"clients/default",
			fields{"auth_method": "client_secret_post"},
			update,
			fields{"scopes": "one"},
			fields{"auth_method": "client_secret_post", "scopes": []string{"one"}},
		},
		{"accounts/acme", fields{"min_ttl": 1}, update, fields{"refresh_on_read": true}, fields{"min_ttl": 1, "refresh_on_read": true}},
	} {
		t.Run(fmt.Sprintf("%s of %s", test.op, test.path), func(t *testing.T) {
			t.Parallel()
			storage := &interrupted{}
			b, err := Factory(t.Context(), &logical.BackendConfig{StorageView: storage, System: &system{}, Logger: hclog.NewNullLogger()})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Cleanup(t.Context())
			do := func(op logical.Operation, path string, data fields) fields {
				resp, err := b.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: path, Data: data})
				if err != nil || resp.IsError() {
					t.Errorf("%v %v", resp, err)
				}
				if resp == nil {
					return nil
				}
				return resp.Data
			}
			do(update, "clients/default", minimalClient)
			do(update, "accounts/acme", fields{"refresh_token": firstToken})
			var second sync.WaitGroup
			storage.interrupt(func() {
				done := make(chan struct{})
				second.Go(func() {
					defer close(done)
					do(test.op, test.path, test.second)
				})
				select {
				case <-done: // it has not waited
				case <-time.After(50 * time.Millisecond):
				}
			})
			do(update, test.path, test.first)
			second.Wait()
			got := do(logical.ReadOperation, test.path, nil)
			for field, want := range test.want {
				if fmt.Sprint(got[field]) != fmt.Sprint(want) {
					t.Errorf("%s is %v: what one of the writers did is lost", field, got[field])
				}
			}
		})
	}
}

// interrupted is a storage in which something happens before one Put.
type interrupted struct {
	logical.InmemStorage
	before atomic.Pointer[func()]
}

func (s *interrupted) interrupt(before func()) { s.before.Store(&before) }

func (s *interrupted) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if before := s.before.Swap(nil); before != nil {
		(*before)()
	}
	return s.InmemStorage.Put(ctx, entry)
}
