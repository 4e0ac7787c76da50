package sandbox

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

func TestTheRequestLogForgetsTheOldest(t *testing.T) {
	const extra = 3
	requests := newRequestLog()
	for i := range requestLogSize + extra {
		requests.add(&call{endpoint: EndpointToken}, httptest.NewRequest(http.MethodPost, PathToken, nil), []byte(strconv.Itoa(i)))
	}
	requests.add(&call{endpoint: EndpointAPI}, httptest.NewRequest(http.MethodGet, PathDocuments, nil), nil)
	list := requests.list(EndpointToken)
	if len(list) != requestLogSize {
		t.Fatalf("%d requests are remembered, want %d", len(list), requestLogSize)
	}
	for i, request := range list {
		if want := strconv.Itoa(i + extra); string(request.Body) != want {
			t.Fatalf("request %d is number %s, want %s", i, request.Body, want)
		}
	}
}
