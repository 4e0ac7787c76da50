package acceptance

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// fields are the members of a request's body.
type fields map[string]any

// answer is Vault's answer to a request.
type answer struct {
	t        *testing.T
	request  string
	status   int
	raw      []byte
	Errors   []string       `json:"errors"`
	Warnings []string       `json:"warnings"`
	Data     map[string]any `json:"data"` // numbers are json.Number
	LeaseID  string         `json:"lease_id"`
	Lease    int            `json:"lease_duration"`
}

// expand puts the mount's path in the place of MOUNT.
func (s *stage) expand(text string) string { return strings.ReplaceAll(text, "MOUNT", s.mount) }

// do sends a request to a path of the mount, once, and returns the answer whatever it is.
func (s *stage) do(method, path string, body fields) answer {
	s.t.Helper()
	a, err := s.try(http.DefaultClient, method, path, body)
	must(s.t, err)
	return a
}

// try is do for other goroutines than the test's own.
func (s *stage) try(client *http.Client, method, path string, body fields) (answer, error) {
	a := answer{t: s.t, request: method + " " + s.mount + "/" + path}
	content := io.Reader(http.NoBody)
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return a, err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(s.ctx, method, s.node.Address+"/v1/"+s.mount+"/"+path, content)
	if err != nil {
		return a, err
	}
	request.Header.Set("X-Vault-Token", s.token)
	response, err := client.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	err = a.decode(response)
	return a, err
}

// decode takes Vault's answer from a response, whose body it reads.
func (a *answer) decode(response *http.Response) error {
	var err error
	a.status = response.StatusCode
	if a.raw, err = io.ReadAll(response.Body); err != nil {
		return err
	}
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") { // a page, or metrics
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(a.raw))
	decoder.UseNumber()
	if err := decoder.Decode(a); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// write sends an update that must succeed.
func (s *stage) write(path string, body fields) answer {
	s.t.Helper()
	a := s.do(http.MethodPost, path, body)
	if a.status != http.StatusOK && a.status != http.StatusNoContent {
		s.t.Fatalf("%s: status %d: %s", a.request, a.status, a.raw)
	}
	return a
}

// read sends a read that must succeed.
func (s *stage) read(path string) answer {
	s.t.Helper()
	a := s.do(http.MethodGet, path, nil)
	a.wantStatus(http.StatusOK)
	return a
}

// wantStatus ends the test when the answer has another status.
func (a answer) wantStatus(want int) {
	a.t.Helper()
	if a.status != want {
		a.t.Fatalf("%s: status %d, want %d: %s", a.request, a.status, want, a.raw)
	}
}

// wantError ends the test when the answer has another status, or when its message lacks one of the
// parts.
func (a answer) wantError(status int, parts ...string) {
	a.t.Helper()
	a.wantStatus(status)
	message := strings.Join(a.Errors, "\n")
	if message == "" {
		a.t.Fatalf("%s: status %d without a message: %s", a.request, a.status, a.raw)
	}
	for _, part := range parts {
		if !strings.Contains(message, part) {
			a.t.Errorf("%s: the message %q does not contain %q", a.request, message, part)
		}
	}
}

// wantWarning asserts that a warning contains the text.
func (a answer) wantWarning(text string) {
	a.t.Helper()
	if !strings.Contains(strings.Join(a.Warnings, "\n"), text) {
		a.t.Errorf("%s: no warning contains %q: %q", a.request, text, a.Warnings)
	}
}

// text returns a member of the data that is a string.
func (a answer) text(name string) string {
	a.t.Helper()
	value, ok := a.Data[name].(string)
	if !ok {
		a.t.Fatalf("%s: %s is %#v, not a string: %s", a.request, name, a.Data[name], a.raw)
	}
	return value
}

// integer returns a member of the data that is a JSON integer.
func (a answer) integer(name string) int64 {
	a.t.Helper()
	number, ok := a.Data[name].(json.Number)
	if !ok {
		a.t.Fatalf("%s: %s is %#v, not a number: %s", a.request, name, a.Data[name], a.raw)
	}
	value, err := number.Int64()
	if err != nil {
		a.t.Fatalf("%s: %s is %s, not an integer", a.request, name, number)
	}
	return value
}
