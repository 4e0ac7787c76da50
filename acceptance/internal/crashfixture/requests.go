package crashfixture

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
)

// AskUntil sends a request on its own connection, which it closes when ctx ends.
func (f *Fixture) AskUntil(ctx context.Context, method, path string) error {
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	at := f.AnyNode()
	at.Ctx = ctx
	_, err := at.Try(&http.Client{Transport: transport}, method, path, nil)
	return err
}

// AnyNode returns the mount for requests to a running node, another one each time. The node need not be active.
func (f *Fixture) AnyNode() *fixture.Fixture {
	at := *f.Fixture
	for range f.Cluster.Nodes {
		at.Node = f.Cluster.Nodes[int(f.nextNode.Add(1))%len(f.Cluster.Nodes)]
		if at.Node.Running() && !at.Node.Frozen() {
			break
		}
	}
	return &at
}

// writeUntilAccepted writes to a path of the mount until a node accepts it. It writes the same each time, so a write that
// arrives twice is harmless.
func (f *Fixture) writeUntilAccepted(path string, body fixture.Fields) error {
	return harness.Until(f.Ctx, "a write to "+path, func(context.Context) (bool, error) {
		a, err := f.AnyNode().Try(http.DefaultClient, http.MethodPost, path, body)
		if err == nil && a.Status != http.StatusOK && a.Status != http.StatusNoContent {
			err = fmt.Errorf("status %d: %q", a.Status, a.Errors)
		}
		return err == nil, err
	})
}

// Ask sends a request to a running node, once, and records the access token in the answer.
func (f *Fixture) Ask(method, path string) (fixture.Answer, error) {
	return f.AskAt(f.AnyNode(), http.DefaultClient, method, path)
}

// AskAt is Ask with a chosen node and HTTP client.
func (f *Fixture) AskAt(at *fixture.Fixture, client *http.Client, method, path string) (fixture.Answer, error) {
	began := time.Now()
	a, err := at.Try(client, method, path, nil)
	if token, ok := a.Data["access_token"].(string); ok && err == nil {
		f.recordAccessToken(token, tokenRead{account: strings.TrimPrefix(path, "token/"), requestedAt: began})
	}
	return a, err
}

// recordAccessToken records that a reader got a token. Readers of two accounts must never get the same one.
func (f *Fixture) recordAccessToken(token string, read tokenRead) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.accessTokens[token]
	if known.account != "" && known.account != read.account {
		f.T.Errorf("readers of %s and of %s got the same token", known.account, read.account)
	}
	if known.requestedAt.Before(read.requestedAt) {
		f.accessTokens[token] = read
	}
}
