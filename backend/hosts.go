package backend

import (
	"net"
	"net/url"
	"regexp"
	"strings"
)

var hostNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// normalizeHostPattern checks an entry of allowed_hosts: a host name, an IP
// address, or *.domain.
func normalizeHostPattern(pattern string) (string, error) {
	normal := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(pattern), "."))
	if ip := net.ParseIP(strings.Trim(normal, "[]")); ip != nil {
		return ip.String(), nil
	}
	if name := strings.TrimPrefix(normal, "*."); !hostNamePattern.MatchString(name) {
		return "", invalid("an entry of allowed_hosts is not a host name, an IP address or *.domain (no scheme, no port)")
	}
	return normal, nil
}

// hostAllowed reports whether clients may name a URL's host. *.domain stands for
// every name below the domain, but not for the domain itself.
func hostAllowed(u *url.URL, patterns []string) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if ip := net.ParseIP(host); ip != nil {
		host = ip.String()
	}
	for _, pattern := range patterns {
		if pattern == host {
			return true
		}
		if domain, wild := strings.CutPrefix(pattern, "*"); wild && strings.HasSuffix(host, domain) && len(host) > len(domain) {
			return true
		}
	}
	return false
}

// parseEndpoint checks the URL of an endpoint: https, or http to this machine.
func parseEndpoint(field, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, invalid("%s is not an absolute URL", field)
	}
	switch {
	case u.User != nil:
		return nil, invalid("%s must not contain a user name or password", field)
	case u.Fragment != "":
		return nil, invalid("%s must not have a fragment", field)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, invalid("%s must be https (http only for this machine's own addresses)", field)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}
