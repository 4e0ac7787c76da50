package sandbox_test

import (
	"os/exec"
	"sync"
	"testing"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/sandbox"
)

func TestAPausedServerGetsItsPortBackWhileProcessesStart(t *testing.T) {
	srv := start(t, sandbox.Config{})
	stop := make(chan struct{})
	var children sync.WaitGroup
	for range 4 {
		children.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = exec.CommandContext(t.Context(), "true").Run()
				}
			}
		})
	}
	for range 500 {
		if err := srv.Pause(); err != nil {
			t.Error(err)
		}
		if err := srv.Resume(); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	children.Wait()
}
