package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Client is a client of the probe of a plugin.
type Client struct{ http http.Client }

// Dial returns a client for the socket of a plugin.
func Dial(socket string) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // the next request may go to another process of the plugin
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Cost returns what the process of the plugin has used since its start.
func (c *Client) Cost(ctx context.Context) (cost Cost, err error) {
	body, err := c.Get(ctx, "/cost")
	if err == nil {
		err = json.Unmarshal(body, &cost)
	}
	return cost, err
}

// Get returns the answer of the probe to a request for a path.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the probe answered %s to %s: %s", response.Status, path, body)
	}
	return body, err
}
