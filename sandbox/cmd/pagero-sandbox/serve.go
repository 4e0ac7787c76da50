package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// ready is the line that tells a script how to reach the sandbox.
type ready struct {
	URL    string `json:"url"`
	CA     string `json:"ca"` // PEM
	CAFile string `json:"ca_file,omitempty"`
	PID    int    `json:"pid"`
}

// serve runs the sandbox until a signal or the end of ctx. With --exit-with-stdin
// it also ends when the standard input closes.
func serve(ctx context.Context, args []string, std streams) error {
	var (
		cfg           sandbox.Config
		flags         = newFlags("serve", std)
		replay        = string(sandbox.ReplayRevoke)
		accessToken   = string(sandbox.AccessTokenJWT)
		ties          = string(sandbox.TieNone)
		caFile        string
		readyFile     string
		exitWithStdin bool
	)
	flags.StringVar(&cfg.Addr, "addr", sandbox.DefaultAddr, "loopback `address` to listen on; port 0 is any free port")
	flags.DurationVar(&cfg.AccessTokenLifetime, "access-token-lifetime", sandbox.DefaultAccessTokenLifetime, "lifetime of access tokens, in whole seconds")
	flags.StringVar(&replay, "replay", replay, "`mode` for a used refresh token that is presented again: revoke its grant, refuse the token, or grace, which sends the same tokens again for a while")
	flags.DurationVar(&cfg.ReplayGrace, "replay-grace", sandbox.DefaultReplayGrace, "grace period of --replay=grace")
	flags.BoolVar(&cfg.Faults, "faults", false, "open the paths below /sandbox/, which set faults and show requests with their secrets")
	flags.StringVar(&accessToken, "access-token", accessToken, "`form` of access tokens: jwt or opaque")
	flags.BoolVar(&cfg.EndAccessTokens, "end-access-tokens", false, "a refresh ends the access token before, and a revocation the last one")
	flags.StringVar(&ties, "tie-sessions", ties, "`mode` that ties the grants of one browser session together: the use of one makes the others stale, and a stale one is refused (stale-refused) or ends them all (stale-ends-both)")
	flags.BoolVar(&cfg.OmitClaims, "omit-claims", false, `leave "claims" out of token answers`)
	flags.BoolVar(&cfg.OmitIssuer, "omit-issuer", false, `leave "iss" out of authorization answers`)
	flags.StringVar(&caFile, "ca-file", "", "`file` to write the certificate authority to, as PEM")
	flags.StringVar(&readyFile, "ready-file", "", "`file` to write the JSON line to once the sandbox is ready, instead of the standard output")
	flags.BoolVar(&exitWithStdin, "exit-with-stdin", false, "end when the standard input closes")
	cfg.Clients = sandbox.DefaultClients()
	flags.Func("redirect-uri", "another redirect `URI` of the client; may be repeated", func(uri string) error {
		cfg.Clients[0].RedirectURIs = append(cfg.Clients[0].RedirectURIs, uri)
		return nil
	})
	if err := parse(flags, args); err != nil {
		return err
	}
	cfg.Replay, cfg.AccessToken = sandbox.ReplayMode(replay), sandbox.AccessTokenFormat(accessToken)
	cfg.TieSessions = sandbox.TieMode(ties)
	cfg.Logger = slog.New(slog.NewTextHandler(std.err, nil))

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	server, err := sandbox.Start(cfg)
	if err != nil {
		return err
	}
	if err := reportReady(server, caFile, readyFile, std.out); err != nil {
		return errors.Join(err, server.Close())
	}
	var stdinClosed chan struct{}
	if exitWithStdin {
		stdinClosed = make(chan struct{})
		go func() {
			defer close(stdinClosed)
			_, _ = io.Copy(io.Discard, std.in) // an error counts as the end, too
		}()
	}
	select {
	case <-ctx.Done():
	case <-stdinClosed:
	}
	return server.Close()
}

// reportReady writes the certificate authority, then the line that says that the
// sandbox is ready.
func reportReady(server *sandbox.Server, caFile, readyFile string, out io.Writer) error {
	if caFile != "" {
		if err := writeFile(caFile, server.CACertPEM()); err != nil {
			return err
		}
	}
	line, err := json.Marshal(ready{
		URL: server.URL(), CA: string(server.CACertPEM()), CAFile: caFile, PID: os.Getpid(),
	})
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if readyFile != "" {
		return writeFile(readyFile, line)
	}
	_, err = out.Write(line)
	return err
}

// writeFile writes the whole file or nothing: a script that waits for the file must
// not read half of it.
func writeFile(name string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // fails once it is renamed
	if _, err := temporary.Write(content); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := temporary.Chmod(0o644); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), name)
}
