package oauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
)

// AuthMethod is the way in which a client authenticates at the token endpoint. Its
// values are registered names (RFC 7591, "token_endpoint_auth_method").
type AuthMethod string

// The methods of RFC 6749, section 2.3.1.
const (
	AuthBasic AuthMethod = "client_secret_basic" // HTTP Basic
	AuthPost  AuthMethod = "client_secret_post"  // members of the form
)

// Client is what a request needs to know about an OAuth client.
type Client struct {
	ID         string
	Secret     Secret
	AuthMethod AuthMethod // one fixed method; the other is never tried
	TokenURL   string
	RevokeURL  string // for Revoke only
	CACert     []byte // PEM; replaces the system's roots unless it is empty
}

// form is an application/x-www-form-urlencoded body. Its members keep their order,
// so that a request can be compared byte for byte with the documentation.
type form []member

type member struct {
	name, value string
	secret      bool // no piece of value may be shown
}

func (f *form) add(name, value string) {
	*f = append(*f, member{name: name, value: value})
}

func (f *form) addSecret(name string, value Secret) {
	*f = append(*f, member{name: name, value: value.Reveal(), secret: true})
}

func (f form) encode() []byte {
	var b bytes.Buffer
	for i, member := range f {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(member.name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(member.value))
	}
	return b.Bytes()
}

// request builds a POST of a form to one of the client's endpoints, with the
// client's authentication. GetBody stays nil, so that net/http never sends the
// request again.
func (c *Client) request(ctx context.Context, endpoint string, f form, userAgent string) (*http.Request, error) {
	members := slices.Clone(f)
	if c.AuthMethod == AuthPost {
		members.add("client_id", c.ID)
		members.addSecret("client_secret", c.Secret)
	}
	body := members.encode()

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.ContentLength = int64(len(body))
	req.Header.Set("Accept", "application/json")
	// Without this header a server may compress (RFC 9110, section 12.5.3).
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", userAgent)
	if c.AuthMethod != AuthPost {
		req.Header.Set("Authorization", "Basic "+c.basicAuth())
	}
	return req, nil
}

// basicAuth returns the credentials of HTTP Basic. Id and secret are form-encoded
// before base64 (RFC 6749, section 2.3.1).
func (c *Client) basicAuth() string {
	pair := url.QueryEscape(c.ID) + ":" + url.QueryEscape(c.Secret.Reveal())
	return base64.StdEncoding.EncodeToString([]byte(pair))
}
