package backend

import (
	"net"
	"net/url"
	"regexp"
	"strings"
)

// numberPattern is the last label of a name that browsers and some resolvers take for an
// address, such as 127.1 or 0x7f000001.
var numberPattern = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)$`)

var hostNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// normalizeHostPattern checks an entry of allowed_hosts: a host name, an IP
// address, or *.domain.
func normalizeHostPattern(pattern string) (string, error) {
	normal := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(pattern), "."))
	if ip := net.ParseIP(strings.Trim(normal, "[]")); ip != nil {
		return ip.String(), nil
	}
	if name := strings.TrimPrefix(normal, "*."); !isHostName(name) {
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

// isHostName reports whether a name in lower case is a host's. Only ASCII counts: what
// looks like a dot or a slash in another script may be one to a browser or a proxy.
func isHostName(name string) bool {
	return hostNamePattern.MatchString(name) && !numberPattern.MatchString(name)
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
	case net.ParseIP(u.Hostname()) == nil && !isHostName(strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))):
		return nil, invalid("%s must have a host name of ASCII letters, digits, hyphens and full stops (an international name in its xn-- form), or an IP address", field)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, invalid("%s must be https (http only for this machine's own addresses)", field)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}
