package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// asCommand is the variable that makes the test binary run the command, for tests with signals.
const asCommand = "PAGERO_SANDBOX_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// runWith runs a command with an input and returns its exit code and output.
func runWith(t *testing.T, input string, args ...string) (code int, out, errOut string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code = run(ctx, args, streams{in: strings.NewReader(input), out: &stdout, err: &stderr})
	return code, stdout.String(), stderr.String()
}

// startServe starts the command in a process of its own and waits until it is ready.
func startServe(t *testing.T, args ...string) (*exec.Cmd, io.WriteCloser, ready) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var line ready
	if err := json.NewDecoder(stdout).Decode(&line); err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	return cmd, stdin, line
}

func TestServeLoginAndCall(t *testing.T) {
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	cmd, _, line := startServe(t, "--ca-file", caFile, "--faults")
	ca, err := os.ReadFile(caFile)
	if err != nil || string(ca) != line.CA || line.CAFile != caFile || line.PID != cmd.Process.Pid {
		t.Fatalf("the ready line does not fit: %v", err)
	}
	reach := []string{"--url", line.URL, "--ca-file", caFile}

	for _, user := range []string{"alice", "bob"} {
		code, out, errOut := runWith(t, "", append([]string{"login", "--username", user}, reach...)...)
		if code != exitOK || !strings.HasPrefix(out, "_1XBPWQQ_") || strings.Count(out, "\n") != 1 {
			t.Errorf("login of %s: exit code %d, output %q, %s", user, code, out, errOut)
		}
	}
	code, out, errOut := runWith(t, "", append([]string{"login", "--password", "wrong"}, reach...)...)
	if code != exitError || out != "" || !strings.Contains(errOut, "invalid_grant") {
		t.Errorf("login with a wrong password: exit code %d, output %q, %s", code, out, errOut)
	}
	code, out, _ = runWith(t, "no token\n", append([]string{"call", "--token", "-"}, reach...)...)
	if code != exitError || !strings.HasPrefix(out, "HTTP 401\n") {
		t.Errorf("call with a bad token: exit code %d, output %q", code, out)
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestCallWithAGoodToken(t *testing.T) {
	srv, err := sandbox.Start(sandbox.Config{Faults: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	// The command prints no access token, so the fault sends it as the refresh token.
	if _, err := srv.SetFault(sandbox.Fault{
		Action: sandbox.ActionBody, When: sandbox.FaultAfter, Body: `{"refresh_token":"{{access_token}}"}`,
	}); err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, srv.CACertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	reach := []string{"--url", srv.URL(), "--ca-file", caFile}
	_, token, _ := runWith(t, "", append([]string{"login"}, reach...)...)
	code, out, errOut := runWith(t, token, append([]string{"call", "--token", "-"}, reach...)...)
	if code != exitOK || !strings.HasPrefix(out, "HTTP 200\n{") {
		t.Errorf("token from the input: exit code %d, output %q, %s", code, out, errOut)
	}
	code, out, errOut = runWith(t, "", append([]string{"call", "--token", strings.TrimSpace(token)}, reach...)...)
	if code != exitOK || !strings.HasPrefix(out, "HTTP 200\n{") {
		t.Errorf("token from the flag: exit code %d, output %q, %s", code, out, errOut)
	}
}

func TestServeEndsWithItsInput(t *testing.T) {
	cmd, stdin, _ := startServe(t, "--exit-with-stdin")
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestServeWritesTheReadyFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ready.json")
	code, out, errOut := runWith(t, "", "serve", "--ready-file", name, "--exit-with-stdin")
	if code != exitOK || out != "" {
		t.Errorf("exit code %d, output %q, %s", code, out, errOut)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var line ready
	if err := json.Unmarshal(content, &line); err != nil || !strings.HasPrefix(line.URL, "https://127.0.0.1:") {
		t.Errorf("ready file %q: %v", content, err)
	}
}

func TestBadUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
	}{
		{nil, exitUsage},
		{[]string{"dance"}, exitUsage},
		{[]string{"serve", "--unknown"}, exitUsage},
		{[]string{"serve", "extra"}, exitUsage},
		{[]string{"serve", "--addr", "0.0.0.0:0"}, exitError},
		{[]string{"serve", "--replay", "forget"}, exitError},
		{[]string{"serve", "--replay-grace", "-1s"}, exitError},
		{[]string{"login", "--ca-file", "/nonexistent"}, exitError},
		{[]string{"help"}, exitOK},
		{[]string{"serve", "-h"}, exitOK},
	} {
		if code, _, _ := runWith(t, "", test.args...); code != test.code {
			t.Errorf("%q: exit code %d, want %d", test.args, code, test.code)
		}
	}
}

func TestVisitLogsInAndPrintsTheLastPage(t *testing.T) {
	srv, err := sandbox.Start(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.FormValue("code") == "" {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprintf(w, "<h1>Back</h1><p>%s%s</p>", r.FormValue("state"), r.FormValue("error"))
	}))
	t.Cleanup(back.Close)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, srv.CACertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	address := srv.AuthorizeURL() + "?" + url.Values{
		"response_type": {"code"}, "client_id": {sandbox.DefaultClientID}, "state": {"the-state"},
		"redirect_uri": {back.URL + "/v1/pagero/callback"},
	}.Encode()
	for _, test := range []struct {
		args  []string
		code  int
		out   string
		fails string
	}{
		{[]string{address}, exitOK, "Back\nthe-state\n", ""},
		{[]string{"--username", "bob", address}, exitOK, "Back\nthe-state\n", ""},
		{[]string{"--cancel", address}, exitError, "Back\nthe-stateaccess_denied\n", "status 400"},
		{[]string{"--password", "wrong", address}, exitError, "", "password is wrong"},
		{nil, exitUsage, "", "argument is missing"},
		{[]string{address, "more"}, exitUsage, "", "unexpected argument"},
	} {
		code, out, errOut := runWith(t, "", append([]string{"visit", "--ca-file", caFile}, test.args...)...)
		if code != test.code || out != test.out || !strings.Contains(errOut, test.fails) {
			t.Errorf("%q: exit code %d, output %q, %s", test.args, code, out, errOut)
		}
	}
}
