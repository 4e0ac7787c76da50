package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/vault/api"
)

// Options say what Start starts.
type Options struct {
	Nodes    int      // default 1
	Plugins  []Plugin // to install and register
	LogLevel string   // default trace, because secrets must not be logged at any level
	NoAudit  bool     // no audit device, for benchmarks
}

// Cluster is a running Vault of one or more nodes. Several goroutines may call its methods at once, except those that start
// and stop nodes: for each node, only one goroutine at a time may call these.
type Cluster struct {
	Dir       string // contains all files of the cluster
	PluginDir string
	Nodes     []*Node
	RootToken string

	options Options
	vault   string
	unseal  string
}

// Start starts a Vault whose nodes have raft storage. It initialises and unseals it, enables an audit device that hashes
// secrets, which is the default, and registers the plugins. The caller must close the cluster.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	options.Nodes = max(options.Nodes, 1)
	if options.LogLevel == "" {
		options.LogLevel = "trace"
	}
	vault, err := VaultBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pagero-acceptance-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // Vault resolves links, too
		return nil, err
	}
	c := &Cluster{Dir: dir, PluginDir: filepath.Join(dir, "plugins"), options: options, vault: vault}
	if err := c.start(ctx); err != nil {
		err = fmt.Errorf("starting Vault: %w\n%s", err, c.LogTail(30))
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// start starts and sets up the nodes.
func (c *Cluster) start(ctx context.Context) error {
	if err := c.installPlugins(); err != nil {
		return err
	}
	first, err := c.addNode(ctx, 0)
	if err != nil {
		return err
	}
	if err := c.initialise(ctx); err != nil {
		return err
	}
	if err := first.Unseal(ctx); err != nil {
		return err
	}
	if c.options.Nodes > 1 {
		if err := c.join(ctx); err != nil {
			return err
		}
	}
	active, err := c.Active(ctx)
	if err != nil {
		return err
	}
	if !c.options.NoAudit {
		if err := active.enableAudit(ctx); err != nil {
			return err
		}
	}
	for _, p := range c.options.Plugins {
		if err := active.Register(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// installPlugins installs the plugins in the plugin directory.
func (c *Cluster) installPlugins() error {
	if err := os.MkdirAll(c.PluginDir, 0o700); err != nil {
		return err
	}
	for _, p := range c.options.Plugins {
		if err := c.InstallPlugin(p.Path, cmp.Or(p.Command, p.Name)); err != nil {
			return err
		}
	}
	return nil
}

// InstallPlugin installs a binary in the plugin directory under this name.
func (c *Cluster) InstallPlugin(binary, name string) error {
	return linkOrCopy(binary, filepath.Join(c.PluginDir, name))
}

// addNode configures and starts node i. All nodes except the first one join the first one.
func (c *Cluster) addNode(ctx context.Context, i int) (*Node, error) {
	address, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	clusterAddress, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("node%d", i)
	node := &Node{Name: name, Address: "http://" + address, cluster: c, dir: filepath.Join(c.Dir, name)}
	if err := os.MkdirAll(filepath.Join(node.dir, "raft"), 0o700); err != nil {
		return nil, err
	}
	if err := node.writeConfig(address, clusterAddress); err != nil {
		return nil, err
	}
	c.Nodes = append(c.Nodes, node)
	return node, node.Start(ctx)
}

// initialise creates the keys. One share is enough here.
func (c *Cluster) initialise(ctx context.Context) error {
	answer, err := c.Nodes[0].Client().Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("operator init: %w", err)
	}
	c.RootToken, c.unseal = answer.RootToken, answer.KeysB64[0]
	return nil
}

// join starts the other nodes and waits until all of them are voters. A node without a vote cannot take over from the active
// node.
func (c *Cluster) join(ctx context.Context) error {
	client := c.Nodes[0].Client()
	_, err := client.Logical().WriteWithContext(ctx, "sys/storage/raft/autopilot/configuration",
		map[string]any{"server_stabilization_time": "1s"})
	if err != nil {
		return err
	}
	for i := 1; i < c.options.Nodes; i++ {
		node, err := c.addNode(ctx, i)
		if err != nil {
			return err
		}
		if err := node.Unseal(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return Until(ctx, "every node to have a vote", func(ctx context.Context) (bool, error) {
		state, err := client.Sys().RaftAutopilotStateWithContext(ctx)
		return err == nil && state != nil && len(state.Voters) == c.options.Nodes, err
	})
}

// Active waits for an active node and returns it. A frozen node does not count.
func (c *Cluster) Active(ctx context.Context) (*Node, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var active *Node
	err := Until(ctx, "an active node", func(ctx context.Context) (bool, error) {
		var errs []error
		for _, node := range c.Nodes {
			if !node.Running() || node.Frozen() {
				continue
			}
			health, err := node.health(ctx)
			if err == nil && health.active() {
				active = node
				return true, nil
			}
			errs = append(errs, err)
		}
		return false, errors.Join(errs...)
	})
	return active, err
}

// Agreed waits until all running nodes are unsealed and name the same active node, and returns that node. Frozen nodes do not
// count. Before that, a node may not know yet that it is no longer active.
func (c *Cluster) Agreed(ctx context.Context) (*Node, error) {
	var active *Node
	err := Until(ctx, "all nodes to agree on the active one", func(ctx context.Context) (bool, error) {
		active = nil
		leader := ""
		for _, node := range c.Nodes {
			if !node.Running() || node.Frozen() {
				continue
			}
			health, err := node.health(ctx)
			if err != nil {
				return false, err
			}
			says := health.Leader
			if health.active() {
				active, says = node, node.Address
			}
			if says == "" || leader != "" && says != leader {
				return false, fmt.Errorf("%s says that %q is active, another node says %q", node.Name, says, leader)
			}
			leader = says
		}
		return active != nil, nil
	})
	return active, err
}

// Close stops every node and removes the files. It fails, and keeps the files, if a node does not end, or if a plugin reported
// a data race or outlived its Vault.
func (c *Cluster) Close() error {
	if err := c.stop(); err != nil {
		return fmt.Errorf("%w\nVault's log and data are kept in %s", err, c.Dir)
	}
	return os.RemoveAll(c.Dir)
}

// CloseKeepingFiles is Close, but keeps all files, for finding out what went wrong.
func (c *Cluster) CloseKeepingFiles() error {
	return c.stop()
}

// stop ends all processes, and checks for leftover plugins and data races.
func (c *Cluster) stop() error {
	var errs []error
	for _, node := range c.Nodes {
		if node.Running() {
			errs = append(errs, node.Stop(context.Background()))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	leftovers, err := killLeftovers(ctx, c.PluginDir)
	if leftovers > 0 && !c.killedVault() {
		err = errors.Join(err, fmt.Errorf("%d plugin processes outlived their Vault", leftovers))
	}
	return errors.Join(append(errs, err, c.findRaces())...)
}

// killedVault reports whether a node was killed. Such a node could not end its plugins.
func (c *Cluster) killedVault() bool {
	for _, node := range c.Nodes {
		if node.killed.Load() {
			return true
		}
	}
	return false
}
