package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin/pb"
)

// canary is a part of every secret in these tests. Wherever it turns up in a
// log, an error or an answer, a secret got out; the harness looks for it in all
// of them.
const canary = "s3cr3t"

const (
	firstToken   = "rt-" + canary + "-acme"
	secondToken  = "rt-" + canary + "-acme-again"
	spareToken   = "rt-" + canary + "-acme-spare"
	clientSecret = "cs-" + canary + "-1"
)

const minute = time.Minute

type fields = map[string]any

// mount is one mount of the engine, with fakes all around it.
type mount struct {
	*backend
	t       *testing.T
	storage *faultyStorage
	system  *system
	pagero  *pagero
	log     *logBuffer
	events  *logical.MockEventSender
	starts  int
}

// inBubble runs a test with a new mount, in a bubble in which time passes only
// when everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, m *mount)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		test(t, newMount(t))
	})
}

func newMount(t *testing.T) *mount {
	t.Helper()
	m := &mount{
		t: t, storage: &faultyStorage{}, system: &system{}, log: &logBuffer{}, events: logical.NewMockEventSender(),
		pagero: &pagero{t: t, spent: map[string]bool{}, busy: map[string]bool{}},
	}
	m.backend = m.start(m.storage)
	t.Cleanup(func() {
		m.stop()
		synctest.Wait() // for the events
		m.checkSecrets("the log", m.log.String())
		m.checkSecrets("the events", m.sentEvents())
	})
	return m
}

// start returns another process for the mount, on the storage given.
func (m *mount) start(storage logical.Storage) *backend {
	m.t.Helper()
	m.starts++
	b, err := newBackend(m.t.Context(), &logical.BackendConfig{
		StorageView: storage, System: m.system, EventsSender: m.events,
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: m.log}),
	}, dependencies{
		exchanger: m.pagero, process: fmt.Sprintf("process-%d", m.starts), jitter: func() float64 { return 0.5 },
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

func (m *mount) stop() { m.Cleanup(context.WithoutCancel(m.t.Context())) }

// restart ends the plugin's process and starts another one: nothing is in
// memory afterwards.
func (m *mount) restart() {
	m.t.Helper()
	m.stop()
	m.backend = m.start(m.storage)
}

// pass lets time pass.
func (m *mount) pass(d time.Duration) { <-time.After(d) }

// answer is what a user of Vault's API would see.
type answer struct {
	op       logical.Operation
	path     string
	status   int
	readOnly bool // Vault forwards the request to the node that may write
	page     string
	text     string
	data     map[string]any
	warnings []string
}

func (a answer) String() string {
	return fmt.Sprintf("%s %s: status %d, read-only %v, %q, data %v, warnings %q", a.op, a.path, a.status, a.readOnly, a.text, a.data, a.warnings)
}

func (a answer) token() string {
	token, _ := a.data["access_token"].(string)
	return token
}

// do sends a request and checks what holds for every answer: an error is bare
// and alone, the answer is as documented, and no secret is in it.
func (m *mount) do(op logical.Operation, path string, data fields) answer {
	m.t.Helper()
	return m.doFor(m.t.Context(), op, path, data)
}

func (m *mount) doFor(ctx context.Context, op logical.Operation, path string, data fields) answer {
	m.t.Helper()
	req := &logical.Request{Operation: op, Path: path, Data: asJSON(m.t, data), MountPoint: "pagero/"}
	resp, err := m.HandleRequest(ctx, req)
	if resp != nil && err != nil {
		m.t.Errorf("%s %s: an error comes with a response, which is a 400: %v", op, path, err)
	}
	a := answer{op: op, path: path, readOnly: err == logical.ErrReadOnly} //nolint:errorlint // over gRPC only the bare error counts
	if !a.readOnly && (errors.Is(err, logical.ErrReadOnly) || err != nil && strings.Contains(err.Error(), logical.ErrReadOnly.Error())) {
		m.t.Errorf("%s %s: logical.ErrReadOnly is not bare: %v", op, path, err)
	}
	// On its way to Vault an error keeps its text and its outermost type.
	status, shown := logical.RespondErrorCommon(req, resp, pb.ProtoErrToErr(pb.ErrToProtoErr(err)))
	logical.AdjustErrorStatusCode(&status, shown)
	a.status = status
	if shown != nil {
		a.text = shown.Error()
	}
	if resp != nil {
		a.data, a.warnings = resp.Data, resp.Warnings
	}
	switch {
	case a.readOnly:
		a.status = 0
	case a.data[logical.HTTPContentType] != nil:
		a.status, _ = a.data[logical.HTTPStatusCode].(int)
		a.page, _ = a.data[logical.HTTPRawBody].(string)
		if a.path == "metrics" {
			break
		}
		if a.data[logical.HTTPContentType] != pageType || a.data[logical.HTTPCacheControlHeader] != "no-store" {
			m.t.Errorf("the page is %v", a.data)
		}
	case status == 0 && resp == nil:
		a.status = http.StatusNoContent
		m.checkSchema(a)
	case status == 0:
		a.status = http.StatusOK
		m.checkSchema(a)
	}
	m.checkAnswer(a)
	return a
}

// asJSON gives data the types that Vault's API gives them.
func asJSON(t *testing.T, data fields) fields {
	t.Helper()
	if data == nil {
		return nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var decoded fields
	if err := decoder.Decode(&decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func (m *mount) checkSchema(a answer) {
	m.t.Helper()
	path := m.Route(a.path)
	if path == nil || path.Operations[a.op] == nil {
		return // help
	}
	responses := path.Operations[a.op].Properties().Responses[a.status]
	if len(responses) == 0 {
		m.t.Errorf("the answer is not documented: %s", a)
		return
	}
	schema.ValidateResponseData(m.t, &responses[0], a.data, true)
	if responses[0].Fields == nil && len(a.data) > 0 {
		m.t.Errorf("the answer has data that are not documented: %s", a)
	}
}

func (m *mount) checkAnswer(a answer) {
	m.t.Helper()
	data := maps.Clone(a.data)
	if strings.HasPrefix(a.path, tokenPrefix) {
		delete(data, "access_token")
	}
	text, err := json.Marshal(data)
	if err != nil {
		m.t.Error(err)
	}
	m.checkSecrets(fmt.Sprintf("the answer of %s %s", a.op, a.path), a.text, string(text), strings.Join(a.warnings, "\n"))
}

func (m *mount) checkSecrets(where string, texts ...string) {
	m.t.Helper()
	for _, text := range texts {
		if i := strings.Index(text, canary); i >= 0 {
			m.t.Errorf("a secret is in %s: %.200q", where, text[max(0, i-100):])
		}
	}
}

// sentEvents returns the events that Vault was sent, a line each.
func (m *mount) sentEvents() string {
	m.events.Lock()
	defer m.events.Unlock()
	var lines strings.Builder
	for _, e := range m.events.Events {
		metadata, err := json.Marshal(e.Event.GetMetadata().AsMap())
		if err != nil {
			m.t.Error(err)
		}
		fmt.Fprintf(&lines, "%s %s\n", e.Type, metadata)
	}
	return lines.String()
}

func (m *mount) read(path string) answer {
	m.t.Helper()
	return m.do(logical.ReadOperation, path, nil)
}

func (m *mount) list(path string, data fields) answer {
	m.t.Helper()
	return m.do(logical.ListOperation, path, data)
}

func (m *mount) delete(path string) answer {
	m.t.Helper()
	return m.do(logical.DeleteOperation, path, nil)
}

// write does what Vault does for a POST: it asks whether the thing exists, and
// makes a create or an update of it.
func (m *mount) write(path string, data fields) answer {
	m.t.Helper()
	return m.do(m.writeOperation(path, data), path, data)
}

func (m *mount) writeOperation(path string, data fields) logical.Operation {
	m.t.Helper()
	checked, exists, err := m.HandleExistenceCheck(m.t.Context(), &logical.Request{
		Operation: logical.CreateOperation, Path: path, Data: asJSON(m.t, data),
	})
	if err != nil {
		m.checkSecrets("the error of an existence check", err.Error())
	}
	if checked && !exists {
		return logical.CreateOperation
	}
	return logical.UpdateOperation
}

// want holds an answer against a status and parts of its text.
func (m *mount) want(a answer, status int, parts ...string) answer {
	m.t.Helper()
	if a.status != status {
		m.t.Fatalf("status %d is wanted: %s", status, a)
	}
	for _, part := range parts {
		if !strings.Contains(a.text, part) {
			m.t.Errorf("the text lacks %q: %s", part, a)
		}
	}
	return a
}

// wantReadOnly wants the answer that Vault forwards.
func (m *mount) wantReadOnly(a answer) {
	m.t.Helper()
	if !a.readOnly || a.data != nil {
		m.t.Errorf("a bare logical.ErrReadOnly is wanted: %s", a)
	}
}

// wantPosts wants that so many exchanges were sent since the last question.
func (m *mount) wantPosts(n int) []post {
	m.t.Helper()
	posts := m.pagero.take()
	if len(posts) != n {
		m.t.Fatalf("%d exchanges were sent, not %d", len(posts), n)
	}
	return posts
}

func (m *mount) wantWarning(a answer, part string) {
	m.t.Helper()
	if !slices.ContainsFunc(a.warnings, func(w string) bool { return strings.Contains(w, part) }) {
		m.t.Errorf("there is no warning with %q: %s", part, a)
	}
}

func (m *mount) wantNoWarning(a answer) {
	m.t.Helper()
	if len(a.warnings) > 0 {
		m.t.Errorf("no warning is wanted: %s", a)
	}
}

func (m *mount) wantData(a answer, want fields) {
	m.t.Helper()
	for field, value := range want {
		if got := a.data[field]; fmt.Sprint(got) != fmt.Sprint(value) {
			m.t.Errorf("%s: %s is %v, not %v", a.path, field, got, value)
		}
	}
}

// enrol sets up the client "default" and the account "acme".
func (m *mount) enrol() {
	m.t.Helper()
	m.want(m.write("clients/default", fields{"client_id": "our-app", "client_secret": clientSecret}), 204)
	m.want(m.write("accounts/acme", fields{"refresh_token": firstToken}), 204)
}

// stored returns an entry of the storage.
func (m *mount) stored(key string) string {
	m.t.Helper()
	entry, err := m.storage.InmemStorage.Get(m.t.Context(), key)
	if err != nil {
		m.t.Fatal(err)
	}
	if entry == nil {
		return ""
	}
	return string(entry.Value)
}
