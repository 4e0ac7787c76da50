// Package mutate breaks Go code on purpose, for tests that have to notice it. It works on
// the syntax tree. A place is found by the name of its function and a pattern, so that a
// mutation survives a function that moves to another file, and most changes around the
// place:
//
//	mutate.In("Account.Remaining", mutate.Replace("$x.Before($y)", "$x.After($y)"))
//	mutate.In("Run", mutate.Remove("defer $_.Unlock()"))
//
// # Patterns
//
// A pattern is Go source. White space, comments and parentheses do not count when it is
// compared with the code. A pattern is one of these:
//
//   - an expression: x.Before(until)
//   - statements that follow each other, separated by newlines or semicolons
//   - clauses of a switch, with their bodies: case a, b: f()
//   - an element of a composite literal, with its key: Count: 1
//
// A wildcard stands for any code in its place:
//
//   - $x, with any name, is one expression. If it stands alone as a statement, it is one
//     statement. If a pattern has $x twice, both must be the same code.
//   - $$x is any number of statements, arguments or elements, or none. It takes as few as
//     possible, but at the start or the end of a pattern it takes all that the block or
//     list has before or after the rest of the pattern.
//   - $_ and $$ have no name. Each of them stands for something of its own.
//
// What a pattern leaves out must be missing in the code, too: "if $c { $$ }" matches
// neither an if with an else nor one with a statement before its condition, which is
// "if $_; $c { $$ }". Some code cannot be found by itself, only as part of a larger
// statement: a clause of a select, an "else if", the statement before the condition of an if.
//
// The replacement is Go source of the same kind. In it, $x and $$x stand for the code that
// the wildcard of that name has matched.
package mutate
