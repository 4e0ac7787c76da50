package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"text/template"
	"time"

	"github.com/hashicorp/vault/api"
)

// startTimeout bounds the start of a node, and stopTimeout its end. Vault first lets requests end, which may take 90 s, and a
// busy machine needs more. A node takes that long only if something has failed.
const (
	startTimeout = 90 * time.Second
	stopTimeout  = 2 * time.Minute
)

// Node is one Vault server.
type Node struct {
	Name    string
	Address string // URL of the API

	cluster *Cluster
	dir     string
	process atomic.Pointer[process]
	killed  atomic.Bool
	frozen  atomic.Bool
}

// nodeConfig is the configuration of a server.
var nodeConfig = template.Must(template.New("config").Parse(`
storage "raft" {
  path                   = "{{.Dir}}/raft"
  node_id                = "{{.Name}}"
  performance_multiplier = {{.Multiplier}}
  # Nodes that join become voters at once, not after tens of seconds.
  autopilot_reconcile_interval = "500ms"
  autopilot_update_interval    = "200ms"
{{- if .Leader}}
  retry_join {
    leader_api_addr = "{{.Leader}}"
  }
{{- end}}
}
listener "tcp" {
  address         = "{{.Address}}"
  cluster_address = "{{.ClusterAddress}}"
  tls_disable     = true
}
api_addr             = "http://{{.Address}}"
cluster_addr         = "https://{{.ClusterAddress}}"
plugin_directory     = "{{.PluginDir}}"
log_level            = "{{.LogLevel}}"
disable_mlock        = true
raw_storage_endpoint = true
`))

// writeConfig writes the node's configuration file.
func (n *Node) writeConfig(address, clusterAddress string) error {
	leader := ""
	if len(n.cluster.Nodes) > 0 {
		leader = n.cluster.Nodes[0].Address
	}
	// A leader loses its lead if it hears nothing from the others for this many half seconds. On a busy machine that
	// happens to a healthy leader.
	multiplier := 1
	if n.cluster.options.Nodes > 1 {
		multiplier = 3
	}
	var text bytes.Buffer
	err := nodeConfig.Execute(&text, map[string]any{
		"Multiplier": multiplier, "Dir": n.dir, "Name": n.Name, "Leader": leader,
		"Address": address, "ClusterAddress": clusterAddress,
		"PluginDir": n.cluster.PluginDir, "LogLevel": n.cluster.options.LogLevel,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.dir, "vault.hcl"), text.Bytes(), 0o600)
}

// Running reports whether the node's process runs.
func (n *Node) Running() bool {
	p := n.process.Load()
	return p != nil && p.running()
}

// Start starts the process and waits until it answers. It may be sealed then.
func (n *Node) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	process, err := startProcess(n.LogFile(), n.environment(), n.cluster.vault,
		"server", "-config="+filepath.Join(n.dir, "vault.hcl"))
	if err != nil {
		return err
	}
	n.process.Store(process)
	return Until(ctx, n.Name+" to answer", func(ctx context.Context) (bool, error) {
		if !n.Running() {
			cancel() // there is nothing to wait for
			return false, fmt.Errorf("%s ended: %w", n.Name, process.err)
		}
		_, err := n.health(ctx)
		return err == nil, err
	})
}

// Stop ends the process in an orderly way. If the process hangs, Stop kills it and returns an error. It returns no error if
// Vault has stopped and only the raft library hangs, which may happen to a leader that was frozen and lost the lead.
func (n *Node) Stop(ctx context.Context) error {
	if err := n.Thaw(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := n.process.Load().end(ctx, syscall.SIGTERM)
	if err != nil && n.hangsInRaft() {
		return nil
	}
	return err
}

// StopGroup is Stop with a signal to the whole process group, including the plugins, as some service managers send it.
func (n *Node) StopGroup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return n.process.Load().endGroup(ctx, syscall.SIGTERM)
}

// SignalGroup sends a signal to the server and its plugins. The signal must not end the server.
func (n *Node) SignalGroup(signal syscall.Signal) error {
	return n.process.Load().signalGroup(signal)
}

// Kill ends the process with SIGKILL, like a crash. Its plugins run until they notice.
func (n *Node) Kill(ctx context.Context) error {
	n.killed.Store(true)
	err := n.process.Load().end(ctx, syscall.SIGKILL)
	return errors.Join(err, n.Thaw()) // for its plugins
}

// Freeze stops the server and its plugins with SIGSTOP, like a machine that hangs or a partition. Their connections stay open
// but nothing comes over them, so requests need a timeout. Thaw ends it.
func (n *Node) Freeze() error {
	n.frozen.Store(true)
	return n.process.Load().signalGroup(syscall.SIGSTOP)
}

// Frozen reports whether the node is frozen.
func (n *Node) Frozen() bool { return n.frozen.Load() }

// Thaw resumes a frozen node. It does nothing to other nodes.
func (n *Node) Thaw() error {
	if !n.frozen.CompareAndSwap(true, false) {
		return nil
	}
	err := n.process.Load().signalGroup(syscall.SIGCONT)
	if errors.Is(err, syscall.ESRCH) { // it has ended
		return nil
	}
	return err
}

// Restart stops the node, starts it again, unseals it and waits until it is active or standby.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	return n.Unseal(ctx)
}

// Seal seals the node, which ends its plugins.
func (n *Node) Seal(ctx context.Context) error {
	return n.Client().Sys().SealWithContext(ctx)
}

// Unseal unseals the node and waits until it is active or standby. It sends the key only until the node accepts it once. A
// node that is still joining the raft cluster unseals itself when it has joined. If it got the key again meanwhile, it would
// start two elections, each of which would take the other one's notice of a lost lead.
func (n *Node) Unseal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	accepted := false
	return Until(ctx, n.Name+" to be unsealed", func(ctx context.Context) (bool, error) {
		health, err := n.health(ctx)
		switch {
		case err != nil:
			return false, err
		case !health.Initialized || health.Sealed:
			if !accepted {
				_, err = n.Client().Sys().UnsealWithContext(ctx, n.cluster.unseal)
				accepted = err == nil
			}
			return false, err
		default:
			return health.active() || health.ready(), nil
		}
	})
}

// Client returns a new API client with the root token. It never retries.
func (n *Node) Client() *api.Client {
	config := api.DefaultConfig()
	config.Address = n.Address
	config.MaxRetries = 0
	client, err := api.NewClient(config)
	if err != nil {
		panic(fmt.Sprintf("a client for %s: %v", n.Address, err)) // the address is valid
	}
	client.ClearNamespace()
	client.SetToken(n.cluster.RootToken)
	return client
}

// healthStatus is the part of the answer of sys/health that the harness uses.
type healthStatus struct {
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`
	Version     string `json:"version"`
	Leader      string `json:"-"` // for a standby, the address of the active node; empty if it knows none
}

// active reports whether the node serves requests itself.
func (h healthStatus) active() bool { return h.Initialized && !h.Sealed && !h.Standby }

// ready reports whether the node is a standby that knows where to forward requests.
func (h healthStatus) ready() bool { return h.Initialized && !h.Sealed && h.Standby && h.Leader != "" }

// health returns the status of the node. It returns an error if the node does not answer.
func (n *Node) health(ctx context.Context) (healthStatus, error) {
	var health healthStatus
	if err := n.get(ctx, "/v1/sys/health?standbyok=true&sealedcode=200&uninitcode=200", &health); err != nil {
		return health, err
	}
	if health.Standby && !health.Sealed {
		var leader struct {
			Address string `json:"leader_address"`
		}
		if err := n.get(ctx, "/v1/sys/leader", &leader); err != nil {
			return health, err
		}
		health.Leader = leader.Address
	}
	return health, nil
}

// Version returns the version of Vault that the node runs, without a leading v.
func (n *Node) Version(ctx context.Context) (string, error) {
	health, err := n.health(ctx)
	return health.Version, err
}

// get reads JSON from a path that needs no token.
func (n *Node) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Address+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// environment returns the environment of servers and commands. It has none of the user's settings for Vault and proxies, and
// another home directory. Temporary files are in the directory of the cluster, because a killed plugin leaves its socket
// behind.
func (n *Node) environment() []string {
	env := []string{"HOME=" + n.cluster.Dir, "TMPDIR=" + n.cluster.Dir, "VAULT_ADDR=" + n.Address}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "VAULT_") || name == "HOME" || name == "TMPDIR" || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			continue
		}
		env = append(env, entry)
	}
	return env
}
