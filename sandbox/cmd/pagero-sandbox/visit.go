package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

// visit does what a person with a browser does at an authorization URL, and
// prints the text of the last page. It fails if that page's status is not 200.
func visit(ctx context.Context, args []string, std streams) error {
	var (
		flags   = newFlags("visit", std)
		caFile  string
		address string
		visitor sandbox.Visitor
	)
	registerCAFile(flags, &caFile)
	flags.StringVar(&visitor.Username, "username", sandbox.DefaultUsername, "user `name`")
	flags.StringVar(&visitor.Password, "password", "", "the user's `password` (default: the one that the sandbox gives this user)")
	flags.BoolVar(&visitor.Cancel, "cancel", false, "press Cancel on the login page")
	if err := parse(flags, args, &address); err != nil {
		return err
	}
	if visitor.Password == "" {
		visitor.Password = defaultPassword(visitor.Username)
	}
	var err error
	if visitor.Client, err = newClient(caFile); err != nil {
		return err
	}
	defer visitor.Client.CloseIdleConnections()
	pages, err := visitor.Visit(ctx, address)
	if err != nil {
		return err
	}
	last := pages[len(pages)-1]
	if _, err := fmt.Fprintln(std.out, last.Text()); err != nil {
		return err
	}
	if last.Status != http.StatusOK {
		return fmt.Errorf("the last page has status %d", last.Status)
	}
	return nil
}
