package sandbox

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// proxyPage is what a proxy may send instead of an answer.
const proxyPage = "<!DOCTYPE html><html><body><h1>An error has occurred.</h1></body></html>"

// presets are faults that authorization servers, and proxies and gateways in front of
// them, have shown.
var presets = map[string]Fault{
	// The right answer in an unusual form.
	"gzip":          {When: FaultAfter, Action: ActionAlter, Encoding: EncodingGzip},
	"gzip-unnamed":  {When: FaultAfter, Action: ActionAlter, Encoding: EncodingGzip, Headers: map[string]string{"Content-Encoding": ""}},
	"deflate":       {When: FaultAfter, Action: ActionAlter, Encoding: EncodingDeflate},
	"large-headers": {When: FaultAfter, Action: ActionAlter, HeaderBytes: 80 << 10},
	"tokens-in-500": {When: FaultAfter, Action: ActionAlter, Status: http.StatusInternalServerError, Result: resultOK},
	"token-type":    {When: FaultAfter, Action: ActionAlter, Members: map[string]any{"token_type": "jwt-bearer"}, Result: resultOK},
	"date-skew":     {When: FaultAfter, Action: ActionAlter, DateSkew: -time.Hour},

	// The token is spent, and the answer is lost.
	"garble": {
		When: FaultAfter, Action: ActionBody, Status: http.StatusOK, Body: proxyPage,
		Headers: map[string]string{"Content-Type": "text/html"},
	},

	// Other answers to a refresh token that does not work any more.
	"dead-in-200":          deadToken(`{"error":"invalid_grant"}`, http.StatusOK),
	"dead-invalid-request": deadToken(`{"error":"invalid_request","error_description":"session not found"}`, http.StatusBadRequest),
	"dead-access-denied":   deadToken(`{"error":"access_denied","error_description":"The session has ended."}`, http.StatusBadRequest),

	// Refusals before the request is processed.
	"gateway-404": {
		Action: ActionStatus, Status: http.StatusNotFound,
		Body: `{"timestamp":1767225600000,"status":404,"error":"Not Found","path":"/token"}`,
	},
	"unauthorized-client": {Action: ActionStatus, Status: http.StatusUnauthorized, Body: `{"error":"unauthorized_client"}`},
	"rate-limit": {
		Action: ActionStatus, Status: http.StatusBadRequest,
		Body: `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired"}`,
	},
	"retry-after": {
		Action: ActionStatus, Status: http.StatusTooManyRequests, Body: `{"error":"slow_down"}`,
		Headers: map[string]string{"Retry-After": "5"},
	},
}

// deadToken answers a refresh token that does not work any more in another way than
// with status 400 and invalid_grant.
func deadToken(body string, status int) Fault {
	return Fault{
		When: FaultAfter, GrantType: GrantRefreshToken, Result: "invalid_grant",
		Action: ActionStatus, Status: status, Body: body,
	}
}

// Preset returns one of the faults that are listed in the sandbox's README. The caller
// may change it, and sets it with SetFault.
func Preset(name string) (Fault, error) {
	f, ok := presets[name]
	if !ok {
		names := slices.Sorted(maps.Keys(presets))
		return Fault{}, fmt.Errorf("preset %q is not known; there are %s", name, strings.Join(names, ", "))
	}
	f.Headers, f.Members = maps.Clone(f.Headers), maps.Clone(f.Members)
	return f, nil
}
