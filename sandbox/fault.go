package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrFaultsOff says that the sandbox was not started with Config.Faults.
var ErrFaultsOff = errors.New("faults are off: the sandbox was started without them")

// FaultTime is when a fault strikes.
type FaultTime string

const (
	// FaultBefore strikes before the request is processed: no token is spent.
	FaultBefore FaultTime = "before"
	// FaultAfter strikes between the processing and the answer: the token is
	// spent, and the client does not learn it.
	FaultAfter FaultTime = "after"
)

// FaultAction is what a fault does.
type FaultAction string

const (
	// ActionNone does nothing except for the delay, if there is one.
	ActionNone FaultAction = ""
	// ActionHold holds the request until the fault is cleared. Then it goes on as usual.
	ActionHold FaultAction = "hold"
	// ActionDrop closes the connection with a FIN, without an answer.
	ActionDrop FaultAction = "drop"
	// ActionReset closes the connection with an RST.
	ActionReset FaultAction = "reset"
	// ActionHang sends nothing until the client goes away, the fault is cleared or
	// the server closes. Then it closes the connection.
	ActionHang FaultAction = "hang"
	// ActionTruncate sends the headers with the full Content-Length and only the
	// first Bytes bytes of the body. Then it closes the connection.
	ActionTruncate FaultAction = "truncate"
	// ActionStatus answers with Status, Headers and Body.
	ActionStatus FaultAction = "status"
	// ActionBody sends Body instead of the right body. Status and headers are the
	// right ones if the request was processed.
	ActionBody FaultAction = "body"
	// ActionAlter sends the right answer, with Status, Headers and Members changed. It
	// needs FaultAfter. Without any change it sends the right answer as it is, for
	// Encoding, HeaderBytes and DateSkew.
	ActionAlter FaultAction = "alter"
)

// Encoding is how a body is compressed, although the client does not ask for it.
type Encoding string

const (
	// EncodingNone does not compress.
	EncodingNone Encoding = ""
	// EncodingGzip compresses with gzip (RFC 1952).
	EncodingGzip Encoding = "gzip"
	// EncodingDeflate compresses with deflate in the zlib format (RFC 1950), which
	// HTTP means by "deflate".
	EncodingDeflate Encoding = "deflate"
	// EncodingRawDeflate compresses with deflate alone (RFC 1951) and calls it
	// "deflate", as some servers do.
	EncodingRawDeflate Encoding = "raw-deflate"
)

// Placeholders in Fault.Body for the issued tokens.
const (
	PlaceholderAccessToken  = "{{access_token}}"
	PlaceholderRefreshToken = "{{refresh_token}}"
)

// Fault is a failure on demand.
type Fault struct {
	Endpoint Endpoint  // default EndpointToken
	When     FaultTime // default FaultBefore
	// Count is the number of requests that it applies to; 0 means all until it is
	// cleared.
	Count int
	// Lasts ends the fault when that time has passed since it was set; 0 means never.
	Lasts time.Duration
	// Result restricts it to requests with this result, such as "ok" or
	// "invalid_grant". The result is known once the request has been processed, so
	// this needs FaultAfter, and no fault without a Result must strike before.
	Result string
	// User and GrantType restrict it to requests that concern a grant of this user
	// and have this grant type; empty means any.
	User      string
	GrantType string

	// Delay passes before the action. The request goes on even if its client goes
	// away meanwhile.
	Delay time.Duration
	// Jitter is the most by which the delay is longer or shorter, at random.
	Jitter  time.Duration
	Action  FaultAction
	Bytes   int               // for ActionTruncate
	Status  int               // for ActionStatus; instead of the right one for the others that send an answer
	Body    string            // for ActionStatus and ActionBody; instead of the right one for ActionTruncate
	Headers map[string]string // replace other headers of the same name; an empty value removes one
	Members map[string]any    // for ActionAlter, of a JSON body; nil removes one

	// For ActionStatus, ActionBody and ActionAlter. Encoding names itself in
	// Content-Encoding, which Headers can remove.
	Encoding    Encoding
	HeaderBytes int           // of cookies in front of the body
	DateSkew    time.Duration // of the header Date
}

// sendsWholeAnswer reports whether the action sends an answer that is not cut.
func (f *Fault) sendsWholeAnswer() bool {
	return f.Action == ActionStatus || f.Action == ActionBody || f.Action == ActionAlter
}

// validate fills in the defaults and returns an error if the fault is not valid.
func (f *Fault) validate() error {
	if f.Endpoint == "" {
		f.Endpoint = EndpointToken
	}
	if f.When == "" {
		f.When = FaultBefore
	}
	endpoints := []Endpoint{EndpointToken, EndpointAuthorize, EndpointRevoke, EndpointAPI}
	actions := []FaultAction{
		ActionNone, ActionHold, ActionDrop, ActionReset, ActionHang,
		ActionTruncate, ActionStatus, ActionBody, ActionAlter,
	}
	placeholders := strings.Contains(f.Body, PlaceholderAccessToken) || strings.Contains(f.Body, PlaceholderRefreshToken)
	switch {
	case !slices.Contains(endpoints, f.Endpoint):
		return fmt.Errorf("endpoint %q is not known", f.Endpoint)
	case f.When != FaultBefore && f.When != FaultAfter:
		return fmt.Errorf("when is %q, neither %q nor %q", f.When, FaultBefore, FaultAfter)
	case !slices.Contains(actions, f.Action):
		return fmt.Errorf("action %q is not known", f.Action)
	case f.Count < 0 || f.Lasts < 0 || f.Delay < 0 || f.Bytes < 0 || f.HeaderBytes < 0:
		return errors.New("counts, times and sizes must not be negative")
	case f.Jitter < 0 || f.Jitter > f.Delay:
		return errors.New("jitter must be between 0 and the delay")
	case f.Action == ActionStatus && f.Status == 0:
		return errors.New("action status needs a status")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not between 200 and 599", f.Status)
	case placeholders && (f.When != FaultAfter || f.Endpoint != EndpointToken):
		return errors.New("placeholders need the tokens of a processed token request: when=after, endpoint=token")
	}
	return f.validateAnswer()
}

// validateAnswer checks how the right answer is changed or dressed.
func (f *Fault) validateAnswer() error {
	encodings := []Encoding{EncodingNone, EncodingGzip, EncodingDeflate, EncodingRawDeflate}
	dressed := f.Encoding != EncodingNone || f.HeaderBytes > 0 || f.DateSkew != 0
	switch {
	case f.Result != "" && f.When != FaultAfter:
		return errors.New("a result is known only after the processing: when=after")
	case f.Action == ActionAlter && f.When != FaultAfter:
		return errors.New("action alter needs the right answer: when=after")
	case len(f.Members) > 0 && f.Action != ActionAlter:
		return errors.New("members need action alter")
	case !slices.Contains(encodings, f.Encoding):
		return fmt.Errorf("encoding %q is not known", f.Encoding)
	case dressed && !f.sendsWholeAnswer():
		return errors.New("encoding, header_bytes and date_skew need action status, body or alter")
	}
	if _, err := json.Marshal(f.Members); err != nil {
		return fmt.Errorf("members: %w", err)
	}
	return nil
}
