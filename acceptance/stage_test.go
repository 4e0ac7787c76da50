package acceptance

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/harness"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// testTimeout bounds every test, and cleanupTimeout what ends after it: an unmount waits for exchanges that hang.
const (
	testTimeout    = 5 * time.Minute
	cleanupTimeout = 2 * time.Minute
)

// allowedHosts is the plugin's default and the sandbox's host.
const allowedHosts = "*.pageroonline.com,127.0.0.1"

// stage is what a test plays on: a mount of its own with an authorization server of its own.
type stage struct {
	t       *testing.T
	ctx     context.Context
	cluster *harness.Cluster
	node    *harness.Node
	sandbox *sandbox.Server
	mount   string
	token   string // of Vault, for the requests
	first   string // the refresh token that the account acme was enrolled with
}

// mounts counts the mounts, to give each its own path.
var mounts atomic.Int64

// newVault starts a Vault of so many nodes that no other test uses.
func newVault(t *testing.T, nodes int) *harness.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	cluster, err := harness.Start(ctx, harness.Options{Nodes: nodes, Plugins: []harness.Plugin{builtPlugin}})
	must(t, err)
	t.Cleanup(func() {
		end := cluster.Close
		if t.Failed() {
			t.Logf("Vault's log and data are kept in %s\n%s", cluster.Dir, cluster.LogTail(30))
			end = cluster.CloseKeepingFiles
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return cluster
}

// newStage mounts the plugin in the shared Vault and allows the sandbox as a host.
func newStage(t *testing.T) *stage {
	t.Helper()
	return newStageIn(t, shared, sandbox.Config{Faults: true})
}

// newStageIn does so in another Vault or with another sandbox. MOUNT in the redirect URIs of its
// clients stands for the mount's path.
func newStageIn(t *testing.T, cluster *harness.Cluster, config sandbox.Config) *stage {
	t.Helper()
	return newStageAt(t, cluster, fmt.Sprintf("pagero%d", mounts.Add(1)), config)
}

// newStageAt does so at a path of one's choice.
func newStageAt(t *testing.T, cluster *harness.Cluster, mount string, config sandbox.Config) *stage {
	t.Helper()
	s := newEmptyStage(t, cluster, mount, "", config)
	s.allowSandbox()
	return s
}

// allowSandbox lets clients name the sandbox's host.
func (s *stage) allowSandbox() {
	s.t.Helper()
	s.write("config", fields{"allowed_hosts": allowedHosts})
}

// newEmptyStage mounts a version of the plugin, the newest where none is named, and writes nothing.
func newEmptyStage(t *testing.T, cluster *harness.Cluster, mount, version string, config sandbox.Config) *stage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	s := &stage{
		t:       t,
		ctx:     ctx,
		cluster: cluster,
		node:    cluster.Nodes[0],
		mount:   mount,
		token:   cluster.RootToken,
	}
	for _, client := range config.Clients {
		for i, uri := range client.RedirectURIs {
			client.RedirectURIs[i] = s.expand(uri)
		}
	}
	server, err := sandbox.Start(config)
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	s.sandbox = server
	must(t, harness.Until(ctx, "the mount", func(ctx context.Context) (bool, error) { // a busy cluster may change its leader
		err := s.node.EnableVersion(ctx, s.mount, pluginName, version)
		if err != nil && strings.Contains(err.Error(), "path is already in use") { // by an attempt without an answer
			err = nil
		}
		return err == nil, err
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		active, err := cluster.Active(ctx)
		if err == nil {
			err = active.Disable(ctx, s.mount)
		}
		if err != nil {
			t.Errorf("disabling %s: %v", s.mount, err)
		}
	})
	return s
}

// newEnrolledStage is newStage with the client default and the account acme, not yet refreshed.
func newEnrolledStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.enrol()
	return s
}

// enrol stores the client default and the account acme.
func (s *stage) enrol() {
	s.t.Helper()
	s.write("clients/default", s.client())
	s.first = s.login(sandbox.DefaultUsername)
	s.write("accounts/acme", fields{"refresh_token": s.first})
}

// client returns the fields of a client that the sandbox knows.
func (s *stage) client() fields {
	return fields{
		"client_id":     sandbox.DefaultClientID,
		"client_secret": sandbox.DefaultClientSecret,
		"token_url":     s.sandbox.TokenURL(),
		"authorize_url": s.sandbox.AuthorizeURL(),
		"revoke_url":    s.sandbox.RevokeURL(),
		"ca_cert":       string(s.sandbox.CACertPEM()),
	}
}

// login returns the first refresh token of a new grant.
func (s *stage) login(user string) string {
	s.t.Helper()
	token, err := s.sandbox.Login(s.ctx, sandbox.DefaultClientID, user)
	must(s.t, err)
	return token
}

// as returns the stage for requests with another Vault token, whose policy has the given rules.
// MOUNT in the rules stands for the mount's path.
func (s *stage) as(rules string) *stage {
	s.t.Helper()
	other := *s
	var err error
	name := fmt.Sprintf("policy-%s-%d", s.mount, mounts.Add(1))
	other.token, err = s.node.TokenFor(s.ctx, name, s.expand(rules))
	must(s.t, err)
	return &other
}

// accessToken reads the token of an account, which must succeed, and returns the access token.
func (s *stage) accessToken(account string) string {
	s.t.Helper()
	answer := s.do(http.MethodGet, "token/"+account, nil)
	answer.wantStatus(http.StatusOK)
	token := answer.text("access_token")
	if token == "" {
		s.t.Fatalf("token/%s: no access token in %s", account, answer.raw)
	}
	return token
}

// exchanges returns how many refresh grants reached the authorization server.
func (s *stage) exchanges() int {
	total := 0
	for _, count := range s.sandbox.Stats().Exchanges {
		total += count
	}
	return total
}

// wantExchanges asserts that so many refresh grants reached the authorization server, and that no
// refresh token came twice.
func (s *stage) wantExchanges(want int) {
	s.t.Helper()
	if got := s.exchanges(); got != want {
		s.t.Errorf("the authorization server saw %d exchanges, want %d", got, want)
	}
	if stats := s.sandbox.Stats(); stats.Replays != 0 {
		s.t.Errorf("%d refresh tokens were presented again after use", stats.Replays)
	}
}

// wantAPIAccepts asserts that the API answers 200 to the access token.
func (s *stage) wantAPIAccepts(accessToken string) {
	s.t.Helper()
	if err := s.apiAccepts(accessToken); err != nil {
		s.t.Error(err)
	}
}

// apiAccepts is wantAPIAccepts for other goroutines than the test's own.
func (s *stage) apiAccepts(accessToken string) error {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.sandbox.DocumentsURL(), http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+accessToken)
	client := s.sandbox.Client()
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the API answered %s", response.Status)
	}
	return nil
}

// expiry reads from an access token until when the API accepts it.
func expiry(token string) (time.Time, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, fmt.Errorf("an access token has %d parts, want 3", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, err
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	err = json.Unmarshal(payload, &claims)
	return time.Unix(claims.Expires, 0), err
}

// pluginProcess returns the process of the plugin, in a Vault where there is one.
func (s *stage) pluginProcess() harness.Process {
	s.t.Helper()
	processes, err := s.node.PluginProcesses(s.ctx, pluginName)
	must(s.t, err)
	if len(processes) != 1 {
		s.t.Fatalf("%d plugin processes, want 1", len(processes))
	}
	return processes[0]
}

// waitFor waits until cond is true, and ends the test if that does not happen in time.
func (s *stage) waitFor(what string, cond func() bool) {
	s.t.Helper()
	must(s.t, harness.Until(s.ctx, what, func(context.Context) (bool, error) { return cond(), nil }))
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
