package mutate

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"reflect"
	"slices"
)

// Mutation is what to change, place by place.
type Mutation []place

// place is a function and the edits in its body, in their order.
type place struct {
	function string
	edits    []Edit
}

// Edit changes what matches its pattern. The pattern must match exactly once in the
// function.
type Edit struct {
	action        action
	pattern, with string
	all           bool
}

type action int

const (
	replacing action = iota
	addingBefore
	addingAfter
)

// In names a function and the edits in it. Functions are named as in Decide, methods as
// in Account.Remaining, whether the receiver is a pointer or not.
func In(function string, edits ...Edit) Mutation { return Mutation{{function, edits}} }

// Together makes one mutation of several.
func Together(mutations ...Mutation) Mutation { return slices.Concat(mutations...) }

// Replace replaces what matches. If pattern and replacement are both expressions, the
// pattern is looked for among all expressions. Otherwise it is looked for among the
// statements, clauses or elements.
func Replace(pattern, with string) Edit { return Edit{action: replacing, pattern: pattern, with: with} }

// Remove removes statements, clauses or elements. An expression is removed only if it is
// a statement, such as a call.
func Remove(pattern string) Edit { return Edit{action: replacing, pattern: pattern} }

// InsertBefore inserts statements, clauses or elements before those that match.
func InsertBefore(pattern, what string) Edit {
	return Edit{action: addingBefore, pattern: pattern, with: what}
}

// InsertAfter inserts statements, clauses or elements after those that match.
func InsertAfter(pattern, what string) Edit {
	return Edit{action: addingAfter, pattern: pattern, with: what}
}

// All makes an edit change every match, however many there are, but at least one. A
// match within another match is not changed.
func All(e Edit) Edit {
	e.all = true
	return e
}

// match is a part of a function that matches a pattern: an expression in its place, or
// the nodes of a list from one index up to another.
type match struct {
	place    reflect.Value
	from, to int // of a list
	bound    bindings
}

func (m match) isList() bool { return m.place.Kind() == reflect.Slice }

// first is the node at which the match begins.
func (m match) first() ast.Node {
	if m.isList() {
		return m.place.Index(m.from).Interface().(ast.Node)
	}
	return m.place.Interface().(ast.Node)
}

// apply changes the body of a function.
func (e Edit) apply(body *ast.BlockStmt, fset *token.FileSet) error {
	pattern, with, err := e.parse()
	if err != nil {
		return err
	}
	matches := find(pattern, body)
	if e.all {
		matches = outermost(matches)
	}
	if len(matches) == 0 || len(matches) > 1 && !e.all {
		lines := ""
		for _, m := range matches {
			lines += fmt.Sprintf(", line %d", fset.Position(m.first().Pos()).Line)
		}
		return fmt.Errorf("the pattern matches %d times%s: %s", len(matches), lines, e.pattern)
	}
	for _, m := range slices.Backward(matches) { // the last one first, so that the indexes of the others stay right
		if err := e.applyTo(m, with); err != nil {
			return fmt.Errorf("%w: %s", err, e.with)
		}
	}
	return nil
}

// parse returns the pattern and its replacement, both an expression or both a list.
func (e Edit) parse() (pattern, with reflect.Value, err error) {
	if e.action == replacing && e.with != "" {
		expr, patternErr := parseExpr(e.pattern)
		with, withErr := parseExpr(e.with)
		if patternErr == nil && withErr == nil {
			return expr, with, nil
		}
	}
	if pattern, err = parseList(e.pattern); err != nil {
		return pattern, with, fmt.Errorf("%w: %s", err, e.pattern)
	}
	if pattern.Len() == 0 {
		return pattern, with, errors.New("the pattern is empty")
	}
	if e.with == "" {
		return pattern, reflect.MakeSlice(pattern.Type(), 0, 0), nil
	}
	if with, err = parseList(e.with); err != nil {
		return pattern, with, fmt.Errorf("%w: %s", err, e.with)
	}
	if with.Type() != pattern.Type() {
		return pattern, with, fmt.Errorf("either both or none must be an element of a composite literal: %s, %s", e.pattern, e.with)
	}
	return pattern, with, nil
}

func (e Edit) applyTo(m match, with reflect.Value) error {
	filled, err := m.bound.fill(with, m.first().Pos())
	if err != nil {
		return err
	}
	if !m.isList() {
		return set(m.place, filled)
	}
	matched := m.place.Slice(m.from, m.to)
	switch e.action {
	case addingBefore:
		filled = reflect.AppendSlice(filled, matched)
	case addingAfter:
		filled = reflect.AppendSlice(matched.Slice3(0, matched.Len(), matched.Len()), filled)
	}
	list := reflect.MakeSlice(m.place.Type(), 0, m.place.Len())
	list = reflect.AppendSlice(list, m.place.Slice(0, m.from))
	list = reflect.AppendSlice(list, filled)
	list = reflect.AppendSlice(list, rest(m.place, m.to))
	m.place.Set(list)
	return nil
}

// find returns all matches in the body of a function, outer ones before inner ones.
func find(pattern reflect.Value, body *ast.BlockStmt) []match {
	var found []match
	visit(reflect.ValueOf(body), func(v reflect.Value) {
		if pattern.Kind() == reflect.Slice {
			if v.Type() != pattern.Type() {
				return
			}
			for from := range v.Len() {
				if b, end, ok := run(pattern, v, from); ok {
					found = append(found, match{v, from, end, b})
				}
			}
			return
		}
		if !v.Type().Implements(exprType) || v.IsNil() {
			return
		}
		if _, ok := v.Interface().(*ast.ParenExpr); ok {
			return // the expression in the parentheses is visited, too
		}
		if b := (bindings{}); b.node(pattern, v) {
			found = append(found, match{place: v, bound: b})
		}
	})
	return found
}

// visit calls f for each part of a node that can be replaced.
func visit(v reflect.Value, f func(reflect.Value)) {
	if v.CanSet() {
		f(v)
	}
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			visit(v.Elem(), f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			visit(v.Field(i), f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			visit(v.Index(i), f)
		}
	}
}

// outermost drops each match that begins inside another match.
func outermost(matches []match) []match {
	taken := map[ast.Node]bool{}
	var kept []match
	for _, m := range matches {
		if taken[m.first()] {
			continue
		}
		kept = append(kept, m)
		take := func(n ast.Node) bool { taken[n] = true; return true }
		if !m.isList() {
			ast.Inspect(m.first(), take)
			continue
		}
		for i := m.from; i < m.to; i++ {
			ast.Inspect(m.place.Index(i).Interface().(ast.Node), take)
		}
	}
	return kept
}
