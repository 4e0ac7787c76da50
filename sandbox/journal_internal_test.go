package sandbox

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

func TestJournalForgetsTheOldest(t *testing.T) {
	const extra = 3
	j := newJournal()
	for i := range journalSize + extra {
		j.add(&call{endpoint: EndpointToken}, httptest.NewRequest(http.MethodPost, PathToken, nil), []byte(strconv.Itoa(i)))
	}
	j.add(&call{endpoint: EndpointAPI}, httptest.NewRequest(http.MethodGet, PathDocuments, nil), nil)
	list := j.list(EndpointToken)
	if len(list) != journalSize {
		t.Fatalf("%d requests are remembered, want %d", len(list), journalSize)
	}
	for i, request := range list {
		if want := strconv.Itoa(i + extra); string(request.Body) != want {
			t.Fatalf("request %d is number %s, want %s", i, request.Body, want)
		}
	}
}
