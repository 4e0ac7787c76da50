package harness

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// watchdog is a shell that waits for the end of its standard input, which comes when this process
// dies however it dies (a test that ran into its time limit runs no clean-up), and then runs a
// script.
type watchdog struct {
	cmd   *exec.Cmd
	stdin *os.File // closed by the system when this process dies
}

// startWatchdog starts a watchdog with a script of one line.
func startWatchdog(script string) (*watchdog, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	w := &watchdog{cmd: exec.Command("sh", "-c", "cat >/dev/null; "+script), stdin: write} //nolint:noctx // it outlives any context
	w.cmd.Stdin = read
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	if err := w.cmd.Start(); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return w, nil
}

// dismiss ends the watchdog without its script. Only the first call counts.
func (w *watchdog) dismiss() {
	if w == nil || w.stdin == nil {
		return
	}
	_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL) // the shell and its cat
	_ = w.cmd.Wait()
	_ = w.stdin.Close()
	w.stdin = nil
}
