package account

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/backend/internal/oauth"
)

var update = flag.Bool("update", false, "write the golden file of the current stored form anew")

// golden is an account with every field set.
func golden() *Account {
	spare := newGrant(oauth.NewSecret("spare refresh token"), noon)
	return &Account{
		Client: "other", MinTTL: 90 * time.Second, RefreshOnRead: true, AutoRefresh: true,
		Grant: Grant{
			RefreshToken: oauth.NewSecret("refresh token"), FirstTokenHash: "abc", Authorized: noon,
			Intent:     &Intent{ID: "intent", Process: "process", Started: noon, Deadline: noon.Add(20 * time.Second)},
			DoubtSince: noon.Add(-time.Minute),
			Death:      &Death{Time: noon, Code: oauth.CodeInvalidGrant, LostSince: noon.Add(-time.Minute)},
			Used:       noon, Rest: noon.Add(time.Hour),
		},
		Spare: &spare, SpareUsed: true, Retired: []string{"def"},
		Access: &AccessToken{
			Token: oauth.NewSecret("access token"), Scope: "all", Claims: "c", HasClaims: true,
			Issued: noon, Obtained: noon.Add(time.Second), Expires: noon.Add(600 * time.Second),
		},
		Credentials: &Credentials{
			Credentials: oauth.Credentials{Username: "alice", Password: oauth.NewSecret("password")}, LastUsed: noon, Refused: true,
		},
		LastRefresh: noon, RefreshCount: 7,
		Failure:   &Failure{Kind: FailedClient, Code: oauth.CodeInvalidClient, Reason: "reason", Count: 3, NextAttempt: noon.Add(time.Hour), ClientRevision: "r1"},
		LastError: &LastError{Time: noon, Message: "message"},
	}
}

// Entries that an older release wrote stay readable: one golden file a version
// of the stored form, never changed once released.
func TestGoldenFilesAreReadable(t *testing.T) {
	current := filepath.Join("testdata", "account-v1.json")
	if *update {
		var b bytes.Buffer
		if err := json.Indent(&b, encode(golden()), "", "  "); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(current, append(b.Bytes(), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "account-v*.json"))
	if err != nil || len(files) != storedVersion {
		t.Fatalf("%d golden files for %d versions (%v)", len(files), storedVersion, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a, err := decode(b)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got, want := encode(a), encode(golden()); !bytes.Equal(got, want) {
			t.Errorf("%s is read as\n%s\nwant\n%s", file, got, want)
		}
	}
	b, _ := os.ReadFile(current)
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil || !bytes.Equal(compact.Bytes(), encode(golden())) {
		t.Error("the stored form has changed: give it a new version and a golden file of its own")
	}
}

func TestStoredFormKeepsEverythingButUnsaved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAccount(t)
		b, err := decode(encode(&a))
		if err != nil {
			t.Fatal(err)
		}
		if b.Unsaved {
			t.Fatal("Unsaved was stored")
		}
		if got, want := string(encode(b)), string(encode(&a)); got != want {
			t.Fatalf("read as\n%s\nwant\n%s", got, want)
		}
		if a.State() != b.State() || a.SpareState() != b.SpareState() || a.Access.Remaining(noon) != b.Access.Remaining(noon) {
			t.Fatal("an account that was read again is not the same")
		}
	})
}

func TestUnknownVersionsAreRefused(t *testing.T) {
	for entry, want := range map[string]string{
		`{"version":2}`: "has version 2; this plugin reads up to 1", `{}`: "no version", `{"version":-1}`: "no version",
		`[]`: "not readable", `{"version":1,"client":7}`: "not readable",
	} {
		if _, err := decode([]byte(entry)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(golden()))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"grant":{"intent":{}},"access":{},"failure":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decode(b)
		if err != nil {
			if len(b) > 8 && strings.Contains(err.Error(), string(b)) {
				t.Fatalf("the error shows the entry: %v", err)
			}
			return
		}
		again, err := decode(encode(a))
		if err != nil || !bytes.Equal(encode(a), encode(again)) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		Decide(a, Env{Now: noon, Process: "me"}, Ask{})
	})
}
