package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server process that ends when this test process ends. It leads its own process group. Its children are in the
// group, too, so a signal can be sent to exactly these processes.
type process struct {
	cmd      *exec.Cmd
	watchdog *exec.Cmd
	stdin    *os.File // of the watchdog; the system closes it when this process ends
	exited   chan struct{}
	err      error // the result of Wait; may be read after exited is closed
}

// startProcess starts a program. Its output is appended to logPath.
func startProcess(logPath string, env []string, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// There is no context on purpose: end and endGroup end the server in an orderly way.
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{})} //nolint:noctx // see above
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = log, log, env
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.guard(); err != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// guard starts the watchdog: a shell that ends the server, even a frozen one, as soon as its standard input is closed. That
// happens whenever this process ends. A test that exceeds its time limit does not clean up, and Ctrl-C does not reach
// another process group.
func (p *process) guard() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	script := fmt.Sprintf("cat >/dev/null; kill -TERM %[1]d; kill -s CONT -- -%[1]d", p.cmd.Process.Pid)
	p.watchdog = exec.Command("sh", "-c", script) //nolint:noctx // it outlives any context
	p.watchdog.Stdin = read
	p.watchdog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not reach it
	p.stdin = write
	return p.watchdog.Start()
}

// dismiss ends the watchdog, before the server's process ID can belong to another process.
func (p *process) dismiss() {
	if p.watchdog == nil {
		return
	}
	_ = syscall.Kill(-p.watchdog.Process.Pid, syscall.SIGKILL) // the shell and its cat
	_ = p.watchdog.Wait()
	_ = p.stdin.Close()
	p.watchdog = nil
}

// running reports whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// dumpTimeout bounds how long a hanging process may take to dump its goroutines.
const dumpTimeout = 20 * time.Second

// end sends a signal and waits until the process ends. If ctx ends first, it kills the process and returns an error.
func (p *process) end(ctx context.Context, signal os.Signal) error {
	p.dismiss()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.wait(ctx, signal)
}

// endGroup is end with a signal to the whole process group, as terminals and some service managers send it.
func (p *process) endGroup(ctx context.Context, signal syscall.Signal) error {
	p.dismiss()
	if err := p.signalGroup(signal); err != nil {
		return err
	}
	return p.wait(ctx, signal)
}

// signalGroup sends a signal to the process and its children.
func (p *process) signalGroup(signal syscall.Signal) error {
	return syscall.Kill(-p.cmd.Process.Pid, signal)
}

// wait waits until the process ends. If ctx ends first, it kills the process and returns an error. It sends SIGQUIT first, so
// that Go's runtime writes all goroutines to the log.
func (p *process) wait(ctx context.Context, signal os.Signal) error {
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-p.exited:
		case <-time.After(dumpTimeout):
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
		return fmt.Errorf("process %d did not end on %s and was killed: %w", p.cmd.Process.Pid, signal, ctx.Err())
	}
}

// Process is a process of the system.
type Process struct {
	PID, Parent int
	Command     string // the command line
}

// Server returns the node's Vault process, which must run.
func (n *Node) Server() Process {
	return Process{PID: n.process.Load().cmd.Process.Pid, Command: n.cluster.vault}
}

// findProcesses returns the processes whose command line contains a file in dir.
func findProcesses(ctx context.Context, dir string) ([]Process, error) {
	all, err := ListProcesses(ctx)
	var found []Process
	for _, p := range all {
		if at := strings.Index(p.Command, dir+string(filepath.Separator)); at >= 0 {
			p.Command = p.Command[at:]
			found = append(found, p)
		}
	}
	return found, err
}

// Gone waits until none of the processes runs any more. They need not be children of this process.
func Gone(ctx context.Context, processes ...Process) error {
	for _, p := range processes {
		program, _, _ := strings.Cut(p.Command, " ")
		err := Until(ctx, fmt.Sprintf("process %d, %s, to end", p.PID, filepath.Base(program)), func(ctx context.Context) (bool, error) {
			running, err := findProcesses(ctx, filepath.Dir(program))
			return !slices.ContainsFunc(running, func(r Process) bool { return r.PID == p.PID }), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// killLeftovers waits a moment for the processes of programs in dir to end, kills those that do not, and returns how many it
// killed.
func killLeftovers(ctx context.Context, dir string) (int, error) {
	moment, cancel := context.WithTimeout(ctx, 20*time.Second) // a busy machine needs so long
	defer cancel()
	gone := func(ctx context.Context) (bool, error) {
		left, err := findProcesses(ctx, dir)
		return len(left) == 0, err
	}
	if Until(moment, "the plugin processes to end", gone) == nil {
		return 0, nil
	}
	left, err := findProcesses(ctx, dir)
	if err != nil {
		return 0, err
	}
	for _, p := range left {
		if err := p.Kill(); err != nil && !errors.Is(err, syscall.ESRCH) {
			return len(left), err
		}
	}
	return len(left), Until(ctx, "the killed plugin processes to end", gone)
}

// Kill ends the process with SIGKILL, like a crash.
func (p Process) Kill() error { return p.Signal(syscall.SIGKILL) }

// Signal sends the process a signal.
func (p Process) Signal(signal syscall.Signal) error { return syscall.Kill(p.PID, signal) }

// ResidentMemory returns the process's resident memory, in bytes.
func (p Process) ResidentMemory(ctx context.Context) (int64, error) {
	var kib string
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err == nil {
		_, kib, _ = strings.Cut(string(status), "VmRSS:")
		kib, _, _ = strings.Cut(kib, "kB")
	} else { // see ListProcesses
		out, err := exec.CommandContext(ctx, "ps", "-p", strconv.Itoa(p.PID), "-o", "rss=").Output()
		if err != nil {
			return 0, fmt.Errorf("ps: %w", err)
		}
		kib = string(out)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(kib), 10, 64)
	return n << 10, err
}
