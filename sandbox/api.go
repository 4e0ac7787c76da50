package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
)

// document is an entry of the protected API's list.
type document struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Status string `json:"status"`
}

// handleDocuments is the protected API. It answers with a list of documents if
// the request has an access token of this sandbox (RFC 6750 sections 2.1 and 3).
func (s *Server) handleDocuments(a *answer, r *http.Request, c *call) {
	if r.Method != http.MethodGet {
		c.result = "method_not_allowed"
		a.Header().Set("Allow", http.MethodGet)
		writeJSON(a, http.StatusMethodNotAllowed, map[string]string{"error": c.result})
		return
	}
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		c.result = "no_token"
		a.Header().Set("WWW-Authenticate", `Bearer realm="sandbox"`)
		writeJSON(a, http.StatusUnauthorized, map[string]string{"error": "unauthorized"})
		return
	}
	claims, err := s.tokens.verify(strings.TrimSpace(token))
	if err != nil || s.cfg.EndAccessTokens && !s.grants.hasNewestAccessToken(claims.GrantID, claims.ID) {
		c.result = "invalid_token"
		a.Header().Set("WWW-Authenticate",
			`Bearer realm="sandbox", error="invalid_token", error_description="The access token has ended or was not issued here"`)
		writeJSON(a, http.StatusUnauthorized, map[string]string{"error": c.result})
		return
	}
	c.result, c.clientID, c.username = resultOK, claims.ClientID, claims.Subject
	writeJSON(a, http.StatusOK, map[string]any{
		"account": claims.Subject,
		"documents": []document{
			{ID: "DOC-1001", Type: "Invoice", Status: "Delivered"},
			{ID: "DOC-1002", Type: "CreditNote", Status: "InTransit"},
		},
	})
}

// handleMetadata describes the server to clients (RFC 8414).
func (s *Server) handleMetadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                         s.URL(),
		"authorization_endpoint":                         s.AuthorizeURL(),
		"token_endpoint":                                 s.TokenURL(),
		"revocation_endpoint":                            s.RevokeURL(),
		"jwks_uri":                                       s.URL() + PathJWKS,
		"scopes_supported":                               []string{"all", "openid"},
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query", "form_post"},
		"grant_types_supported":                          []string{GrantAuthorizationCode, GrantRefreshToken, GrantPassword},
		"token_endpoint_auth_methods_supported":          []string{AuthBasic, AuthPost},
		"revocation_endpoint_auth_methods_supported":     []string{AuthBasic, AuthPost},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": !s.cfg.OmitIssuer,
	})
}

// handleJWKS publishes the key that verifies the tokens (RFC 7517 section 5).
func (s *Server) handleJWKS(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"keys": []any{s.tokens.public}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding the answer failed", http.StatusInternalServerError)
		return
	}
	noStore(w.Header())
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}
