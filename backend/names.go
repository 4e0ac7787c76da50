package backend

import (
	"regexp"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
)

// maxNameBytes keeps the keys of entries below the limits of all storages of Vault.
const maxNameBytes = 256

var (
	accountNamePattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.@:+-]*[A-Za-z0-9_])?$`)
	clientNamePattern  = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)
)

// checkAccountName refuses what is no name of an account. Names are parts of storage
// keys, in which Vault refuses two full stops in a row.
func checkAccountName(name string) error {
	if !isAccountName(name) {
		return invalid("the name of an account may have letters (A to Z, a to z), digits and _, and between them - . @ : and +, but no two full stops in a row, and at most 256 bytes")
	}
	return nil
}

// checkClientName refuses what is no name of a client.
func checkClientName(name string) error {
	if !isClientName(name) {
		return invalid("the name of a client may have letters (A to Z, a to z), digits and _, and between them - and ., but no two full stops in a row, and at most 256 bytes")
	}
	return nil
}

func isAccountName(name string) bool { return accountNamePattern.MatchString(name) && fitsKey(name) }

func isClientName(name string) bool { return clientNamePattern.MatchString(name) && fitsKey(name) }

func fitsKey(name string) bool { return len(name) <= maxNameBytes && !strings.Contains(name, "..") }

// named returns the pattern of the paths of things with names. It takes every name, so
// that check can say what is wrong with one. The framework would answer "unsupported
// path".
func named(prefix string) string { return prefix + "(?P<" + fieldName + ">(?s:.+))" }

// checkName refuses a name in a path that nothing can have.
func checkName(path *framework.Path, request string) error {
	if path.Fields[fieldName] == nil {
		return nil
	}
	if name, ok := strings.CutPrefix(request, clientsPrefix); ok {
		return checkClientName(name)
	}
	_, name, _ := strings.Cut(request, "/")
	return checkAccountName(name)
}
