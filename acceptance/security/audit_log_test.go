package security

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/internal/fixture"
	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// texts adds all texts in a JSON value to a map, by their position.
func texts(where string, value any, into map[string]string) {
	switch v := value.(type) {
	case string:
		into[where] = v
	case map[string]any:
		for key, member := range v {
			texts(where+"."+key, member, into)
		}
	case []any:
		for i, member := range v {
			texts(fmt.Sprintf("%s[%d]", where, i), member, into)
		}
	}
}

// TestTheAuditLogShowsNamesAndNoTexts shows what a reader of the audit log learns: names in paths, field names, numbers, and
// the query of a GET. Every text in a body or in an answer is an HMAC.
func TestTheAuditLogShowsNamesAndNoTexts(t *testing.T) {
	t.Parallel()
	f := fixture.NewEnrolled(t)
	f.Read("token/acme?min_ttl=3m")
	f.Write("token/acme", fixture.Fields{"min_ttl": "4m"})
	f.Write("accounts/acme", fixture.Fields{"spare_refresh_token": f.Login("carol")})
	for _, path := range []string{"accounts/acme", "accounts?list=true", "clients/default", "config", "status", "metrics"} {
		f.Read(path)
	}
	f.Do(http.MethodPost, "refresh/nobody", nil).WantStatus(http.StatusNotFound)
	f.Do(http.MethodDelete, "accounts/acme?revoke=false", nil).WantStatus(http.StatusNoContent)

	content, err := os.ReadFile(f.Node.AuditLog())
	fixture.Must(t, err)
	hashed, names, queries, failures := 0, 0, 0, 0
	for line := range bytes.Lines(content) {
		var entry struct {
			Error   string `json:"error"`
			Request struct {
				Path string `json:"path"`
				URI  string `json:"request_uri"`
				Data any    `json:"data"`
			} `json:"request"`
			Response struct {
				Data any `json:"data"`
			} `json:"response"`
		}
		fixture.Must(t, json.Unmarshal(line, &entry))
		if !strings.HasPrefix(entry.Request.Path, f.Mount+"/") {
			continue
		}
		if strings.HasSuffix(entry.Request.Path, "/acme") {
			names++
		}
		if strings.Contains(entry.Request.URI, "min_ttl=3m") || strings.Contains(entry.Request.URI, "revoke=false") {
			queries++
		}
		if strings.Contains(entry.Error, `account "nobody": does not exist`) {
			failures++
		}
		found := map[string]string{}
		texts("request", entry.Request.Data, found)
		texts("response", entry.Response.Data, found)
		for where, text := range found {
			if !strings.HasPrefix(text, "hmac-sha256:") {
				t.Errorf("%s: %s is %q", entry.Request.Path, where, text)
			}
			hashed++
		}
	}
	t.Logf("%d texts are HMACs; %d entries name acme; %d have a query in clear text", hashed, names, queries)
	if hashed < 30 || names < 10 {
		t.Errorf("only %d HMACs and %d names were seen", hashed, names)
	}
	if queries == 0 || failures == 0 {
		t.Error("no query, or no error, is in clear text: the documents say otherwise")
	}
}

// TestTheStorageShowsNamesAndNoSecrets reads the files of Vault's storage, as a thief would. Vault encrypts the entries, but
// not their keys, which contain the names.
func TestTheStorageShowsNamesAndNoSecrets(t *testing.T) {
	t.Parallel()
	f := fixture.NewAt(t, fixture.NewVault(t, 1), "pagero", fixture.LoginConfig())
	f.Write("clients/default", f.LoginClient())
	first := f.Login("alice")
	f.Write("accounts/acme-of-the-storage", fixture.Fields{"refresh_token": first})
	secrets := map[string]string{
		"client secret": sandbox.DefaultClientSecret, "first refresh token": first,
		"access token": f.AccessToken("acme-of-the-storage"),
	}
	newest, err := f.Sandbox.CurrentRefreshToken(first)
	fixture.Must(t, err)
	secrets["newest refresh token"] = newest
	begun := f.Authorize("customer-of-the-storage", nil)
	secrets["state of a login"] = parameter(t, begun, "state")

	named := false
	fixture.Must(t, filepath.WalkDir(filepath.Join(f.Cluster.Dir, f.Node.Name, "raft"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for what := range fixture.Leaks(content, secrets) {
			t.Errorf("%s contains the %s", path, what)
		}
		named = named || bytes.Contains(content, []byte("account/acme-of-the-storage"))
		if bytes.Contains(content, []byte("customer-of-the-storage")) {
			t.Errorf("%s names the account of a pending login", path)
		}
		return err
	}))
	if !named {
		t.Error("no name is in clear text: either the documents are outdated, or these are not the right files")
	}
}
