package backend

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
)

func TestGivenDecodesWhatTheRequestHas(t *testing.T) {
	t.Parallel()
	data := &framework.FieldData{
		Raw: fields{"text": "x", "flag": "true", "duration": "2m", "list": "a,b", "number": 7, "off": false},
		Schema: map[string]*framework.FieldSchema{
			"text": {Type: framework.TypeString}, "flag": {Type: framework.TypeBool}, "off": {Type: framework.TypeBool, Default: true},
			"duration": {Type: framework.TypeDurationSecond}, "list": {Type: framework.TypeCommaStringSlice}, "number": {Type: framework.TypeInt},
			"absent": {Type: framework.TypeString, Default: "the default is not decoded"},
		},
	}
	text, absent := "old", "old"
	flag, off, number, list, duration := false, true, 0, []string(nil), time.Duration(0)
	if !given(data, "text", &text) || !given(data, "flag", &flag) || !given(data, "off", &off) ||
		!given(data, "number", &number) || !given(data, "list", &list) || !given(data, "duration", &duration) {
		t.Error("a field that is given was not found")
	}
	if text != "x" || !flag || off || number != 7 || !slices.Equal(list, []string{"a", "b"}) || duration != 2*time.Minute {
		t.Errorf("%q, %v, %v, %d, %q, %s", text, flag, off, number, list, duration)
	}
	if given(data, "absent", &absent) || absent != "old" {
		t.Errorf("absent: %q", absent)
	}
}

func TestGivenLeavesAnOptionalValueNil(t *testing.T) {
	t.Parallel()
	data := &framework.FieldData{
		Raw: fields{"text": "", "flag": false, "duration": 0},
		Schema: map[string]*framework.FieldSchema{
			"text": {Type: framework.TypeString}, "flag": {Type: framework.TypeBool}, "duration": {Type: framework.TypeDurationSecond},
			"absent": {Type: framework.TypeString},
		},
	}
	var (
		text, absent *string
		flag         *bool
		duration     *time.Duration
	)
	if !given(data, "text", &text) || !given(data, "flag", &flag) || !given(data, "duration", &duration) || given(data, "absent", &absent) {
		t.Error("what is given was reported wrongly")
	}
	if text == nil || *text != "" || flag == nil || *flag || duration == nil || *duration != 0 || absent != nil {
		t.Errorf("%v, %v, %v, %v", text, flag, duration, absent)
	}
}
