package oauth

import (
	"fmt"
	"strings"
	"testing"
)

// pageroAnswer is of the size of Pagero's: the access token is a JWT.
var pageroAnswer = fmt.Sprintf(
	`{"access_token":"%s","refresh_token":"%s","token_type":"Bearer","expires_in":600,"scope":"","claims":"sub client_id"}`,
	strings.Repeat("a", 900), strings.Repeat("r", 43))

func BenchmarkParseAnswer(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		a := readAnswer(strings.NewReader(pageroAnswer))
		if !a.grants() || !a.complete {
			b.Fatalf("%+v", a)
		}
	}
}

func BenchmarkParseRejection(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		a := readAnswer(strings.NewReader(`{"error":"invalid_grant","error_description":"unknown, invalid, or expired refresh token"}`))
		if a.code() != CodeInvalidGrant {
			b.Fatalf("%+v", a)
		}
	}
}
