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

// process is a server process that ends when its owner does. It leads a process group of its own,
// which its children are in, too: a signal can be sent to all of them and to nobody else.
type process struct {
	cmd      *exec.Cmd
	watchdog *exec.Cmd
	stdin    *os.File // of the watchdog; closed by the system when this process dies
	exited   chan struct{}
	err      error // of Wait; to be read after exited is closed
}

// startProcess starts a program with its output appended to logPath.
func startProcess(logPath string, env []string, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Deliberately without a context: a server is ended by stop and kill, in their order.
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

// guard starts the watchdog: a shell that waits for the end of its standard input, which comes
// when this process dies however it dies (a test that ran into its time limit runs no clean-up, and
// Ctrl-C does not reach another process group), and ends the server then, also where it is frozen.
func (p *process) guard() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	script := fmt.Sprintf("cat >/dev/null; kill -TERM %[1]d; kill -s CONT -- -%[1]d", p.cmd.Process.Pid)
	p.watchdog = exec.Command("sh", "-c", script) //nolint:noctx // it outlives any context
	p.watchdog.Stdin = read
	p.watchdog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	p.stdin = write
	return p.watchdog.Start()
}

// dismiss ends the watchdog, before the server's process id can become another process's.
func (p *process) dismiss() {
	if p.watchdog == nil {
		return
	}
	_ = syscall.Kill(-p.watchdog.Process.Pid, syscall.SIGKILL) // the shell and its cat
	_ = p.watchdog.Wait()
	_ = p.stdin.Close()
	p.watchdog = nil
}

// running says whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// dumpTimeout bounds how long a process that hangs takes to write its goroutines.
const dumpTimeout = 20 * time.Second

// end sends the signal and waits for the end of the process. When ctx ends first, it is killed
// and the error says so.
func (p *process) end(ctx context.Context, signal os.Signal) error {
	p.dismiss()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.wait(ctx, signal)
}

// endGroup is end with the signal sent to the whole process group, as a terminal and some service
// managers do.
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

// wait waits for the end of the process. When ctx ends first, it is killed and the error says so: first
// with SIGQUIT, for which Go's runtime writes what every goroutine waits for into the log.
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

// Process is what is known of a process of the system.
type Process struct {
	PID, Parent int
	Command     string // the program, as it was called
}

// Server returns the node's Vault process, which runs.
func (n *Node) Server() Process {
	return Process{PID: n.process.Load().cmd.Process.Pid, Command: n.cluster.vault}
}

// findProcesses lists the processes whose command line names a file in dir.
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

// Gone waits until none of the processes runs any more, whosever children they have become.
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

// killLeftovers gives the processes whose program lies in dir a moment to end by themselves, kills
// those that do not, and returns how many there were.
func killLeftovers(ctx context.Context, dir string) (int, error) {
	moment, cancel := context.WithTimeout(ctx, 20*time.Second) // a busy machine's moment
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

// Kill ends the process with SIGKILL, as a crash would.
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
	} else { // as in ListProcesses
		out, err := exec.CommandContext(ctx, "ps", "-p", strconv.Itoa(p.PID), "-o", "rss=").Output()
		if err != nil {
			return 0, fmt.Errorf("ps: %w", err)
		}
		kib = string(out)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(kib), 10, 64)
	return n << 10, err
}
