package backend

import (
	"net/url"
	"strings"
	"testing"
)

func TestHostPatternsAreNormalized(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ pattern, want string }{
		{"sso.pageroonline.com", "sso.pageroonline.com"},
		{"SSO.PageroOnline.com", "sso.pageroonline.com"},
		{" sso.pageroonline.com ", "sso.pageroonline.com"},
		{"sso.pageroonline.com.", "sso.pageroonline.com"},
		{"*.PageroOnline.com", "*.pageroonline.com"},
		{"localhost", "localhost"},
		{"127.0.0.1", "127.0.0.1"},
		{"::1", "::1"},
		{"[::1]", "::1"},
		{"0:0:0:0:0:0:0:1", "::1"},
		{"2001:DB8::1", "2001:db8::1"},
	} {
		got, err := normalizeHostPattern(test.pattern)
		if err != nil || got != test.want {
			t.Errorf("%q becomes %q (%v), not %q", test.pattern, got, err, test.want)
		}
	}
}

func TestHostPatternsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		"", " ", ".", "*", "*.", "*.*.com", "sso.*.com", "sso*.pageroonline.com", "**.pageroonline.com",
		"https://sso.pageroonline.com", "sso.pageroonline.com:443", "[::1]:8200", "sso.pageroonline.com/path",
		"127.1", "0x7f.1", "2130706433", "user@sso.pageroonline.com", "-a.example", "a-.example", "a..example", ".example", "a b", "a,b", "sso.pägero.com",
	} {
		got, err := normalizeHostPattern(pattern)
		if err == nil {
			t.Errorf("%q is taken for %q", pattern, got)
			continue
		}
		if !strings.Contains(err.Error(), "allowed_hosts") {
			t.Errorf("the error for %q does not name the field: %v", pattern, err)
		}
	}
}

func TestHostsAreAllowedByNameAddressAndDomain(t *testing.T) {
	t.Parallel()
	patterns := []string{"*.pageroonline.com", "exact.example", "127.0.0.1", "::1"}
	for _, test := range []struct {
		url  string
		want bool
	}{
		{"https://sso.pageroonline.com/token", true},
		{"https://SSO.PAGEROONLINE.COM/token", true},
		{"https://sso.pageroonline.com./token", true},
		{"https://sso.pageroonline.com:8443/token", true},
		{"https://a.b.pageroonline.com/token", true},
		{"https://exact.example/token", true},
		{"https://127.0.0.1:9443/token", true},
		{"https://[::1]:9443/token", true},
		{"https://[0:0:0:0:0:0:0:1]/token", true},
		// *.domain is not the domain itself.
		{"https://pageroonline.com/token", false},
		{"https://.pageroonline.com/token", false},
		{"https://evilpageroonline.com/token", false},
		{"https://pageroonline.com.evil.example/token", false},
		{"https://sso.pageroonline.com.evil.example/token", false},
		{"https://sub.exact.example/token", false},
		{"https://exact.example.evil.example/token", false},
		{"https://evil.example/sso.pageroonline.com", false},
		{"https://evil.example?sso.pageroonline.com", false},
		{"https://127.0.0.2/token", false},
		{"https://[::2]/token", false},
		{"https://localhost/token", false},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := hostAllowed(u, patterns); got != test.want {
			t.Errorf("%s: allowed is %v", test.url, got)
		}
	}
}

// endpointsRefused are URLs that no endpoint may have, and a part of the reason.
var endpointsRefused = []struct{ url, reason string }{
	{"", "not an absolute URL"},
	{"token", "not an absolute URL"},
	{"/oauth/v2/oauth-token", "not an absolute URL"},
	{"sso.pageroonline.com/token", "not an absolute URL"},
	{"https://", "not an absolute URL"},
	{"https://:443/token", "not an absolute URL"},
	{"https:sso.pageroonline.com", "not an absolute URL"},
	{"https://sso.pageroonline.com:port/", "not an absolute URL"},
	{"https://sso.pagero\nonline.com/", "not an absolute URL"},
	{"https://%zz/", "not an absolute URL"},
	{"http://sso.pageroonline.com/token", "must be https"},
	{"ftp://sso.pageroonline.com/token", "must be https"},
	{"ftp://localhost/token", "must be https"},
	{"http://192.0.2.1/token", "must be https"},
	{"http://localhost.pageroonline.com/token", "must be https"},
	{"http://127.0.0.1.pageroonline.com/token", "must be https"},
	{"https://user:" + canary + "@sso.pageroonline.com/token", "user name or password"},
	{"https://user@sso.pageroonline.com/token", "user name or password"},
	{"https://sso.pageroonline.com/token#" + canary, "fragment"},
	{"https://evil.com%ef%bc%8f.pageroonline.com/token", "must have a host name of ASCII"}, // a fullwidth slash
	{"https://evil.com\uff0f.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://evil.com\u3002pageroonline.com/token", "must have a host name of ASCII"}, // an ideographic full stop
	{"https://evil.com;.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://evil.com,.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://evil.com'.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://evil.com%26.pageroonline.com/token", "not an absolute URL"},
	{"https://evil.com&.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://evil.com=.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://*.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://p\u00e4gero.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://\u0430.pageroonline.com/token", "must have a host name of ASCII"}, // a Cyrillic letter
	{"https://a\u200b.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://_.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://a..pageroonline.com/token", "must have a host name of ASCII"},
	{"https://.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://-.pageroonline.com/token", "must have a host name of ASCII"},
	{"https://sso.pageroonline.com../token", "must have a host name of ASCII"},
	{"https://127.1/token", "must have a host name of ASCII"},
	{"https://2130706433/token", "must have a host name of ASCII"},
	{"https://0x7f000001/token", "must have a host name of ASCII"},
	{"https://[fe80::1%25eth0]/token", "must have a host name of ASCII"},
}

func TestEndpointsMustBeHTTPSExceptOnThisMachine(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"https://sso.pageroonline.com/oauth/v2/oauth-token", "HTTPS://sso.pageroonline.com", "https://sso.pageroonline.com:8443/x?tenant=1",
		"https://xn--pgero-gra.example/token", "https://sso.pageroonline.com./token", "https://3com.example/token", "https://a1/token", "https://192.0.2.1/token", "https://[2001:db8::1]/token",
		"http://localhost:9000/token", "http://LOCALHOST/token", "http://127.0.0.1/token", "http://127.9.9.9/token", "http://[::1]:9000/token",
	} {
		if _, err := parseEndpoint("token_url", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, test := range endpointsRefused {
		_, err := parseEndpoint("token_url", test.url)
		switch {
		case err == nil:
			t.Errorf("%q is taken", test.url)
		case !strings.Contains(err.Error(), test.reason) || !strings.Contains(err.Error(), "token_url"):
			t.Errorf("%q: %v", test.url, err)
		case strings.Contains(err.Error(), canary):
			t.Errorf("%q: the password is in the error", test.url)
		}
	}
}
