package backend

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// check refuses a request with a name that nothing can have, and one with fields that
// its path does not have or cannot read. It runs before the framework does the same,
// because the framework's errors repeat values. It returns the request without the
// fields that its operation ignores, and the names of those that a warning must name.
//
// It leaves to the framework what is refused whatever the fields are.
func (b *backend) check(req *logical.Request) (checked *logical.Request, ignored []string, err error) {
	path := b.Route(req.Path)
	if path == nil {
		return req, nil, nil
	}
	op, ok := path.Operations[req.Operation].(*builtOperation)
	if !ok {
		return req, nil, nil
	}
	if err := checkName(path, req.Path); err != nil {
		return nil, nil, err
	}
	known, unknown := splitFields(req.Data, path.Fields)
	if len(unknown) > 0 && op.unknown == refuseUnknown {
		return nil, nil, invalid("unknown field %s; this path knows: %s", showNames(unknown), fieldNames(path.Fields))
	}
	if err := checkTypes(known, path.Fields); err != nil {
		return nil, nil, err
	}
	if len(unknown) == 0 {
		return req, nil, nil
	}
	without := *req
	without.Data = known
	if op.unknown == ignoreUnknown {
		unknown = nil
	}
	return &without, unknown, nil
}

// warnOf adds a warning to a response that names fields which were ignored, if there are
// any.
func warnOf(ignored []string, schema map[string]*framework.FieldSchema, resp *logical.Response) *logical.Response {
	if len(ignored) > 0 && resp != nil {
		resp.AddWarning(fmt.Sprintf("unknown parameters are ignored: %s; this path knows: %s", showNames(ignored), fieldNames(schema)))
	}
	return resp
}

func fieldNames(schema map[string]*framework.FieldSchema) string {
	return strings.Join(slices.Sorted(maps.Keys(schema)), ", ")
}

// splitFields returns the fields of a request that a schema has, and the names of the
// others, in order.
func splitFields(data map[string]any, schema map[string]*framework.FieldSchema) (known map[string]any, unknown []string) {
	for field := range data {
		if schema[field] == nil {
			unknown = append(unknown, field)
		}
	}
	if len(unknown) == 0 {
		return data, nil
	}
	slices.Sort(unknown)
	known = maps.Clone(data)
	for _, field := range unknown {
		delete(known, field)
	}
	return known, unknown
}

// checkTypes refuses a value that its field cannot hold, and names the field only.
func checkTypes(data map[string]any, schema map[string]*framework.FieldSchema) error {
	if len(data) == 0 {
		return nil
	}
	decoder := framework.FieldData{Raw: data, Schema: schema}
	for _, field := range slices.Sorted(maps.Keys(data)) {
		if field == fieldName { // the name in the path replaces it
			continue
		}
		kind := schema[field].Type
		_, _, err := decoder.GetOkErr(field)
		if err != nil || !plainValue(kind, data[field]) {
			return invalid("%s must be %s", field, expected(kind))
		}
	}
	return nil
}

// plainValue refuses what the framework would make a string of: a bool, or the items of
// a list.
func plainValue(kind framework.FieldType, value any) bool {
	switch value := value.(type) {
	case nil, string, json.Number:
		return true
	case []any:
		return kind != framework.TypeString && !slices.ContainsFunc(value, func(item any) bool { return !isText(item) })
	case bool, map[string]any:
		return kind != framework.TypeString && kind != framework.TypeCommaStringSlice
	default: // a request within this process, as in tests
		return kind != framework.TypeString
	}
}

func isText(value any) bool {
	switch value.(type) {
	case string, json.Number:
		return true
	default:
		return false
	}
}

// expected says in words what a field holds.
func expected(kind framework.FieldType) string {
	switch kind {
	case framework.TypeString:
		return "a string"
	case framework.TypeBool:
		return "true or false"
	case framework.TypeInt:
		return "a whole number"
	case framework.TypeDurationSecond:
		return "a duration that is not negative, such as 90s"
	case framework.TypeCommaStringSlice:
		return "a list of strings, or a string with commas between them"
	case framework.TypeMap, framework.TypeKVPairs:
		return "a map of strings"
	default:
		return "of type " + kind.String()
	}
}

const maxShownNames = 5

var shownName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,32}$`)

// showNames returns the names of fields that a request has and its path has not, for a
// message. A secret may have got into the place of a name, so names that are long or
// have unusual characters are left out.
func showNames(names []string) string {
	var shown []string
	for _, name := range names {
		if shownName.MatchString(name) && len(shown) < maxShownNames {
			shown = append(shown, fmt.Sprintf("%q", name))
		}
	}
	text, more := strings.Join(shown, ", "), len(names)-len(shown)
	switch {
	case len(shown) == 0:
		return fmt.Sprintf("(%d, not shown here because no field is named like that)", more)
	case more > 0:
		return text + " (and " + strconv.Itoa(more) + " more)"
	default:
		return text
	}
}
