package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 1 << 20 // bytes
)

// target is the sandbox that a command talks to.
type target struct{ url, caFile string }

func (t *target) register(flags *flag.FlagSet) {
	flags.StringVar(&t.url, "url", "", "base `URL` of the sandbox (required)")
	registerCAFile(flags, &t.caFile)
}

func registerCAFile(flags *flag.FlagSet, name *string) {
	flags.StringVar(name, "ca-file", "", "`file` with the sandbox's certificate authority (required)")
}

// newClient returns a client that trusts only the certificate authority in the
// file.
func newClient(caFile string) (*http.Client, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
		Timeout:   requestTimeout,
	}, nil
}

// do sends a request and returns the answer's status and body.
func (t *target) do(r *http.Request) (status int, body []byte, err error) {
	client, err := newClient(t.caFile)
	if err != nil {
		return 0, nil, err
	}
	defer client.CloseIdleConnections()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return answer.StatusCode, body, err
}

// login runs the password grant (RFC 6749 section 4.3) and prints only the refresh
// token.
func login(ctx context.Context, args []string, std streams) error {
	var (
		to                                     target
		flags                                  = newFlags("login", std)
		clientID, clientSecret, user, password string
	)
	to.register(flags)
	flags.StringVar(&clientID, "client-id", sandbox.DefaultClientID, "OAuth client `id`")
	flags.StringVar(&clientSecret, "client-secret", sandbox.DefaultClientSecret, "OAuth client `secret`")
	flags.StringVar(&user, "username", sandbox.DefaultUsername, "user `name`")
	flags.StringVar(&password, "password", "", "the user's `password` (default: the one that the sandbox gives this user)")
	if err := parse(flags, args); err != nil {
		return err
	}
	if password == "" {
		password = defaultPassword(user)
	}
	form := url.Values{"grant_type": {sandbox.GrantPassword}, "username": {user}, "password": {password}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url+sandbox.PathToken, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(clientSecret))
	status, body, err := to.do(request)
	if err != nil {
		return err
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
		Error        string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("HTTP %d, and the answer is not JSON", status)
	}
	if status != http.StatusOK || answer.RefreshToken == "" {
		return fmt.Errorf("HTTP %d, error %q", status, answer.Error)
	}
	_, err = fmt.Fprintln(std.out, answer.RefreshToken)
	return err
}

// defaultPassword returns the password of one of the default users, or "" for
// another name.
func defaultPassword(username string) string {
	for _, user := range sandbox.DefaultUsers() {
		if user.Username == username {
			return user.Password
		}
	}
	return ""
}

// call requests the documents of the protected API and prints the status and the
// body. It fails if the status is not 200.
func call(ctx context.Context, args []string, std streams) error {
	var (
		to    target
		flags = newFlags("call", std)
		token string
	)
	to.register(flags)
	flags.StringVar(&token, "token", "-", `access `+"`token`"+`; "-" reads it from the standard input`)
	if err := parse(flags, args); err != nil {
		return err
	}
	if token == "-" {
		input, err := io.ReadAll(io.LimitReader(std.in, maxAnswer))
		if err != nil {
			return fmt.Errorf("reading the token: %w", err)
		}
		token = strings.TrimSpace(string(input))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to.url+sandbox.PathDocuments, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	status, body, err := to.do(request)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(std.out, "HTTP %d\n%s\n", status, body); err != nil {
		return err
	}
	if status != http.StatusOK {
		return errors.New("the API refused the call")
	}
	return nil
}
