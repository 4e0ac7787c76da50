package mutate

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"regexp"
	"strings"
)

// The parser knows no wildcards, so they become identifiers with these prefixes.
const (
	onePrefix  = "__one_"
	listPrefix = "__list_"
)

var (
	oneWildcard  = regexp.MustCompile(`\$(\w+)`)
	listWildcard = regexp.MustCompile(`\$\$(\w*)`)
)

var (
	exprType = reflect.TypeFor[ast.Expr]()
	stmtType = reflect.TypeFor[ast.Stmt]()
	posType  = reflect.TypeFor[token.Pos]()
)

// parseExpr returns the expression that a pattern is.
func parseExpr(source string) (reflect.Value, error) {
	expr, err := parser.ParseExprFrom(token.NewFileSet(), "", withoutDollars(source), parser.SkipObjectResolution)
	if err != nil {
		return reflect.Value{}, err
	}
	return reflect.ValueOf(expr), nil
}

// parseList returns the statements, clauses or elements that a pattern is, as an
// []ast.Stmt or an []ast.Expr.
func parseList(source string) (reflect.Value, error) {
	source = withoutDollars(source)
	body, err := parseBody(source)
	if err != nil {
		// A clause is not a statement. The parser takes it only inside a switch.
		inSwitch, clauseErr := parseBody("switch {\n" + source + "\n}")
		if clauseErr != nil {
			return reflect.Value{}, err
		}
		return reflect.ValueOf(inSwitch[0].(*ast.SwitchStmt).Body.List), nil
	}
	if len(body) == 1 {
		// To the parser "Count: 1" is a statement with a label.
		if labeled, ok := body[0].(*ast.LabeledStmt); ok {
			if value, ok := labeled.Stmt.(*ast.ExprStmt); ok {
				return reflect.ValueOf([]ast.Expr{&ast.KeyValueExpr{Key: labeled.Label, Colon: labeled.Colon, Value: value.X}}), nil
			}
		}
	}
	return reflect.ValueOf(body), nil
}

func parseBody(source string) ([]ast.Stmt, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p; func _() {\n"+source+"\n}", parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if len(file.Decls) != 1 {
		return nil, errors.New("a pattern ends the function around it")
	}
	return file.Decls[0].(*ast.FuncDecl).Body.List, nil
}

func withoutDollars(source string) string {
	source = listWildcard.ReplaceAllString(source, listPrefix+"$1")
	return oneWildcard.ReplaceAllString(source, onePrefix+"$1")
}

// wildcard returns the name of a wildcard with the prefix, if a node is one.
func wildcard(prefix string, node reflect.Value) (name string, ok bool) {
	node = concrete(node)
	if !node.IsValid() || !node.CanInterface() {
		return "", false
	}
	switch n := node.Interface().(type) {
	case *ast.Ident:
		if n != nil {
			return strings.CutPrefix(n.Name, prefix)
		}
	case *ast.ExprStmt:
		if n != nil {
			return wildcard(prefix, reflect.ValueOf(n.X))
		}
	}
	return "", false
}

// concrete returns the content of an interface, without parentheses around it.
func concrete(node reflect.Value) reflect.Value {
	for node.IsValid() {
		if node.Kind() == reflect.Interface {
			node = node.Elem()
			continue
		}
		paren, ok := node.Interface().(*ast.ParenExpr)
		if !ok {
			break
		}
		node = reflect.ValueOf(paren.X)
	}
	return node
}

// bindings hold what the wildcards of a pattern have matched: a node or a slice of nodes.
type bindings map[string]reflect.Value

// node reports whether a part of a syntax tree matches a part of a pattern. After a
// mismatch the bindings are incomplete and must not be used.
func (b bindings) node(pattern, node reflect.Value) bool {
	pattern, node = concrete(pattern), concrete(node)
	if !pattern.IsValid() || !node.IsValid() {
		return pattern.IsValid() == node.IsValid()
	}
	if name, ok := wildcard(onePrefix, pattern); ok {
		kind := exprType
		if pattern.Type().Implements(stmtType) {
			kind = stmtType
		}
		return node.Type().Implements(kind) && b.bind(name, node)
	}
	if pattern.Type() != node.Type() {
		return false
	}
	if pattern.Type() == posType {
		// Positions do not count, but some tokens are there only if they have a position,
		// such as the dots in f(x...).
		return pattern.Interface().(token.Pos).IsValid() == node.Interface().(token.Pos).IsValid()
	}
	switch pattern.Kind() {
	case reflect.Pointer:
		if pattern.IsNil() || node.IsNil() {
			return pattern.IsNil() == node.IsNil()
		}
		return b.node(pattern.Elem(), node.Elem())
	case reflect.Struct:
		for i := range pattern.NumField() {
			if !b.node(pattern.Field(i), node.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		return b.list(pattern, node)
	default:
		return pattern.Equal(node)
	}
}

// list reports whether a whole list of nodes matches a list of patterns.
func (b bindings) list(pattern, nodes reflect.Value) bool {
	if pattern.Len() == 0 {
		return nodes.Len() == 0
	}
	name, ok := wildcard(listPrefix, pattern.Index(0))
	if !ok {
		return nodes.Len() > 0 && b.node(pattern.Index(0), nodes.Index(0)) && b.list(rest(pattern, 1), rest(nodes, 1))
	}
	for n := range nodes.Len() + 1 {
		attempt := maps.Clone(b)
		if attempt.bind(name, nodes.Slice(0, n)) && attempt.list(rest(pattern, 1), rest(nodes, n)) {
			maps.Copy(b, attempt)
			return true
		}
	}
	return false
}

func rest(list reflect.Value, from int) reflect.Value { return list.Slice(from, list.Len()) }

// run reports whether nodes in a row match the pattern, from the one with the index from
// up to the one before the index end.
func run(pattern, nodes reflect.Value, from int) (b bindings, end int, ok bool) {
	if _, ok := wildcard(listPrefix, pattern.Index(0)); ok && from > 0 {
		return nil, 0, false // the wildcard takes everything before the rest of the pattern
	}
	shortest := from
	if _, ok := wildcard(listPrefix, pattern.Index(pattern.Len()-1)); ok {
		shortest = nodes.Len()
	}
	for end := shortest; end <= nodes.Len(); end++ {
		b := bindings{}
		if b.list(pattern, nodes.Slice(from, end)) {
			return b, end, true
		}
	}
	return nil, 0, false
}

// bind notes what a wildcard has matched. It returns false if the same wildcard has
// matched something else before.
func (b bindings) bind(name string, node reflect.Value) bool {
	if name == "_" || name == "" {
		return true
	}
	if before, ok := b[name]; ok {
		return bindings{}.node(before, node)
	}
	b[name] = node
	return true
}

// fill returns a copy of a part of a replacement, with the code that the wildcards stand
// for. Everything in it gets the position at, because the printer breaks lines by positions,
// and those of a replacement belong to another file.
func (b bindings) fill(part reflect.Value, at token.Pos) (reflect.Value, error) {
	switch {
	case part.Type() == posType && part.Interface().(token.Pos).IsValid():
		return reflect.ValueOf(at), nil
	case part.Kind() == reflect.Interface && !part.IsNil():
		return b.fill(part.Elem(), at)
	case part.Kind() == reflect.Pointer && !part.IsNil():
		return b.fillNode(part, at)
	case part.Kind() == reflect.Struct:
		filled := reflect.New(part.Type()).Elem()
		for i := range part.NumField() {
			content, err := b.fill(part.Field(i), at)
			if err != nil {
				return part, err
			}
			if err := set(filled.Field(i), content); err != nil {
				return part, err
			}
		}
		return filled, nil
	case part.Kind() == reflect.Slice && !part.IsNil():
		return b.fillList(part, at)
	default:
		return part, nil
	}
}

// fillNode is fill for a node, which may be a wildcard.
func (b bindings) fillNode(node reflect.Value, at token.Pos) (reflect.Value, error) {
	if name, ok := wildcard(onePrefix, node); ok {
		bound, ok := b[name]
		if !ok {
			return node, fmt.Errorf("the pattern has no $%s", name)
		}
		// An expression that stands alone stays in its statement.
		if !node.Type().Implements(stmtType) || bound.Type().Implements(stmtType) {
			return bindings{}.fill(bound, at)
		}
	}
	content, err := b.fill(node.Elem(), at)
	if err != nil {
		return node, err
	}
	filled := reflect.New(node.Type().Elem())
	filled.Elem().Set(content)
	return filled, nil
}

// fillList is fill for a list of nodes, which may have wildcards for lists.
func (b bindings) fillList(list reflect.Value, at token.Pos) (reflect.Value, error) {
	filled := reflect.MakeSlice(list.Type(), 0, list.Len())
	for _, part := range list.Seq2() {
		if name, ok := wildcard(listPrefix, part); ok {
			bound, ok := b[name]
			if !ok {
				return list, fmt.Errorf("the pattern has no $$%s", name)
			}
			if bound.Type() != list.Type() {
				return list, fmt.Errorf("$$%s is %s here, but %s is needed", name, bound.Type(), list.Type())
			}
			content, err := bindings{}.fill(bound, at)
			if err != nil {
				return list, err
			}
			filled = reflect.AppendSlice(filled, content)
			continue
		}
		content, err := b.fill(part, at)
		if err != nil {
			return list, err
		}
		element := reflect.New(list.Type().Elem()).Elem()
		if err := set(element, content); err != nil {
			return list, err
		}
		filled = reflect.Append(filled, element)
	}
	return filled, nil
}

// set puts a node into its place. Not every node fits everywhere: an identifier behind a
// dot, for instance, cannot become a call.
func set(place, node reflect.Value) error {
	if !node.Type().AssignableTo(place.Type()) {
		return fmt.Errorf("a wildcard is %s here, but %s is needed", node.Type(), place.Type())
	}
	place.Set(node)
	return nil
}
