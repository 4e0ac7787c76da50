package sandbox_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestFaultsAreOffByDefault(t *testing.T) {
	srv := start(t, sandbox.Config{})
	if _, err := srv.SetFault(sandbox.Fault{}); !errors.Is(err, sandbox.ErrFaultsOff) {
		t.Errorf("error %v, want ErrFaultsOff", err)
	}
	c := client(t, srv)
	for _, path := range []string{sandbox.PathFaults, sandbox.PathRequests, sandbox.PathStats} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			r, err := http.NewRequestWithContext(testContext(t), method, srv.URL()+path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: HTTP %d, want 404", method, path, answer.StatusCode)
			}
		}
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	srv := start(t, sandbox.Config{Faults: true})
	c := client(t, srv)
	control := func(method, path, body string, wantStatus int, into any) {
		t.Helper()
		r, err := http.NewRequestWithContext(testContext(t), method, srv.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != wantStatus {
			t.Fatalf("%s %s %s: HTTP %d, want %d", method, path, body, answer.StatusCode, wantStatus)
		}
		if into != nil {
			if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, bad := range []string{``, `[]`, `{"unknown":1}`, `{"delay":"soon"}`, `{"delay":"1s","jitter":"2s"}`, `{"action":"explode"}`, `{"preset":"none"}`, `{"for":1}`} {
		control(http.MethodPost, sandbox.PathFaults, bad, http.StatusBadRequest, nil)
	}
	control(http.MethodPost, sandbox.PathFaults,
		`{"count":1,"delay":"1ms","jitter":"1ms","action":"status","status":503,"headers":{"Retry-After":"1"},"body":"{}"}`, http.StatusCreated, nil)
	token := login(t, srv, "alice")
	if got := refresh(t, srv, token); got.status != 503 || got.header.Get("Retry-After") != "1" {
		t.Errorf("HTTP %d, headers %v", got.status, got.header)
	}

	var faults []struct {
		ID     int    `json:"id"`
		Hits   int    `json:"hits"`
		Delay  string `json:"delay"`
		Jitter string `json:"jitter"`
	}
	control(http.MethodGet, sandbox.PathFaults, "", http.StatusOK, &faults)
	if len(faults) != 1 || faults[0].ID != 1 || faults[0].Hits != 1 || faults[0].Delay != "1ms" || faults[0].Jitter != "1ms" {
		t.Errorf("faults: %+v", faults)
	}
	var requests []struct {
		Body      string    `json:"body"`
		Processed time.Time `json:"processed"`
		Status    int       `json:"status"`
	}
	control(http.MethodGet, sandbox.PathRequests, "", http.StatusOK, &requests)
	if len(requests) != 1 || requests[0].Status != 503 || !strings.Contains(requests[0].Body, token) || !requests[0].Processed.IsZero() {
		t.Errorf("requests: %+v", requests)
	}
	newest := mustRefresh(t, srv, token).Refresh
	control(http.MethodGet, sandbox.PathRequests, "", http.StatusOK, &requests)
	if len(requests) != 2 || requests[1].Processed.IsZero() {
		t.Errorf("requests: %+v", requests)
	}
	var stats sandbox.Stats
	control(http.MethodGet, sandbox.PathStats, "", http.StatusOK, &stats)
	if stats.Presented[sandbox.TokenHash(token)] != 2 {
		t.Errorf("stats: %+v", stats)
	}
	control(http.MethodPost, sandbox.PathFaults, `{"preset":"token-type","count":1,"for":"1h","members":{"scope":"all"}}`, http.StatusCreated, nil)
	if got := mustRefresh(t, srv, newest); got.Type != "jwt-bearer" || got.Scope != "all" {
		t.Errorf("with a preset: token_type %q, scope %q", got.Type, got.Scope)
	}
	control(http.MethodDelete, sandbox.PathFaults, "", http.StatusNoContent, nil)
	control(http.MethodGet, sandbox.PathFaults, "", http.StatusOK, &faults)
	if len(faults) != 0 {
		t.Errorf("after the deletion: %+v", faults)
	}
}
